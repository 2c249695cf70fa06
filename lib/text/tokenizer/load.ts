import { existsSync, statSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { FormatError } from '../../errors.js'
import { lfsHint } from '../../io/lfs.js'
import { checkTokenizerConfig } from './config.js'
import { type PackedModel, packModel } from './model.js'

type Json = Record<string, unknown>

/** A tokenizer.json, its model packed. */
export interface TokenizerFile {
  json: Json
  model: PackedModel
}

/** Bytes of a tokenizer.json that are parsed on the calling thread: some ten milliseconds. */
const SMALL = 1 << 20

/** What a folder says about its tokenizer. @throws FormatError `ERR_FORMAT` */
export async function readTokenizer(dir: string): Promise<TokenizerFile & { config: Json; file: string }> {
  const file = join(dir, 'tokenizer.json')
  if (!existsSync(file)) {
    const problem = existsSync(dir)
      ? statSync(dir).isDirectory()
        ? `${dir} has no tokenizer.json. Save the tokenizer with transformers' fast tokenizers (tokenizer.save_pretrained) and put that file there.`
        : `${dir} is a file. Give the folder that it is in`
      : `${dir} does not exist. Give the folder of a tokenizer.json`
    throw new FormatError('ERR_FORMAT', problem, { dir })
  }
  const [map, config] = await Promise.all(
    ['special_tokens_map.json', 'tokenizer_config.json'].map((name) => optionalJson(join(dir, name))),
  )
  const large = (await stat(file)).size > SMALL
  const read = large ? await readElsewhere(file) : packFile(file, await readFile(file, 'utf8'))
  runnable(file, () => checkTokenizerConfig(file, config!, read.json))
  return { ...read, config: { ...map, ...config }, file }
}

/** @throws FormatError `ERR_FORMAT` */
export function packFile(file: string, text: string): TokenizerFile {
  const { model, ...json } = parse(file, text)
  for (const [key, value] of Object.entries({ model, added_tokens: json.added_tokens })) {
    if (typeof value !== 'object' || value === null || Array.isArray(value) !== (key === 'added_tokens'))
      throw new FormatError('ERR_FORMAT', `${file} has no "${key}"; expected a Hugging Face tokenizer.json.`, { file })
  }
  return runnable(file, () => ({ json, model: packModel(model) }))
}

/** @throws FormatError `ERR_FORMAT` with the file for what a tokenizer is made of and we do not know */
function runnable<T>(file: string, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    if (cause instanceof FormatError) throw cause
    const reason = (cause as Error).message
    throw new FormatError('ERR_FORMAT', `${file} is not a tokenizer lateforge can run: ${reason}`, { file }, { cause })
  }
}

/** What the worker thread answers. */
export type Answer = { read: TokenizerFile } | { message: string }

/** Parsing and packing a quarter of a million tokens takes a second, on a thread of its own. */
function readElsewhere(file: string): Promise<TokenizerFile> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./load-worker.js', import.meta.url), { workerData: file })
    worker.once('message', (answer: Answer) => {
      if ('read' in answer) resolve(answer.read)
      else reject(new FormatError('ERR_FORMAT', answer.message, { file }))
    })
    worker.once('error', reject)
    worker.once('exit', (code) => reject(new Error(`reading ${file}: the thread stopped with exit code ${code}`)))
  })
}

async function optionalJson(file: string): Promise<Json> {
  return existsSync(file) ? parse(file, await readFile(file, 'utf8')) : {}
}

function parse(file: string, text: string): Json {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    const reason = lfsHint(text) || (cause as Error).message
    throw new FormatError('ERR_FORMAT', `${file} is not readable JSON: ${reason}`, { file }, { cause })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FormatError('ERR_FORMAT', `${file} holds no JSON object.`, { file })
  }
  return value as Json
}
