import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { FormatError } from '../../errors.js'
import type { RepositoryName } from '../../hub/name.js'
import { type FileToPush, type PushOptions, type PushResult, pushFiles } from '../../hub/push.js'
import { modulePaths } from './folder.js'
import { readLayout } from './layout.js'
import { ModelWeights } from './load.js'
import { isModelFile } from './source.js'

/** `pushFolder`, once its arguments are checked. */
export async function pushModel(folder: string, repository: RepositoryName, options: PushOptions): Promise<PushResult> {
  await checkModel(folder)
  const { files, leftOut } = await filesOf(folder)
  const pushed = await pushFiles(repository, files, options)
  return { ...pushed, files: files.map(({ path, size }) => ({ path, size })), leftOut }
}

/** Whether it can be loaded, as far as can be told without reading the weights. */
async function checkModel(folder: string): Promise<void> {
  const encoder = await readLayout(folder)
  const layout = encoder.pools ? await readLayout(folder, true) : encoder
  if (layout.head.length === 0 && layout.name !== 'dense')
    throw new FormatError(
      'ERR_FORMAT',
      `${folder} holds an encoder without a projection, which is no ColBERT model yet`,
      {
        dir: folder,
      },
    )
  await stat(path.join(layout.encoderDir, 'tokenizer.json')).catch((cause) => {
    throw new FormatError('ERR_FORMAT', `${layout.encoderDir} has no tokenizer.json`, { dir: folder }, { cause })
  })
  const weights = await ModelWeights.open(layout)
  await weights.close()
}

async function filesOf(folder: string): Promise<{ files: FileToPush[]; leftOut: string[] }> {
  const dirs = ['', ...(await modulePaths(folder))]
  const files: FileToPush[] = []
  const leftOut: string[] = []
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const local = path.join(entry.parentPath, entry.name)
    const found = await stat(local) // a link, in the cache of the Hub
    if (!found.isFile()) continue
    const name = path.relative(folder, local).replaceAll(path.sep, '/')
    if (name === 'README.md' || isModelFile(dirs, name)) files.push({ path: name, local, size: found.size })
    else leftOut.push(name)
  }
  files.sort((a, b) => (a.path < b.path ? -1 : 1))
  return { files, leftOut: leftOut.sort() }
}
