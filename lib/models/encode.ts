import { types } from 'node:util'
import { columnFromTexts, type TokenColumn } from '../data/collate.js'
import { ArgumentError } from '../errors.js'
import type { Embeddings } from '../retrieval/embeddings.js'
import { abortIf } from '../retrieval/vectors.js'
import { cast } from '../tensor/ops.js'
import { scope } from '../tensor/scope.js'
import { withoutTape } from '../tensor/tape.js'
import type { Colbert } from './colbert.js'

export interface EncodeOptions {
  /** Tokens encoded at a time. Default 8192. */
  chunkTokens?: number
  signal?: AbortSignal
}

type Kind = Embeddings['kind']

/** Embeddings of all texts in one piece. */
export async function encodeAll<K extends Kind>(
  model: Colbert,
  kind: K,
  texts: readonly string[],
  options: EncodeOptions,
): Promise<Embeddings<K>> {
  const parts: Embeddings<K>[] = []
  for await (const part of encodeStream(model, kind, texts, options)) parts.push(part)
  const data = new Float32Array(parts.reduce((sum, part) => sum + part.data.length, 0))
  const offsets = new Float64Array(texts.length + 1)
  let [values, text, row] = [0, 0, 0]
  for (const part of parts) {
    data.set(part.data, values)
    values += part.data.length
    for (let i = 1; i < part.offsets.length; i++) offsets[++text] = row + part.offsets[i]!
    row = offsets[text]!
  }
  return embeddings(model, kind, data, offsets)
}

/**
 * Embeddings chunk by chunk, in order. While the device works on one chunk the next is tokenized and queued, and no
 * more than that, so that memory stays bounded and the event loop free.
 */
export async function* encodeStream<K extends Kind>(
  model: Colbert,
  kind: K,
  texts: Iterable<string> | AsyncIterable<string>,
  { chunkTokens = 8192, signal }: EncodeOptions,
): AsyncGenerator<Embeddings<K>> {
  if (typeof chunkTokens !== 'number' || !(chunkTokens > 0))
    throw new ArgumentError('ERR_ARGUMENT', `chunkTokens is ${chunkTokens}, expected > 0`)
  abortIf(signal)
  let ahead: Issued | null = null
  const finish = async ({ values, offsets }: Issued) => {
    const data = await values
    return embeddings(model, kind, types.isFloat32Array(data) ? data : Float32Array.from(data), offsets)
  }
  for await (const column of columns(model, kind, texts, chunkTokens)) {
    for (const [first, last] of chunks(column.offsets, chunkTokens)) {
      abortIf(signal)
      const next = issue(model, column, first, last)
      if (ahead) yield await finish(ahead)
      ahead = next
    }
  }
  if (ahead) yield await finish(ahead)
}

interface Issued {
  values: Promise<Float32Array | Float64Array>
  offsets: Float64Array
}

function issue(model: Colbert, column: TokenColumn, first: number, last: number): Issued {
  return scope(() =>
    withoutTape(() => {
      const { tokens, segments } = model.embed(column, first, last, null)
      const { real } = model.device
      const values = (tokens.dtype === real ? tokens : cast(tokens, real)).values()
      values.catch(() => {}) // awaited later, unless an earlier chunk failed
      return { values, offsets: segments.offsets }
    }),
  )
}

/** Texts as columns of about `chunkTokens` tokens: how many texts that is follows from those before. */
async function* columns(
  model: Colbert,
  kind: Kind,
  texts: Iterable<string> | AsyncIterable<string>,
  chunkTokens: number,
): AsyncGenerator<TokenColumn> {
  const { featurizer } = model
  const role = kind === 'queries' ? 'query' : 'document'
  let meanLength = kind === 'queries' ? featurizer.recipe.queryLength : featurizer.recipe.documentLength
  let waiting: string[] = []
  const column = () => {
    const made = columnFromTexts(featurizer, waiting, role)
    meanLength = Math.max(1, made.ids.length / waiting.length)
    waiting = []
    return made
  }
  for await (const text of texts) {
    if (typeof text !== 'string') throw new ArgumentError('ERR_ARGUMENT', `expected texts, got ${typeof text}`)
    waiting.push(text)
    if (waiting.length >= Math.min(512, chunkTokens / meanLength)) yield column()
  }
  if (waiting.length > 0) yield column()
}

/** Ranges of sequences of at most `most` tokens; a longer sequence is alone. */
function* chunks(offsets: Float64Array, most: number): Generator<[number, number]> {
  let first = 0
  for (let i = 1; i < offsets.length; i++)
    if (i === offsets.length - 1 || offsets[i + 1]! - offsets[first]! > most) {
      yield [first, i]
      first = i
    }
}

function embeddings<K extends Kind>(model: Colbert, kind: K, data: Float32Array, offsets: Float64Array): Embeddings<K> {
  return { kind, data, offsets, dim: model.dim, dtype: 'float32', recipeHash: model.recipeHash }
}
