// @ts-check
/** What every example here serves: a model, and an index where one is named. */
import { parseArgs } from 'node:util'
import { Colbert } from 'lateforge'
import { Index } from 'lateforge/index'
import { createHandler } from 'lateforge/serve'

/**
 * Reads the command line: MODEL [--index FOLDER] [--port 8080].
 * @param {string} [basePath] what stands before all paths
 */
export async function served(basePath = '') {
  const { values, positionals } = parseArgs({
    options: { index: { type: 'string' }, port: { type: 'string', default: '8080' } },
    allowPositionals: true,
  })
  const [folder] = positionals
  if (!folder) throw new Error('usage: node PROGRAM MODEL [--index FOLDER] [--port 8080]')
  const model = await Colbert.load(folder)
  const index = values.index === undefined ? undefined : await Index.open(values.index, { model })
  const handler = createHandler(model, { index, basePath })
  const close = async () => {
    await handler.drain() // what is under way is answered first
    await index?.close()
    model.dispose()
  }
  return { handler, close, port: Number(values.port) }
}

/**
 * Ends in good order on SIGINT and SIGTERM.
 * @param {() => unknown} end
 */
export function atTheEnd(end) {
  for (const name of ['SIGINT', 'SIGTERM']) process.once(name, end)
}
