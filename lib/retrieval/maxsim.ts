import { AbortedError, ArgumentError, ShapeError } from '../errors.js'
import { checkOptions } from '../options.js'
import { Device } from '../tensor/device.js'
import { type Layout, layouts, maxsim as maxsimOp } from '../tensor/ops.js'
import { Scope, scope } from '../tensor/scope.js'
import { withoutTape } from '../tensor/tape.js'
import { Segments, Tensor } from '../tensor/tensor.js'

/** Token vectors of several texts: rows `offsets[i]` … `offsets[i + 1]` of `data` [rows, dim] belong to text i. */
export interface TokenVectors {
  data: Float32Array
  /** [texts + 1], rising from 0 to the number of rows. */
  offsets: ArrayLike<number>
}

export interface MaxSimOptions {
  /** Length of a token vector. */
  dim: number
  /**
   * `all`: every query with every document. `groups`: query i with documents pairs[i] … pairs[i + 1] − 1.
   * `pairs`: query pairs[2n] with document pairs[2n + 1]. Default `all`.
   */
  layout?: Layout
  pairs?: ArrayLike<number>
  /** Floors each query token's maximum at 0, which is what PyLate's padded scores amount to. Default false. */
  floorZero?: boolean
  /** Default the CPU. */
  device?: Device
  signal?: AbortSignal
}

/** Token rows and texts on the device at a time: the texts bound the block of scores where they are very short. */
const documentBlock = { rows: 1 << 17, texts: 1 << 13 }
const queryBlock = { rows: 1 << 13, texts: 1 << 10 }

/**
 * MaxSim scores (Khattab and Zaharia 2020): Σ over query tokens of the largest inner product with a document token.
 * Vectors are used as they are: give them unit norm for cosines. An empty document scores 0; NaN stays NaN.
 * @returns `all`: [queries × documents], row-major; otherwise one score per pair, in order
 * @throws ShapeError ERR_SHAPE when offsets and data disagree; ArgumentError ERR_ARGUMENT for bad options or pairs;
 *   AbortedError ERR_ABORTED
 */
export async function maxsim(
  queries: TokenVectors,
  documents: TokenVectors,
  options: MaxSimOptions,
): Promise<Float32Array> {
  checkOptions('maxsim', options, ['dim', 'layout', 'pairs', 'floorZero', 'device', 'signal'])
  const { dim, layout = 'all', pairs, floorZero = false, signal } = options ?? {}
  if (!Number.isInteger(dim) || dim < 1)
    throw new ArgumentError('ERR_ARGUMENT', `dim is ${dim}, expected the vectors' length`)
  if (!layouts.includes(layout))
    throw new ArgumentError('ERR_ARGUMENT', `layout is "${layout}", expected one of ${layouts.join(', ')}`)
  if ((layout === 'all') !== (pairs === undefined))
    throw new ArgumentError(
      'ERR_ARGUMENT',
      layout === 'all' ? 'pairs go with another layout' : `layout ${layout} needs pairs`,
    )
  checkVectors('queries', queries, dim)
  checkVectors('documents', documents, dim)
  if (pairs && Array.from(pairs).some((index) => !Number.isSafeInteger(index)))
    throw new ArgumentError('ERR_ARGUMENT', 'pairs must be whole numbers')
  const device = options.device ?? Device.open()
  if (layout === 'all') {
    const count = { queries: queries.offsets.length - 1, documents: documents.offsets.length - 1 }
    const scores = new Float32Array(count.queries * count.documents)
    for await (const block of scoreBlocks(device, queries, documents, dim, floorZero, signal))
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
      const [q, d] = [upload(device, queries, dim), upload(device, documents, dim)]
      return maxsimOp(q.tokens, q.segments, d.tokens, d.segments, layout, Segments.of(device, pairs!), floorZero)
    }),
  )
  const values = await scores.values()
  abortIf(signal)
  return Float32Array.from(values)
}

export interface ScoreBlock {
  firstQuery: number
  lastQuery: number
  firstDocument: number
  lastDocument: number
  /** [queries of the block × documents of the block]. */
  scores: Float32Array | Float64Array
}

/**
 * Scores of all queries with all documents, block by block: documents in order, and queries in order for each of their
 * blocks. At most one block is ahead of the one that is read, so that the event loop stays free.
 */
export async function* scoreBlocks(
  device: Device,
  queries: TokenVectors,
  documents: TokenVectors,
  dim: number,
  floorZero = false,
  signal?: AbortSignal,
): AsyncGenerator<ScoreBlock> {
  const issue = (
    d: Uploaded,
    q: Range,
    range: Range,
  ): { block: Omit<ScoreBlock, 'scores'>; values: Promise<Float32Array | Float64Array> } =>
    scope(() =>
      withoutTape(() => {
        const part = upload(device, slice(queries, q, dim), dim)
        const scores = maxsimOp(part.tokens, part.segments, d.tokens, d.segments, 'all', null, floorZero)
        const values = scores.values()
        values.catch(() => {}) // awaited below, unless an earlier block failed
        return {
          block: { firstQuery: q.first, lastQuery: q.last, firstDocument: range.first, lastDocument: range.last },
          values,
        }
      }),
    )
  let ahead: ReturnType<typeof issue> | null = null
  for (const range of ranges(documents.offsets, documentBlock)) {
    using owned = new Scope()
    const resident = owned.run(() => upload(device, slice(documents, range, dim), dim))
    for (const q of ranges(queries.offsets, queryBlock)) {
      abortIf(signal)
      const next = issue(resident, q, range)
      if (ahead) yield { ...ahead.block, scores: await ahead.values }
      ahead = next
    }
  }
  if (ahead) yield { ...ahead.block, scores: await ahead.values }
}

interface Range {
  first: number
  last: number
}

interface Uploaded {
  tokens: Tensor
  segments: Segments
}

/** Consecutive texts whose rows fit together; a longer text is alone. */
function* ranges(offsets: ArrayLike<number>, most: { rows: number; texts: number }): Generator<Range> {
  let first = 0
  for (let i = 1; i < offsets.length; i++)
    if (i === offsets.length - 1 || i - first === most.texts || offsets[i + 1]! - offsets[first]! > most.rows) {
      yield { first, last: i }
      first = i
    }
}

function slice({ data, offsets }: TokenVectors, { first, last }: Range, dim: number): TokenVectors {
  const start = offsets[first]!
  return {
    data: data.subarray(start * dim, offsets[last]! * dim),
    offsets: Float64Array.from({ length: last - first + 1 }, (_, i) => offsets[first + i]! - start),
  }
}

function upload(device: Device, { data, offsets }: TokenVectors, dim: number): Uploaded {
  return { tokens: Tensor.from(device, data, [data.length / dim, dim]), segments: Segments.of(device, offsets) }
}

/** @throws ShapeError ERR_SHAPE when offsets and data disagree; ArgumentError ERR_ARGUMENT for other data */
export function checkVectors(side: string, vectors: TokenVectors, dim: number): void {
  const { data, offsets } = vectors ?? {}
  if (!(data instanceof Float32Array))
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `${side}: data must be a Float32Array, got ${Object.prototype.toString.call(data)}`,
    )
  if (typeof offsets?.length !== 'number')
    throw new ArgumentError('ERR_ARGUMENT', `${side}: offsets must be an array, got ${offsets}`)
  const last = offsets[offsets.length - 1]
  let rising = offsets[0] === 0
  for (let i = 1; i < offsets.length; i++) rising &&= Number.isInteger(offsets[i]) && offsets[i]! >= offsets[i - 1]!
  if (!rising || data.length !== last! * dim)
    throw new ShapeError(
      'ERR_SHAPE',
      `${side}: ${data.length} values of dim ${dim} do not fit offsets that ${rising ? `end at row ${last}` : 'do not rise from 0'}`,
      { side, values: data.length, dim, last },
    )
}

/** @throws AbortedError ERR_ABORTED once the signal has fired */
export function abortIf(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortedError('ERR_ABORTED', 'aborted by the caller', {}, { cause: signal.reason })
}
