import { ArgumentError, DataError } from '../errors.js'

/** How often each source gives a batch: by its size, by its size to the power `tempered`, or by given weights. */
export type Sampling = 'proportional' | { tempered: number } | readonly number[]

export interface PlanOptions {
  seed: number
  /** Rows of a global batch; a batch comes from one source. */
  batch: number
  sources: readonly { name: string; rows: number }[]
  sampling?: Sampling
  smallSources?: SmallSources
}

/** What becomes of a source with fewer rows than a batch: it is an error, or a batch takes rows of it several times. */
export type SmallSources = 'refuse' | 'wrap'

export interface StepPlan {
  /** Index into `sources`. */
  source: number
  /** Row numbers of that source, `batch` of them, no two equal unless the source has fewer. */
  rows: Float64Array<ArrayBuffer>
}

export interface Plan {
  /** Steps that read as many batches as all sources hold: exactly one epoch of each under proportional sampling. */
  readonly stepsPerEpoch: number
  /** Steps after which the number of batches of each source follows the sampling exactly. */
  readonly block: number
  at(step: number): StepPlan
}

/** Weights are rounded to so many parts; a source with a positive weight gets at least one. */
const WEIGHT_PARTS = 1000

/**
 * The rows of every step as a pure function of (seed, step), with nothing stored and nothing to advance:
 *
 * - Steps come in blocks in which source s occurs a fixed number of times, c_s (its batches per epoch when sampling is
 *   proportional, else its share of about {@link WEIGHT_PARTS}). Inside block k the order is a permutation keyed by k,
 *   so a step finds its source, and the ordinal of its batch within the source (k·c_s + place), by one permutation and
 *   one search.
 * - That ordinal gives the source's own epoch and batch; an epoch's order of rows is another keyed permutation, of
 *   which a batch is a slice. Rows of a last partial batch are left out; the next epoch leaves out others. A small
 *   source just reaches its next epoch sooner.
 *
 * Permutations are Feistel networks with cycle walking: O(1) per row, exact bijections. Their mixer is not the Philox of
 * io/random.ts: the order of every run's rows rests on its bits.
 * @throws DataError `ERR_DATA` for a source with fewer rows than a batch; ArgumentError `ERR_ARGUMENT` for bad options.
 */
export function createPlan(options: PlanOptions): Plan {
  const { seed, batch, sources, sampling = 'proportional', smallSources = 'refuse' } = options
  if (!Number.isInteger(batch) || batch < 1) throw badArgument('batch', batch, 'a positive integer')
  if (!Number.isSafeInteger(seed)) throw badArgument('seed', seed, 'an integer')
  if (sources.length === 0) throw new DataError('ERR_DATA', 'there is no source to plan batches from.')
  const batches = sources.map(({ name, rows }) => {
    if (rows >= batch) return Math.floor(rows / batch)
    if (smallSources === 'wrap' && rows > 0) return 1
    throw new DataError(
      'ERR_DATA',
      `source "${name}" has ${rows} rows, fewer than one batch of ${batch}. Merge it with another source, lower the batch, ` +
        'or let its rows repeat in a batch: smallSources: wrap.',
      { source: name, rows, batch },
    )
  })
  const counts = blockCounts(batches, sources, sampling)
  const ends: number[] = []
  for (const count of counts) ends.push((ends.at(-1) ?? 0) + count)
  const block = ends.at(-1)!
  const at = (step: number): StepPlan => {
    if (!Number.isSafeInteger(step) || step < 0) throw badArgument('step', step, 'a non-negative integer')
    const blockNumber = Math.floor(step / block)
    const place = permute(step % block, block, keyOf(seed, 0, blockNumber))
    const source = upperBound(ends, place)
    const ordinal = blockNumber * counts[source]! + place - (ends[source]! - counts[source]!)
    const count = sources[source]!.rows
    const rows = new Float64Array(batch)
    if (count < batch) {
      for (let i = 0; i < batch; i++) {
        const at = ordinal * batch + i
        rows[i] = permute(at % count, count, keyOf(seed, source + 1, Math.floor(at / count)))
      }
      return { source, rows }
    }
    const epoch = Math.floor(ordinal / batches[source]!)
    const first = (ordinal % batches[source]!) * batch
    const key = keyOf(seed, source + 1, epoch)
    for (let i = 0; i < batch; i++) rows[i] = permute(first + i, count, key)
    return { source, rows }
  }
  return { stepsPerEpoch: batches.reduce((sum, count) => sum + count, 0), block, at }
}

/** Batches of each source in one block of steps. */
function blockCounts(batches: number[], sources: PlanOptions['sources'], sampling: Sampling): number[] {
  if (sampling === 'proportional') return batches
  let weights: readonly number[]
  if ('tempered' in sampling) {
    const alpha = sampling.tempered
    if (!(alpha >= 0 && alpha <= 1)) throw badArgument('sampling.tempered', alpha, 'a power from 0 to 1')
    weights = sources.map(({ rows }) => rows ** alpha)
  } else {
    weights = sampling
    if (weights.length !== sources.length) {
      throw badArgument('sampling', weights.length, `one weight for each of the ${sources.length} sources`)
    }
    for (const weight of weights) {
      if (!(weight >= 0 && weight < Number.POSITIVE_INFINITY)) throw badArgument('sampling', weight, 'weights ≥ 0')
    }
  }
  const sum = weights.reduce((total, weight) => total + weight, 0)
  if (sum === 0) throw badArgument('sampling', 0, 'at least one positive weight')
  const parts = weights.map((weight) => (weight === 0 ? 0 : Math.max(1, Math.round((weight / sum) * WEIGHT_PARTS))))
  const divisor = parts.reduce(greatestCommonDivisor, 0)
  return parts.map((count) => count / divisor)
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}

/** The first index whose end lies above `value`. */
function upperBound(ends: readonly number[], value: number): number {
  let low = 0
  let high = ends.length - 1
  while (low < high) {
    const middle = (low + high) >> 1
    if (ends[middle]! > value) high = middle
    else low = middle + 1
  }
  return low
}

/** MurmurHash3's finaliser. */
function mix(value: number): number {
  let h = value | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

function keyOf(seed: number, stream: number, epoch: number): number {
  let key = 0x9e3779b9
  for (const value of [seed, stream, epoch]) {
    key = mix(key ^ (value % 0x100000000))
    key = mix(key + Math.floor(value / 0x100000000) + 0x7f4a7c15)
  }
  return key
}

/** Image of `index` under a permutation of 0 … n-1 chosen by `key` (n < 2^52). */
export function permute(index: number, n: number, key: number): number {
  let half = 1
  while (4 ** half < n) half++
  const size = 2 ** half
  const mask = size - 1
  let value = index
  do {
    let left = Math.floor(value / size)
    let right = value & mask
    for (let round = 0; round < 8; round++) {
      const next = left ^ (mix(mix(key + Math.imul(round, 0x9e3779b9)) ^ right) & mask)
      left = right
      right = next
    }
    value = left * size + right
  } while (value >= n)
  return value
}

function badArgument(name: string, value: unknown, expected: string): ArgumentError {
  return new ArgumentError('ERR_ARGUMENT', `${name} is ${value}; expected ${expected}.`, { name, value })
}
