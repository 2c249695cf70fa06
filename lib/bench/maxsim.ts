import os from 'node:os'
import { ArgumentError } from '../errors.js'
import { native, packageVersion } from '../native.js'
import { checkOptions } from '../options.js'
import { Device, ops, raw, Scope, Segments, Tensor } from '../tensor/index.js'
import { type MaxSimShape, maxsimFlops, maxsimShapesByName } from './shapes.js'
import { type Timing, time } from './timing.js'

export interface MaxSimBenchOptions {
  /** Names of shapes (shapes.ts); default the usual ones. */
  shapes?: readonly string[]
  /** Default `cpu`. */
  device?: string
  /** Of a token vector; default 128. */
  dim?: number
  /** For each measurement; default 1. */
  seconds?: number
  /** Called with each result as it is there. */
  onResult?: (result: MaxSimResult) => void
  signal?: AbortSignal
}

export interface MaxSimResult extends MaxSimShape {
  dim: number
  dtype: string
  /** Scores only; then with the winners a gradient needs; then both gradients from those winners. */
  forward: Timing
  withWinners: Timing
  backward: Timing
  /** Of the forward's median: 10^9 operations a second, and their share of the measured peak (null without one). */
  gflops: number
  peakShare: number | null
  /** Largest difference between a score and its definition in float64, over a sample of pairs. */
  error: number
}

export interface MaxSimReport {
  lateforge: string
  node: string
  processor: string
  device: string
  isa: string | null
  threads: number | null
  /** 10^9 float32 operations a second that multiply-adds alone reach, measured just before; null off the CPU. */
  peakGflops: number | null
  results: MaxSimResult[]
}

/**
 * Times MaxSim on random unit vectors: medians of warm calls, each from the call to the end of its work, as a caller
 * sees it.
 * @throws ArgumentError ERR_ARGUMENT for unknown shapes or options; DeviceError ERR_DEVICE; AbortedError ERR_ABORTED
 */
export async function benchMaxSim(options: MaxSimBenchOptions = {}): Promise<MaxSimReport> {
  checkOptions('benchMaxSim', options, ['shapes', 'device', 'dim', 'seconds', 'onResult', 'signal'])
  const { device: name = 'cpu', dim = 128, seconds = 1, onResult, signal } = options
  const shapes = maxsimShapesByName(options.shapes ?? [])
  if (!Number.isInteger(dim) || dim < 8 || dim % 8)
    throw new ArgumentError('ERR_ARGUMENT', `dim is ${dim}, expected a multiple of 8`)
  if (!(seconds >= 0 && seconds <= 3600))
    throw new ArgumentError('ERR_ARGUMENT', `seconds is ${seconds}, expected 0 to 3600`)
  const device = Device.open(name)
  const onCpu = name === 'cpu'
  const cpu = onCpu ? native().cpuInfo() : null
  const peak = onCpu ? await native().cpuPeak(Math.min(1, seconds)) : null
  const report: MaxSimReport = {
    lateforge: packageVersion(),
    node: process.version,
    processor: os.cpus()[0]?.model.trim() ?? 'unknown',
    device: device.name,
    isa: cpu?.isa ?? null,
    threads: cpu?.threads ?? null,
    peakGflops: peak && peak / 1e9,
    results: [],
  }
  for (const shape of shapes) {
    const result = await measure(shape, dim, device, seconds, peak, signal)
    report.results.push(result)
    onResult?.(result)
  }
  return report
}

async function measure(
  shape: MaxSimShape,
  dim: number,
  device: Device,
  seconds: number,
  peak: number | null,
  signal?: AbortSignal,
): Promise<MaxSimResult> {
  const vectors = {
    q: unitVectors(shape.queries * shape.queryTokens, dim, 1),
    d: unitVectors(shape.documents * shape.documentTokens, dim, 2),
  }
  using owned = new Scope()
  const { q, d, qSegments, dSegments, pairs } = owned.run(() => ({
    q: Tensor.from(device, vectors.q, [vectors.q.length / dim, dim]),
    d: Tensor.from(device, vectors.d, [vectors.d.length / dim, dim]),
    qSegments: Segments.fromLengths(device, Array(shape.queries).fill(shape.queryTokens)),
    dSegments: Segments.fromLengths(device, Array(shape.documents).fill(shape.documentTokens)),
    pairs:
      shape.layout === 'groups'
        ? Segments.fromLengths(device, Array(shape.queries).fill(shape.documents / shape.queries))
        : null,
  }))
  const layout = ops.layouts.indexOf(shape.layout)
  const score = (wantArgmax: number) =>
    raw.maxsim(q, qSegments, d, dSegments, pairs, { layout, wantArgmax, floorZero: 0 })
  const timed = async (call: () => void) => {
    using run = new Scope()
    run.run(call)
    await device.event()
  }
  const forward = await time(() => timed(() => score(0)), seconds, signal)
  const withWinners = await time(() => timed(() => score(1)), seconds, signal)
  const [scores, winners] = owned.run(() => score(1))
  const gradients = owned.run(() => [q, d].map((x) => Tensor.empty(device, x.shape)))
  for (const gradient of gradients) raw.zero(gradient)
  const [dq, dd] = gradients as [Tensor, Tensor]
  const backward = await time(
    () => timed(() => raw.maxsimBackward(q, qSegments, d, dSegments, pairs, winners!, scores, dq, dd, { layout })),
    seconds,
    signal,
  )
  const rate = maxsimFlops(shape, dim) / (forward.median / 1000)
  return {
    ...shape,
    dim,
    dtype: q.dtype,
    forward,
    withWinners,
    backward,
    gflops: rate / 1e9,
    peakShare: peak && rate / peak,
    error: errorOf(shape, dim, vectors.q, vectors.d, await scores.values()),
  }
}

/** Rows of unit norm, the same for the same seed. */
function unitVectors(rows: number, dim: number, seed: number): Float32Array {
  const data = new Float32Array(rows * dim)
  let state = seed
  for (let row = 0; row < data.length; row += dim) {
    let norm = 0
    for (let k = row; k < row + dim; k++) {
      // Xorshift32 (Marsaglia 2003).
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      const x = state / 2 ** 31
      data[k] = x
      norm += x * x
    }
    const scale = 1 / Math.sqrt(norm)
    for (let k = row; k < row + dim; k++) data[k]! *= scale
  }
  return data
}

/** Against the definition in float64, for up to 16 pairs spread over the call. */
function errorOf(
  { layout, queries, queryTokens, documents, documentTokens }: MaxSimShape,
  dim: number,
  q: Float32Array,
  d: Float32Array,
  scores: ArrayLike<number>,
): number {
  const sample = Math.min(16, scores.length)
  let error = 0
  for (let s = 0; s < sample; s++) {
    const k = Math.floor(((s + 0.5) * scores.length) / sample)
    const i = layout === 'all' ? Math.floor(k / documents) : Math.floor((k * queries) / documents)
    const j = layout === 'all' ? k % documents : k
    let score = 0
    for (let row = i * queryTokens; row < (i + 1) * queryTokens; row++) {
      let best = Number.NEGATIVE_INFINITY
      for (let token = j * documentTokens; token < (j + 1) * documentTokens; token++) {
        let sum = 0
        for (let f = 0; f < dim; f++) sum += q[row * dim + f]! * d[token * dim + f]!
        best = Math.max(best, sum)
      }
      score += best
    }
    error = Math.max(error, Math.abs(scores[k]! - score))
  }
  return error
}
