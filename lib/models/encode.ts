import { types } from 'node:util'
import { columnInSteps, type TextColumn } from '../data/column.js'
import { ArgumentError, OutOfMemoryError } from '../errors.js'
import type { OnProgress, Progress } from '../progress.js'
import { rangesOf } from '../ragged.js'
import type { Embeddings, Role } from '../retrieval/embeddings.js'
import { cast } from '../tensor/ops.js'
import { scope } from '../tensor/scope.js'
import { withoutTape } from '../tensor/tape.js'
import { abortIf, inTurns, Turns } from '../turns.js'
import type { Colbert } from './colbert.js'

/** Options of everything that encodes texts. */
export interface EncodeOptions {
  /** Tokens encoded at a time. Default 8192; 1024 for int8, so that what lies between two products stays in a cache. */
  microBatchTokens?: number
  /** Ends the call after the micro-batch under way, with ERR_ABORTED. */
  signal?: AbortSignal
  /** Told how many texts are tokens, then how many are encoded; of a stream only these. */
  onProgress?: OnProgress
}

/**
 * Embeddings of all texts in one piece. All texts become tokens first: those say how many rows there will be, so that the
 * embeddings are allocated once and every micro-batch is written to its place.
 * @throws OutOfMemoryError ERR_OUT_OF_MEMORY when they do not fit into one array
 */
export async function encodeAll<R extends Role>(
  model: Colbert,
  role: R,
  texts: readonly string[],
  options: EncodeOptions,
): Promise<Embeddings<R>> {
  const { microBatchTokens, signal } = checked(model, options)
  const tell = (stage: Progress['stage'], done: number) =>
    options.onProgress?.({ stage, done, total: texts.length, unit: unitOf(role) })
  const waiting: TextColumn[] = []
  let [rows, read] = [0, 0]
  for await (const column of columns(model, role, texts, microBatchTokens)) {
    abortIf(signal)
    waiting.push(column)
    rows += column.keptOffsets.at(-1)!
    tell('tokenizing', (read += column.keptOffsets.length - 1))
  }
  waiting.reverse()
  function* taken(): Generator<TextColumn> {
    for (let column = waiting.pop(); column; column = waiting.pop()) yield column // and forgotten
  }
  const data = allocate(role, texts.length, rows, model.dim)
  const offsets = new Float64Array(texts.length + 1)
  let [values, text, row, truncated] = [0, 0, 0, 0]
  for await (const part of encodeColumns(model, role, taken(), microBatchTokens, signal)) {
    data.set(part.data, values)
    values += part.data.length
    for (let i = 1; i < part.offsets.length; i++) offsets[++text] = row + part.offsets[i]!
    row = offsets[text]!
    truncated += part.truncated!
    tell('encoding', text)
  }
  return embeddings(model, role, { data, offsets, truncated })
}

function allocate(role: Role, texts: number, rows: number, dim: number): Float32Array {
  try {
    return new Float32Array(rows * dim)
  } catch (cause) {
    const gigabytes = ((rows * dim * 4) / 2 ** 30).toFixed(1)
    throw new OutOfMemoryError(
      'ERR_OUT_OF_MEMORY',
      `${texts} ${role === 'query' ? 'queries' : 'documents'} have ${rows} token embeddings of ${dim} numbers: ${gigabytes} GiB do not fit into one array. ` +
        (role === 'document'
          ? 'Give search a stream of them (streamDocuments), or encode fewer at a time'
          : 'Encode fewer at a time'),
      { texts, rows, dim, bytes: rows * dim * 4 },
      { cause },
    )
  }
}

/**
 * Embeddings micro-batch by micro-batch, in order. While the device works on one the next is tokenized and queued, and no
 * more than that, so that memory stays bounded and the event loop free.
 */
export async function* encodeStream<R extends Role>(
  model: Colbert,
  role: R,
  texts: Iterable<string> | AsyncIterable<string>,
  options: EncodeOptions,
): AsyncGenerator<Embeddings<R>> {
  const { microBatchTokens, signal } = checked(model, options)
  const total = Array.isArray(texts) ? { total: texts.length } : {}
  let done = 0
  for await (const part of encodeColumns(
    model,
    role,
    columns(model, role, texts, microBatchTokens),
    microBatchTokens,
    signal,
  )) {
    yield part
    done += part.offsets.length - 1
    options.onProgress?.({ stage: 'encoding', done, ...total, unit: unitOf(role) })
  }
}

const unitOf = (role: Role): Progress['unit'] => (role === 'query' ? 'queries' : 'documents')

async function* encodeColumns<R extends Role>(
  model: Colbert,
  role: R,
  source: Iterable<TextColumn> | AsyncIterable<TextColumn>,
  microBatchTokens: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Embeddings<R>> {
  let ahead: PendingBatch | null = null
  for await (const column of source) {
    for (const { first, last } of rangesOf(column.offsets, { rows: microBatchTokens })) {
      abortIf(signal)
      const next = issue(model, column, first, last)
      if (ahead) yield await read(model, role, ahead)
      ahead = next
    }
  }
  if (ahead) yield await read(model, role, ahead)
}

/** Embeddings of a column, encoded at once: for callers that put batches together themselves. */
export function encodeColumn<R extends Role>(model: Colbert, role: R, column: TextColumn): Promise<Embeddings<R>> {
  return read(model, role, issue(model, column, 0, column.offsets.length - 1))
}

async function read<R extends Role>(
  model: Colbert,
  role: R,
  { values, offsets, truncated }: PendingBatch,
): Promise<Embeddings<R>> {
  const found = await values
  const data = types.isFloat32Array(found) ? found : Float32Array.from(found)
  return embeddings(model, role, { data, offsets, truncated })
}

/** Tokens encoded at a time, unless the caller says so. */
export const defaultMicroBatch = ({ precision }: Colbert): number => (precision === 'int8' ? 1024 : 8192)

function checked(model: Colbert, options: EncodeOptions): { microBatchTokens: number; signal?: AbortSignal } {
  const { microBatchTokens = defaultMicroBatch(model), signal } = options
  if (typeof microBatchTokens !== 'number' || !(microBatchTokens > 0))
    throw new ArgumentError('ERR_ARGUMENT', `microBatchTokens is ${microBatchTokens}, expected > 0`)
  abortIf(signal)
  return { microBatchTokens, ...(signal && { signal }) }
}

interface PendingBatch {
  values: Promise<Float32Array | Float64Array>
  offsets: Float64Array
  truncated: number
}

function issue(model: Colbert, column: TextColumn, first: number, last: number): PendingBatch {
  return scope(() =>
    withoutTape(() => {
      const { tokens, segments } = model.embed(column, first, last, null)
      const { real } = model.device
      const values = (tokens.dtype === real ? tokens : cast(tokens, real)).values()
      values.catch(() => {}) // awaited later, unless an earlier micro-batch failed
      const truncated = column.truncated.subarray(first, last).reduce((sum, one) => sum + one, 0)
      return { values, offsets: segments.offsets, truncated }
    }),
  )
}

/**
 * Texts as columns of about `microBatchTokens` tokens: how many texts that is follows from those before. Tokenizing leaves
 * the event loop its turns.
 */
async function* columns(
  model: Colbert,
  role: Role,
  texts: Iterable<string> | AsyncIterable<string>,
  microBatchTokens: number,
): AsyncGenerator<TextColumn> {
  const { featurizer } = model
  let meanLength = role === 'query' ? featurizer.recipe.queryLength : featurizer.recipe.documentLength
  let waiting: string[] = []
  const column = async () => {
    const made = await inTurns(columnInSteps(featurizer, waiting, role))
    meanLength = Math.max(1, made.ids.length / waiting.length)
    waiting = []
    return made
  }
  const turns = new Turns()
  for await (const text of texts) {
    if (turns.due) await turns.take()
    if (typeof text !== 'string') throw new ArgumentError('ERR_ARGUMENT', `expected texts, got ${typeof text}`)
    waiting.push(text)
    if (waiting.length >= Math.min(512, microBatchTokens / meanLength)) yield await column()
  }
  if (waiting.length > 0) yield await column()
}

function embeddings<R extends Role>(
  model: Colbert,
  role: R,
  made: Pick<Embeddings<R>, 'data' | 'offsets' | 'truncated'>,
): Embeddings<R> {
  return { role, ...made, dim: model.dim, recipe: model.recipe }
}
