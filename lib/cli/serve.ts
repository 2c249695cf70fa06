import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { AbortedError, ArgumentError, typed } from '../errors.js'
import { Index } from '../indexing/index.js'
import { createHandler, type HandlerOptions, listen } from '../serve/index.js'
import { setCpu } from '../tensor/cpu.js'
import { colour, interruptible, print, printJson } from './common.js'
import { loadModel, type ModelOptions } from './model.js'

interface ServeOptions extends ModelOptions, Pick<HandlerOptions, 'maxRequests' | 'maxQueueTokens' | 'batchTokens'> {
  index?: string
  host: string
  port: number
  name?: string
  tokenFile?: string
  drain: number
  json?: boolean
}

/** How far the threads that compute step back behind the one that answers. */
const stepBack = 5

/** `lateforge serve <model>`: answers until a signal comes, then what is under way, and ends. */
export async function serve(modelPath: string, options: ServeOptions): Promise<void> {
  const { index: dir, host, port, name = nameOf(modelPath), tokenFile, drain, json, ...rest } = options
  const { maxRequests, maxQueueTokens, batchTokens, ...using } = rest
  const token = tokenOf(tokenFile)
  const signal = interruptible('answering what is under way')
  // Whoever is refused, and whoever asks for health, hears of it at once only if this thread gets its turn before those that compute.
  if (setCpu().nice < stepBack && !process.env.LATEFORGE_NICE) setCpu({ nice: stepBack })
  const model = await loadModel(modelPath, using, { signal })
  const index = dir === undefined ? undefined : await Index.open(dir, { model })
  const limits = { maxRequests, maxQueueTokens, batchTokens }
  const handler = createHandler(model, { name, index, token, ...limits })
  const server = await listen(handler, { host, port, drainMs: 1000 * drain })
  if (json) printJson({ url: server.url, name, pid: process.pid, index: dir ?? null, token: token !== undefined })
  else print(`${name} on ${server.url}${dir === undefined ? '' : `, with the index ${dir}`}`)
  if (!token && !isLoopback(host))
    process.stderr.write(
      `${colour('yellow', 'warn')}  whoever reaches ${host} may use this: no token is asked for. Ask for one with --token-file\n`,
    )
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
  const late = await server.close()
  await index?.close()
  model.dispose()
  if (late > 0)
    throw new AbortedError('ERR_ABORTED', `${late} requests were not answered within ${drain} s, and were cut off`)
}

/** A model of the Hub by its name there, one in a folder by the folder's. */
const nameOf = (model: string): string =>
  existsSync(model) ? path.basename(path.resolve(model)) : model.split('@')[0]!

const isLoopback = (host: string): boolean => /^(127(\.\d+){3}|::1|localhost)$/.test(host)

/** The token of a file, or of the environment; on the command line everybody on the machine could read it. */
function tokenOf(file: string | undefined): string | undefined {
  const [where, given] =
    file === undefined ? ['LATEFORGE_SERVE_TOKEN', process.env.LATEFORGE_SERVE_TOKEN || undefined] : [file, read(file)]
  const token = given?.trim()
  if (token === undefined || /^[\x21-\x7e]{16,}$/.test(token)) return token
  throw new ArgumentError(
    'ERR_ARGUMENT',
    `${where}: a token is at least 16 letters, digits or signs in one word; openssl rand -hex 32 makes one`,
  )
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw typed(error)
  }
}
