import { size } from '../io/amounts.js'
import { pushFolder } from '../models/push.js'
import { colour, interruptible, print, printJson } from './common.js'
import { showing } from './progress.js'

interface Options {
  private?: boolean
  revision?: string
  message?: string
  dryRun?: boolean
  json?: boolean
}

/** `lateforge push <folder> <name>` */
export async function push(folder: string, name: string, { json, ...options }: Options): Promise<void> {
  const signal = interruptible('stopping')
  const result = await showing((onProgress) => pushFolder(folder, name, { ...options, onProgress, signal }))
  for (const file of result.leftOut)
    process.stderr.write(`${colour('dim', `not a part of the model, left out: ${file}`)}\n`)
  if (!result.files.some((file) => file.path === 'README.md'))
    process.stderr.write(
      `${colour('yellow', 'warn')}  ${folder} has no README.md, so the Hub shows no card. Loading the model and saving it writes one\n`,
    )
  if (json) return printJson(result)
  for (const file of result.files) print(`${size(file.size).padStart(8)}  ${file.path}`)
  const where = `${result.url}${options.revision === undefined ? '' : `/tree/${options.revision}`}`
  print(options.dryRun ? `would go to ${where}` : `${result.created ? 'made ' : ''}${where}, commit ${result.commit}`)
}
