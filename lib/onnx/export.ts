import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { FileError, typed } from '../errors.js'
import { type Piece, writeAtomic, writeFolder } from '../io/atomic.js'
import type { Colbert } from '../models/colbert.js'
import { pylateFiles } from '../models/formats/pylate.js'
import { configJson, writeJson } from '../models/formats/save.js'
import { checkOptions, checkPath, type Kind, kind, signal, text } from '../options.js'
import { abortIf } from '../turns.js'
import { freeTokenizer, nextPlaidJson, unsaid } from './files.js'
import type { OnnxPrecision } from './layers.js'
import { type GraphOptions, modelGraph } from './model.js'

/** What `exportOnnx` writes. */
export interface OnnxOptions {
  /** Forms of the graph: `model.onnx` has weights of float32, `model_int8.onnx` of int8. Default both. */
  types?: readonly OnnxPrecision[]
  /** Name of the graph's output. Default `output`, which next-plaid reads; `sentence_embedding` of a dense model. */
  output?: string
  /** Ends the export between two weights, with ERR_ABORTED; nothing of it is left. */
  signal?: AbortSignal
}

/** What `exportOnnx` has written. */
export interface OnnxResult {
  /** Files of the folder. */
  files: {
    /** Its name in the folder, with `/` between parts. */
    path: string
    /** In bytes. */
    size: number
  }[]
  /** What whoever embeds with the graph has to do himself, since onnx_config.json has no words for it. */
  notes: string[]
}

/** Names of the graphs. */
export const graphFiles: Readonly<Record<OnnxPrecision, string>> = { float32: 'model.onnx', int8: 'model_int8.onnx' }

/**
 * Writes a folder, whole or not at all, with a model as ONNX: encoder, head and norm in one graph, from `input_ids` and
 * `attention_mask` (int64 [batch, sequence]) to unit vectors [batch, sequence, dim], or [batch, dim] of a dense model. Beside
 * it the tokenizer, config.json, and onnx_config.json with the recipe. Weights of more than 2 GiB go to a file beside the
 * graph (`model.onnx_data`). One weight at a time is in memory besides the model.
 * @throws UnsupportedError ERR_UNSUPPORTED for a model loaded as int8; FileError ERR_FILE when the folder is there already or
 *   cannot be written; ArgumentError ERR_ARGUMENT; AbortedError ERR_ABORTED
 */
export async function exportOnnx(model: Colbert, dir: string, options: OnnxOptions = {}): Promise<OnnxResult> {
  checkPath('exportOnnx', dir)
  checkOptions('exportOnnx', options, { types: someOf('float32', 'int8'), output: text, signal })
  await checkFree(dir)
  const notes = model.recipe.pooling === 'none' ? unsaid(model) : []
  try {
    await writeFolder(dir, (folder) => writeOnnx(model, folder, options))
  } catch (error) {
    throw typed(error)
  }
  return { files: await filesOf(dir), notes }
}

/** The files of a folder, with their sizes. */
export async function filesOf(dir: string): Promise<OnnxResult['files']> {
  const entries = await readdir(dir, { withFileTypes: true, recursive: true })
  const names = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name))
  return Promise.all(
    names.sort().map(async (name) => ({
      path: path.relative(dir, name).replaceAll(path.sep, '/'),
      size: (await stat(name)).size,
    })),
  )
}

/** A list of some of these, at least one. */
export const someOf = (...values: readonly string[]): Kind =>
  kind(
    `an array of one or more of ${values.map((value) => JSON.stringify(value)).join(', ')}`,
    (v) => Array.isArray(v) && v.length > 0 && v.every((one) => values.includes(one)),
  )

/** @throws FileError ERR_FILE for a folder that holds something */
export async function checkFree(dir: string): Promise<void> {
  const found = await readdir(dir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw typed(error)
  })
  if (found.length > 0)
    throw new FileError('ERR_FILE', `${dir} exists and holds ${found[0]}; export to a new folder`, {
      code: 'EEXIST',
      path: dir,
    })
}

/** @param largest bytes of weights that still go into one file with their graph */
export async function writeOnnx(
  model: Colbert,
  folder: string,
  { types = ['float32', 'int8'], output, signal }: OnnxOptions,
  largest?: number,
): Promise<void> {
  const pools = model.recipe.pooling !== 'none'
  for (const type of types)
    await writeGraph(
      model,
      folder,
      { precision: type, output: output ?? (pools ? 'sentence_embedding' : 'output') },
      { signal, largest },
    )
  await freeTokenizer(model).save(folder)
  await writeJson(path.join(folder, 'config.json'), configJson(model.parts))
  if (pools) return
  await writeJson(path.join(folder, 'onnx_config.json'), nextPlaidJson(model))
  // colgrep takes no repository of the Hub without it.
  const settings = 'config_sentence_transformers.json'
  await writeJson(path.join(folder, settings), pylateFiles(model.recipe, [], {})[settings]!)
}

/** A graph, with its weights in a file beside it where they are too many for one. */
export async function writeGraph(
  model: Colbert,
  folder: string,
  options: GraphOptions,
  { signal, largest }: { signal?: AbortSignal | undefined; largest?: number | undefined } = {},
): Promise<void> {
  const name = graphFiles[options.precision]
  const graph = modelGraph(model, options)
  const facts = { 'lateforge.recipe': JSON.stringify(model.recipe) }
  const { model: pieces, weights } = graph.files(`${name}_data`, facts, largest)
  await writeAtomic(path.join(folder, name), interruptible(pieces, signal))
  if (weights) await writeAtomic(path.join(folder, `${name}_data`), interruptible(weights, signal))
}

async function* interruptible(pieces: AsyncIterable<Piece>, signal?: AbortSignal): AsyncGenerator<Piece> {
  for await (const piece of pieces) {
    abortIf(signal)
    yield piece
  }
}
