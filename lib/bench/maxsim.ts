import { ArgumentError } from '../errors.js'
import { signal as aSignal, checkOptions, func, number, strings, text, whole } from '../options.js'
import { Device, ops, raw, Scope, Segments, Tensor } from '../tensor/index.js'
import { flusher, type Machine, machineOf, rooflineOf } from './machine.js'
import { type MaxSimShape, maxsimFlops, maxsimShapesByName } from './shapes.js'
import { type DeviceTiming, type Timing, time, timeOnDevice } from './timing.js'
import { bytesOf, checkVectors, type RealType, vectorsOf } from './vectors.js'

export interface MaxSimBenchOptions {
  /** Names of shapes (shapes.ts); default the usual ones. */
  shapes?: readonly string[]
  /** Default `cpu`. */
  device?: string
  /** Of a token vector; default 128. */
  dim?: number
  /** Of the token vectors; default `float32`. The CPU has no other. */
  dtype?: RealType
  /** For each measurement; default 1. */
  seconds?: number
  /** Called with each result as it is there. */
  onResult?: (result: MaxSimResult) => void
  signal?: AbortSignal
}

export interface MaxSimResult extends MaxSimShape {
  dim: number
  dtype: RealType
  /** Which kernels ran: of the CPU; on CUDA `mma` (tensor cores), `simt` (ordinary cores), `reference`. */
  kernels: 'cpu' | 'mma' | 'simt' | 'reference'
  /**
   * By the host's clock, from the call to the end of its work: scores only; then with the argmax that a gradient needs;
   * then both gradients from that argmax.
   */
  forward: Timing
  withArgmax: Timing
  backward: Timing
  /** From the call until the scores are in JavaScript. */
  toScores: Timing
  /** The same three by the device's own clock, where it has one. */
  onDevice: { forward: DeviceTiming; withArgmax: DeviceTiming; backward: DeviceTiming } | null
  /** 10^9 operations a second of the forward's median (warm, by the device's clock if there is one). */
  gflops: number
  /** Their share of what multiply-adds alone reach (on the tensor cores for 16-bit vectors); null where that is unknown. */
  peakShare: number | null
  /** Bytes that have to be read and written once: vectors and scores. */
  bytes: number
  /** Operations for each of them. */
  intensity: number
  /**
   * Share of the roofline: the least time at the machine's peak over the forward's median. `flushed`: bytes come from
   * memory; `warm`: from the shared cache. Null where the peak is unknown.
   */
  roofline: { bound: 'operations' | 'bytes'; flushed: number; warm: number } | null
  /** Largest difference between a score and its definition in float64, over a sample of pairs. */
  error: number
}

export interface MaxSimReport extends Machine {
  what: 'maxsim'
  results: MaxSimResult[]
}

/**
 * Times MaxSim on random unit vectors: medians with their spread.
 * @throws ArgumentError ERR_ARGUMENT for unknown shapes or options; DeviceError ERR_DEVICE; DTypeError ERR_DTYPE where
 * the device does not compute with `dtype`; AbortedError ERR_ABORTED
 */
export async function benchMaxSim(options: MaxSimBenchOptions = {}): Promise<MaxSimReport> {
  checkOptions('benchMaxSim', options, {
    ...{ shapes: strings, device: text, dim: whole(1), dtype: text },
    ...{ seconds: number(0), onResult: func, signal: aSignal },
  })
  const { device: name = 'cpu', dim = 128, dtype = 'float32', seconds = 1, onResult, signal } = options
  const shapes = maxsimShapesByName(options.shapes ?? [])
  checkSeconds(seconds)
  const device = Device.open(name)
  checkVectors(device, dtype, dim)
  const report: MaxSimReport = {
    what: 'maxsim',
    ...(await machineOf(device, name, Math.min(1, seconds))),
    results: [],
  }
  for (const shape of shapes) {
    const result = await measure(shape, dim, dtype, device, report, seconds, signal)
    report.results.push(result)
    onResult?.(result)
  }
  return report
}

export function checkSeconds(seconds: number): void {
  if (!(seconds >= 0 && seconds <= 3600))
    throw new ArgumentError('ERR_ARGUMENT', `seconds is ${seconds}, expected 0 to 3600`)
}

async function measure(
  shape: MaxSimShape,
  dim: number,
  dtype: RealType,
  device: Device,
  { peak }: Machine,
  seconds: number,
  signal?: AbortSignal,
): Promise<MaxSimResult> {
  using owned = new Scope()
  const q = await vectorsOf(owned, device, shape.queries, shape.queryTokens, dim, dtype, 1)
  const d = await vectorsOf(owned, device, shape.documents, shape.documentTokens, dim, dtype, 2)
  const pairs = owned.run(() =>
    shape.layout === 'grouped'
      ? Segments.fromLengths(device, Array(shape.queries).fill(shape.documents / shape.queries))
      : null,
  )
  const flush = owned.run(() => flusher(device))
  const layout = ops.layouts.indexOf(shape.layout)
  const score = (wantArgmax: number) =>
    raw.maxsim(q.tokens, q.segments, d.tokens, d.segments, pairs, { layout, wantArgmax, clampNegatives: 0 })
  const [scores, argmax] = owned.run(() => score(1))
  const [dq, dd] = owned.run(() => [q, d].map(({ tokens }) => Tensor.empty(device, tokens.shape))) as [Tensor, Tensor]
  for (const gradient of [dq, dd]) raw.zero(gradient)
  const calls = {
    forward: () => void score(0),
    withArgmax: () => void score(1),
    backward: () =>
      raw.maxsimBackward(q.tokens, q.segments, d.tokens, d.segments, pairs, argmax!, scores, dq, dd, { layout }),
  }
  const onHost = (call: () => void) =>
    time(
      async () => {
        using run = new Scope()
        run.run(call)
        await device.event()
      },
      seconds,
      signal,
    )
  const forward = await onHost(calls.forward)
  const withArgmax = await onHost(calls.withArgmax)
  const backward = await onHost(calls.backward)
  const toScores = await time(
    async () => {
      using run = new Scope()
      await run.run(() => score(0))[0].data()
    },
    seconds,
    signal,
  )
  const onDevice = (call: () => void) => timeOnDevice(device, call, flush, seconds, signal)
  const first = await onDevice(calls.forward)
  const deviceTimes = first && {
    forward: first,
    withArgmax: (await onDevice(calls.withArgmax))!,
    backward: (await onDevice(calls.backward))!,
  }
  const operations = maxsimFlops(shape, dim)
  const bytes = (q.data.length + d.data.length) * bytesOf(dtype) + scores.bytes
  const warm = (first?.warm ?? forward).median
  const rate = operations / (warm / 1000)
  const type = dtype === 'float32' ? 'fp32' : 'fp16'
  const memory = rooflineOf({ operations, bytes }, peak, type, 'memory')
  const cache = rooflineOf({ operations, bytes }, peak, type, 'cache')
  return {
    ...shape,
    dim,
    dtype,
    kernels: kernelsOf(device, dtype, dim),
    forward,
    withArgmax,
    backward,
    toScores,
    onDevice: deviceTimes,
    gflops: rate / 1e9,
    peakShare: peak[type] > 0 ? rate / peak[type] : null,
    bytes,
    intensity: operations / bytes,
    roofline: first &&
      memory &&
      cache && {
        bound: memory.bound,
        flushed: memory.milliseconds / first.flushed.median,
        warm: cache.milliseconds / first.warm.median,
      },
    error: errorOf(shape, dim, q.data, d.data, await scores.values()),
  }
}

/** What native/ops/maxsim/cuda.cu chooses. */
function kernelsOf(device: Device, dtype: RealType, dim: number): MaxSimResult['kernels'] {
  if (!device.name.startsWith('cuda')) return 'cpu'
  if (process.env.LATEFORGE_CUDA_REFERENCE?.split(',').includes('maxsim')) return 'reference'
  return dtype !== 'float32' && dim <= 128 ? 'mma' : 'simt'
}

/** Against the definition in float64, for up to 16 pairs spread over the call. */
function errorOf(
  { layout, queries, queryTokens, documents, documentTokens }: MaxSimShape,
  dim: number,
  q: Float32Array,
  d: Float32Array,
  scores: ArrayLike<number>,
): number {
  const sampled = Math.min(16, scores.length)
  let error = 0
  for (let s = 0; s < sampled; s++) {
    const k = Math.floor(((s + 0.5) * scores.length) / sampled)
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
