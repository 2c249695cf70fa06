import { types } from 'node:util'
import { ArgumentError } from '../errors.js'
import { native } from '../native.js'
import { checkOptions, flag, type Kinds, kind, oneOf, signal } from '../options.js'
import { type Range, rangesOf } from '../ragged.js'
import { Device, deviceOption } from '../tensor/device.js'
import { maxsimResidual, maxsimStored } from '../tensor/ops.gen.js'
import { type Layout, layouts, maxsim as maxsimOp, type TokenEmbeddings } from '../tensor/ops.js'
import { Scope, scope } from '../tensor/scope.js'
import { withoutTape } from '../tensor/tape.js'
import { type DType, Segments, type Tensor } from '../tensor/tensor.js'
import { abortIf } from '../turns.js'
import {
  type AnyEmbeddings,
  checkPair,
  countOf,
  DeviceEmbeddings,
  documentBlock,
  type EmbeddingType,
  embeddingTypes,
  type StoredTokens,
  slice,
  typeOn,
  upload,
  uploadQueries,
} from './embeddings.js'

export {
  type AnyEmbeddings,
  DeviceEmbeddings,
  type EmbeddingData,
  type Embeddings,
  type EmbeddingType,
  type ResidualTensors,
  type Role,
  type StoredTokens,
  type UploadOptions,
} from './embeddings.js'
export { type PoolOptions, poolTokens } from './pool.js'
export { type Quantization, quantizeEmbeddings } from './quantize.js'

/** What is scored with what. */
export interface MaxSimLayout {
  /**
   * `all`: every query with every document. `grouped`: query i with documents pairs[i] … pairs[i + 1] − 1.
   * `pairs`: query pairs[2n] with document pairs[2n + 1]. Default `all`.
   */
  layout?: Layout
  /** For `grouped` [queries + 1], for `pairs` [2 · pairs], of whole numbers; none for `all`. */
  pairs?: ArrayLike<number>
  /** Negative similarities count as 0, which is what PyLate's padded scores amount to. Default as the queries' recipe has it, else false. */
  clampNegatives?: boolean
}

/** Options of `maxsim`. */
export interface MaxSimOptions extends MaxSimLayout {
  /** Default that of documents on a device, else the CPU. */
  device?: string | Device
  /** What documents are stored as meanwhile. Default that of the array. */
  dtype?: EmbeddingType
  /** Ends the call, with ERR_ABORTED. */
  signal?: AbortSignal
}

const layoutOptions: Kinds<MaxSimLayout> = {
  layout: oneOf(...layouts),
  pairs: kind('an array of numbers', (v) => typeof (v as ArrayLike<number> | null)?.length === 'number'),
  clampNegatives: flag,
}
const maxsimOptions: Kinds<MaxSimOptions> = {
  ...layoutOptions,
  device: deviceOption,
  dtype: oneOf(...embeddingTypes),
  signal,
}

// At most 8 MiB of scores reach the event loop at a time.
const queryBlock = { rows: 1 << 13, texts: 1 << 8 }

/**
 * MaxSim scores (Khattab and Zaharia 2020): Σ over query tokens of the largest inner product with a document token.
 * Embeddings are used as they are: give them unit norm for cosines. An empty document scores 0; NaN stays NaN. Arrays are
 * copied during the call and may change afterwards.
 * @returns `all`: [queries × documents], row-major; otherwise one score per pair, in order
 * @throws ShapeError ERR_SHAPE when offsets and data disagree; ArgumentError ERR_ARGUMENT for bad options or pairs;
 *   UnsupportedError ERR_UNSUPPORTED; AbortedError ERR_ABORTED; RecipeError ERR_RECIPE for embeddings of two recipes
 */
export async function maxsim(
  queries: AnyEmbeddings,
  documents: AnyEmbeddings | DeviceEmbeddings,
  options: MaxSimOptions = {},
): Promise<Float32Array> {
  checkOptions('maxsim', options, maxsimOptions)
  const { layout = 'all', clampNegatives = clampOf(queries), signal } = options
  const pairs = checkLayout(options)
  checkPair(queries, documents)
  const { device, type } = deviceFor(queries, documents, options)
  if (layout === 'all') {
    const count = { queries: countOf(queries), documents: countOf(documents) }
    const scores = new Float32Array(count.queries * count.documents)
    for await (const block of scoreBlocks(queries, documents, { device, type, clampNegatives, signal }))
      for (let q = block.firstQuery; q < block.lastQuery; q++) {
        const width = block.lastDocument - block.firstDocument
        const row = block.scores.subarray((q - block.firstQuery) * width, (q - block.firstQuery + 1) * width)
        scores.set(row, q * count.documents + block.firstDocument)
      }
    return scores
  }
  using owned = new Scope()
  const scores = owned.run(() =>
    withoutTape(() => {
      const q = uploadQueries(device, queries, type)
      const d = documents instanceof DeviceEmbeddings ? documents.block() : upload(device, documents, type)
      return scoresOf(q, d, layout, Segments.of(device, pairs!), clampNegatives)
    }),
  )
  const values = await scores.values()
  abortIf(signal)
  return Float32Array.from(values)
}

/**
 * The same on the CPU, at once: the arrays, float32, are read where they are, and this thread waits. For small work,
 * worker threads, and measurements; a server's event loop is better served by `maxsim`.
 * @throws as `maxsim`
 */
export function maxsimSync(queries: AnyEmbeddings, documents: AnyEmbeddings, options: MaxSimLayout = {}): Float32Array {
  checkOptions('maxsimSync', options, layoutOptions)
  const { layout = 'all', clampNegatives = clampOf(queries) } = options
  const pairs = checkLayout(options)
  checkPair(queries, documents)
  const inPlace = (side: string, { data, offsets }: AnyEmbeddings): [Float32Array, Float64Array] => {
    if (types.isFloat32Array(data)) return [data, Float64Array.from(offsets)]
    throw new ArgumentError('ERR_ARGUMENT', `${side}: maxsimSync reads float32 in place; maxsim takes other types too`)
  }
  const [q, d] = [inPlace('queries', queries), inPlace('documents', documents)]
  return native().maxsimSync(...q, ...d, queries.dim, layouts.indexOf(layout), pairs, clampNegatives ? 1 : 0)
}

/** Scores of queries against documents as they are stored. */
function scoresOf(
  q: TokenEmbeddings,
  d: StoredTokens,
  layout: Layout,
  pairs: Tensor | null,
  clampNegatives: boolean,
): Tensor {
  if (q.tokens.dtype === d.tokens.dtype)
    return maxsimOp(q.tokens, q.segments, d.tokens, d.segments, layout, pairs, clampNegatives)
  const p = { layout: layouts.indexOf(layout), clampNegatives: clampNegatives ? 1 : 0 }
  if (d.residual) {
    const { of, centroids, centroidScales, levels } = d.residual
    const [codes, scales] = [d.tokens, d.scales!]
    return maxsimResidual(
      q.tokens,
      q.segments,
      codes,
      d.segments,
      pairs,
      scales,
      of,
      centroids,
      centroidScales,
      levels,
      p,
    )
  }
  return maxsimStored(q.tokens, q.segments, d.tokens, d.segments, pairs, d.scales, p)
}

/** How a model's embeddings are scored. */
const clampOf = (queries: AnyEmbeddings): boolean => queries?.recipe?.clampNegatives ?? false

/** @returns the pairs as numbers, or null for all. @throws ArgumentError ERR_ARGUMENT */
function checkLayout({ layout = 'all', pairs }: MaxSimLayout): Float64Array | null {
  if (!layouts.includes(layout))
    throw new ArgumentError('ERR_ARGUMENT', `layout is "${layout}", expected one of ${layouts.join(', ')}`)
  if ((layout === 'all') !== (pairs === undefined))
    throw new ArgumentError(
      'ERR_ARGUMENT',
      layout === 'all' ? 'pairs go with another layout' : `layout ${layout} needs pairs`,
    )
  if (!pairs) return null
  const numbers = Float64Array.from(pairs)
  if (numbers.some((index) => !Number.isSafeInteger(index)))
    throw new ArgumentError('ERR_ARGUMENT', 'pairs must be whole numbers')
  return numbers
}

/** Where scores are made, and of what type. */
function deviceFor(
  queries: AnyEmbeddings,
  documents: AnyEmbeddings | DeviceEmbeddings,
  options: MaxSimOptions,
): { device: Device; type: DType } {
  const { dtype } = options
  if (!(documents instanceof DeviceEmbeddings)) {
    const device = Device.of(options.device)
    return { device, type: typeOn(device, dtype, documents) }
  }
  const { device, dtype: type } = documents
  const wanted = options.device === undefined ? device : Device.of(options.device)
  if (wanted !== device)
    throw new ArgumentError('ERR_ARGUMENT', `documents are on "${device.name}", not on "${wanted.name}"`)
  if (dtype && typeOn(device, dtype, queries) !== type)
    throw new ArgumentError('ERR_ARGUMENT', `dtype is ${dtype}, the documents on the device are ${type}`)
  return { device, type }
}

/** Scores of some queries with some documents. */
export interface ScoreBlock {
  /** First query of the block. */
  firstQuery: number
  /** The query after its last. */
  lastQuery: number
  /** First document of the block. */
  firstDocument: number
  /** The document after its last. */
  lastDocument: number
  /** [queries of the block × documents of the block]. */
  scores: Float32Array | Float64Array
}

/** Options of `scoreBlocks`. */
export interface ScoreOptions {
  /** Where scores are made. */
  device: Device
  /** Of embeddings.ts `typeOn`; that of documents on a device. */
  type: DType
  /** Negative similarities count as 0. Default false. */
  clampNegatives?: boolean
  /** Ends the scoring, with ERR_ABORTED. */
  signal?: AbortSignal
}

/**
 * Scores of all queries with all documents, block by block: documents in order, and queries in order for each of their
 * blocks. At most one block is ahead of the one that is read, so that the event loop stays free.
 */
export async function* scoreBlocks(
  queries: AnyEmbeddings,
  documents: AnyEmbeddings | DeviceEmbeddings,
  { device, type, clampNegatives = false, signal }: ScoreOptions,
): AsyncGenerator<ScoreBlock> {
  const issue = (
    d: StoredTokens,
    q: Range,
    range: Range,
  ): { block: Omit<ScoreBlock, 'scores'>; values: Promise<Float32Array | Float64Array> } =>
    scope(() =>
      withoutTape(() => {
        const part = uploadQueries(device, slice(queries, q), type)
        const scores = scoresOf(part, d, 'all', null, clampNegatives)
        const values = scores.values()
        values.catch(() => {}) // awaited below, unless an earlier block failed
        return {
          block: { firstQuery: q.first, lastQuery: q.last, firstDocument: range.first, lastDocument: range.last },
          values,
        }
      }),
    )
  let ahead: ReturnType<typeof issue> | null = null
  for (const range of rangesOf(documents.offsets, documentBlock)) {
    using owned = new Scope()
    const d = owned.run(() =>
      documents instanceof DeviceEmbeddings ? documents.block(range) : upload(device, slice(documents, range), type),
    )
    for (const q of rangesOf(queries.offsets, queryBlock)) {
      abortIf(signal)
      const next = issue(d, q, range)
      if (ahead) yield { ...ahead.block, scores: await ahead.values }
      ahead = next
    }
  }
  if (ahead) yield { ...ahead.block, scores: await ahead.values }
}
