/** Ours and no package: simple-statistics has neither a paired randomization test nor Holm's correction. */
import { ArgumentError } from '../errors.js'
import { above, checkOptions, type Kinds, numbers, seed, whole } from '../options.js'
import { mean } from '../retrieval/metrics.js'

/** Options of resampling. */
export interface ResampleOptions {
  /** Default 10,000. */
  readonly resamples?: number
  /** A non-negative integer; equal seeds give equal results everywhere. Default 0. */
  readonly seed?: number
}

export const resampleOptions: Kinds<ResampleOptions> = { resamples: whole(1, 1e8), seed }

/** Options of an interval. */
export interface IntervalOptions extends ResampleOptions {
  /** Default 0.95. */
  readonly confidence?: number
}

const intervalOptions: Kinds<IntervalOptions> = { ...resampleOptions, confidence: above(0, 1) }

/** Options of what is over several collections. */
export interface WeightOptions {
  /** Shares of the collections in the mean, which add up to 1. Default: equal. */
  readonly weights?: readonly number[]
}

const weightOptions: Kinds<WeightOptions> = { weights: numbers }

/** A mean over queries with its confidence interval. */
export interface Interval {
  /** The mean. */
  readonly mean: number
  /** Lower end. */
  readonly low: number
  /** Upper end. */
  readonly high: number
}

/**
 * Percentile bootstrap interval of the mean over queries (Efron and Tibshirani 1993, chapter 13): the mean of as many
 * queries drawn with replacement, `resamples` times; the interval runs between the quantiles (interpolated linearly).
 * Throws `ArgumentError` (`ERR_ARGUMENT`) for no values, values that are not finite, or options out of range.
 */
export function bootstrapInterval(values: ArrayLike<number>, options: IntervalOptions = {}): Interval {
  checkOptions('bootstrapInterval', options, intervalOptions)
  return resampled([values], [1], options)
}

/**
 * The same of a macro-mean, the mean of the means of several collections: queries are drawn within each collection, which
 * are fixed. Of differences between two systems, query by query, it is the paired interval of the macro-difference.
 * @param collections of each, a value per query
 * @param options `weights`: shares of the collections in the mean, which add up to 1. Default: equal
 * Throws `ArgumentError` (`ERR_ARGUMENT`) as `bootstrapInterval`, and for other weights.
 */
export function macroInterval(
  collections: readonly ArrayLike<number>[],
  options: IntervalOptions & WeightOptions = {},
): Interval {
  checkOptions('macroInterval', options, { ...intervalOptions, ...weightOptions })
  return resampled(collections, weightsOf(collections, options.weights), options)
}

function resampled(
  collections: readonly ArrayLike<number>[],
  weights: readonly number[],
  { confidence = 0.95, resamples = 10_000, seed = 0 }: IntervalOptions,
): Interval {
  for (const values of collections) checkValues(values)
  const all = collections.map((values) => Float64Array.from(values))
  const means = new Float64Array(resamples)
  for (let r = 0; r < resamples; r++) {
    const key = streamKey(seed, r)
    let position = 0
    for (const [c, data] of all.entries()) {
      const n = data.length
      let sum = 0
      // The high bits of a 53-bit-safe product: an index in 0 … n - 1 without a division.
      for (let i = 0; i < n; i++) sum += data[Math.floor(draw(key, position++) * (n / 2 ** 32))]
      means[r] += weights[c]! * (sum / n)
    }
  }
  means.sort()
  const tail = (1 - confidence) / 2
  return { mean: weighted(all, weights), low: quantile(means, tail), high: quantile(means, 1 - tail) }
}

/** What `randomizationTest` and `macroTest` find. */
export interface TestResult {
  /** Mean of a − b. */
  readonly difference: number
  /** Two-sided p value. */
  readonly p: number
}

/**
 * Two-sided paired randomization test (Fisher; Smucker, Allan and Carterette 2007): how often a difference of means at
 * least as large arises when the two systems' values are swapped at random query by query. p = (1 + hits) / (1 +
 * resamples), so that it is never 0; where all swaps number no more than `resamples` they are enumerated and p is exact.
 * Throws `ArgumentError` (`ERR_ARGUMENT`) for values of different length, not finite, or options out of range.
 */
export function randomizationTest(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  options: ResampleOptions = {},
): TestResult {
  checkOptions('randomizationTest', options, resampleOptions)
  return swapped([a], [b], [1], options)
}

/**
 * The same of the difference of macro-means: values are swapped query by query in all collections at once.
 * @param a of each collection, a value per query
 * @param b the other system's, of the same queries
 * @param options `weights` as in `macroInterval`
 * Throws `ArgumentError` (`ERR_ARGUMENT`) as `randomizationTest`, for other collections, and for other weights.
 */
export function macroTest(
  a: readonly ArrayLike<number>[],
  b: readonly ArrayLike<number>[],
  options: ResampleOptions & WeightOptions = {},
): TestResult {
  checkOptions('macroTest', options, { ...resampleOptions, ...weightOptions })
  if (a.length !== b.length)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `The systems have ${a.length} and ${b.length} collections, expected the same ones.`,
    )
  return swapped(a, b, weightsOf(a, options.weights), options)
}

function swapped(
  a: readonly ArrayLike<number>[],
  b: readonly ArrayLike<number>[],
  weights: readonly number[],
  { resamples = 10_000, seed = 0 }: ResampleOptions,
): TestResult {
  const all = a.map((values, c) => differencesOf(values, b[c]!))
  // A query's share in the mean, in units of that of a query of the first collection.
  const share = (c: number): number => (weights[c]! * all[0]!.length) / (weights[0]! * all[c]!.length)
  const differences = Float64Array.from(
    all.flatMap((values, c) => [...values].map((value) => value * share(c))),
  ).filter((value) => value !== 0) // swapping equal values changes nothing
  const n = differences.length
  let observed = 0
  let scale = 0
  for (const value of differences) {
    observed += value
    scale += Math.abs(value)
  }
  // Swaps that tie with the observed sum must count although they were added up in another order.
  const threshold = Math.abs(observed) - 1e-12 * scale
  const exact = n < 31 && 2 ** n <= resamples
  const trials = exact ? 2 ** n : resamples
  let hits = 0
  for (let r = 0; r < trials; r++) {
    const key = streamKey(seed, r)
    let sum = 0
    for (let i = 0; i < n; ) {
      let bits = exact ? r : draw(key, i)
      for (const end = Math.min(n, i + 32); i < end; i++, bits >>>= 1)
        sum += bits & 1 ? differences[i] : -differences[i]
    }
    if (Math.abs(sum) >= threshold) hits++
  }
  return { difference: weighted(all, weights), p: exact ? hits / trials : (hits + 1) / (trials + 1) }
}

/** a − b, query by query. */
export function differencesOf(a: ArrayLike<number>, b: ArrayLike<number>): Float64Array {
  checkValues(a)
  checkValues(b)
  if (a.length !== b.length)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `The systems have ${a.length} and ${b.length} values, expected one each for the same queries.`,
    )
  return Float64Array.from(a, (value, i) => value - b[i])
}

/** Shares of collections in a macro-mean: equal ones, of which those of one set have one between them. */
export function macroWeights(sets: readonly (string | undefined)[]): number[] {
  const sizes = new Map<string | number, number>()
  const keys = sets.map((set, c) => set ?? c)
  for (const key of keys) sizes.set(key, (sizes.get(key) ?? 0) + 1)
  return keys.map((key) => 1 / (sizes.size * sizes.get(key)!))
}

function weighted(collections: readonly Float64Array[], weights: readonly number[]): number {
  return collections.reduce((sum, values, c) => sum + weights[c]! * mean(values), 0)
}

function weightsOf(collections: readonly unknown[], given: readonly number[] | undefined): readonly number[] {
  if (collections.length === 0)
    throw new ArgumentError('ERR_ARGUMENT', 'No collections were given, expected one at least.')
  const weights = given ?? collections.map(() => 1 / collections.length)
  const sum = weights.reduce((total, weight) => total + weight, 0)
  if (weights.length !== collections.length || !weights.every((weight) => weight > 0) || Math.abs(sum - 1) > 1e-9)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `Found the weights ${weights.join(', ')}, expected one > 0 for each of ${collections.length} collections, 1 together.`,
    )
  return weights
}

/**
 * Holm's step-down correction (1979) of a family of p-values, in their order: controls the chance of any false alarm
 * without assuming independence. Throws `ArgumentError` (`ERR_ARGUMENT`) for a value outside 0 … 1.
 */
export function holm(pValues: readonly number[]): number[] {
  for (const p of pValues)
    if (!(p >= 0 && p <= 1))
      throw new ArgumentError('ERR_ARGUMENT', `Found the p-value ${p}, expected one from 0 to 1.`)
  const order = pValues.map((_, i) => i).sort((i, j) => pValues[i] - pValues[j])
  const adjusted = new Array<number>(pValues.length)
  let floor = 0
  order.forEach((index, position) => {
    floor = Math.max(floor, Math.min(1, pValues[index] * (pValues.length - position)))
    adjusted[index] = floor
  })
  return adjusted
}

/** Linear interpolation between the order statistics of a sorted array (numpy's default). */
function quantile(sorted: Float64Array, q: number): number {
  const position = q * (sorted.length - 1)
  const below = Math.floor(position)
  const above = Math.min(below + 1, sorted.length - 1)
  return sorted[below] + (position - below) * (sorted[above] - sorted[below])
}

/*
 * Counter-based random numbers: a draw is a pure function of (seed, resample, position). `mix` is a bijective 32-bit
 * finaliser; each resample has two keys, one before and one between two rounds, so that streams do not overlap. Not the
 * Philox of io/random.ts: published intervals and p-values rest on these bits.
 */
function mix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad)
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97)
  return x ^ (x >>> 15)
}

interface StreamKey {
  readonly first: number
  readonly second: number
}

function streamKey(seed: number, stream: number): StreamKey {
  const low = mix(seed | 0) ^ stream
  const high = mix(Math.floor(seed / 2 ** 32) ^ 0x9e3779b9)
  return { first: mix(low + high), second: mix(mix(low) ^ Math.imul(high, 0x85ebca6b)) }
}

/** An unsigned 32-bit integer. */
function draw(key: StreamKey, position: number): number {
  return mix((mix(position + key.first) ^ key.second) | 0) >>> 0
}

function checkValues(values: ArrayLike<number>): void {
  if (values.length === 0) throw new ArgumentError('ERR_ARGUMENT', 'No values were given, expected one for each query.')
  for (let i = 0; i < values.length; i++)
    if (!Number.isFinite(values[i]))
      throw new ArgumentError('ERR_ARGUMENT', `Value ${i} is ${values[i]}, expected a finite number.`)
}
