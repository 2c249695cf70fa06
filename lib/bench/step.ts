import { readFileSync } from 'node:fs'
import type { TrainBatch } from '../data/collate.js'
import { AbortedError, ArgumentError, didYouMean } from '../errors.js'
import { contrastive } from '../losses/index.js'
import type { TracedOp } from '../native.js'
import { above, signal as aSignal, checkOptions, flag, kind, number, oneOf, text, whole } from '../options.js'
import { defaultPrecision } from '../tensor/device.js'
import { Device, type Precision, precisions, Scope } from '../tensor/index.js'
import { type BatchLoss, gradCacheAsync } from '../train/gradcache.js'
import { AdamW } from '../train/optim/adamw.js'
import { type Machine, machineOf } from './machine.js'
import { batchOf, createModel, drawLengths, type EncoderShape, type Lengths } from './synthetic.js'

/** Encoders whose steps are benched. */
export const stepShapes: Readonly<Record<string, EncoderShape & { vocabulary: number; use: string }>> = {
  'ettin-17m': {
    layers: 7,
    width: 256,
    intermediate: 384,
    heads: 4,
    vocabulary: 50368,
    use: 'Ettin of 17M parameters',
  },
  nano: { layers: 4, width: 128, intermediate: 192, heads: 2, vocabulary: 50368, use: 'a model for a laptop' },
  'modernbert-base': { layers: 22, width: 768, intermediate: 1152, heads: 12, vocabulary: 50368, use: 'ColBERT-Zero' },
  tiny: { layers: 2, width: 32, heads: 1, vocabulary: 100, use: 'to try the bench' },
}

export const stepModes = ['kept', 'recompute', 'encode'] as const
export type StepMode = (typeof stepModes)[number]

export interface StepBenchOptions {
  /** Of `stepShapes`; default `ettin-17m`. */
  shape?: string
  /** A training step with graphs kept, or with every micro-batch encoded twice; or documents encoded. Default `kept`. */
  mode?: StepMode
  /** Default `cpu`. */
  device?: string
  precision?: Precision
  /** Pairs of a batch of drawn lengths; default 64. */
  batch?: number
  /** Lengths to use instead of drawn ones. */
  lengths?: readonly Lengths[]
  /** Tokens of a training step's micro-batches; default 4096. Mode `encode` takes a batch as a whole. */
  microBatchTokens?: number
  /** Bytes of graphs in mode `kept`; default 1.2e9 on the CPU, everything on a GPU. */
  activationMemory?: number
  steps?: number
  warmup?: number
  /** Runs one more step, traced: `StepReport.traced`. CPU only. */
  trace?: boolean
  signal?: AbortSignal
}

export interface StepReport extends Machine {
  shape: string
  mode: StepMode
  precision: Precision
  batch: number
  /** Null in mode `encode`. */
  microBatchTokens: number | null
  /** Real tokens a second: the median over steps, the least and the most. */
  tokensPerSecond: number
  range: [number, number]
  stepSeconds: number[]
  /** Model operations a second, 10^12: those that a step needs, without what is computed twice. */
  tflops: number
  /** Their share of what multiply-adds alone reach (on the tensor cores in bfloat16), or null where that is unknown. */
  utilization: number | null
  peakProcessBytes: number
  peakTensorBytes: number
  /** How late a 5 ms timer fired at worst: what a server in this process would feel. */
  eventLoopDriftMs: number
  /** Of the option `trace`: when each op of one more step ran. */
  traced?: TracedOp[]
}

/**
 * Times training steps (GradCache, InfoNCE, clipping, AdamW) or encoding, on random token ids in lengths with a real
 * spread. A step ends when its loss has been read.
 * @throws ArgumentError ERR_ARGUMENT; DeviceError ERR_DEVICE; AbortedError ERR_ABORTED
 */
export async function benchStep(options: StepBenchOptions = {}): Promise<StepReport> {
  const { shape, mode, steps, warmup, batch, microBatchTokens, signal, ...settings } = checked(options)
  const { vocabulary, use: _, ...encoder } = stepShapes[shape]!
  const device = Device.open(settings.device)
  const machine = await machineOf(device, settings.device ?? 'cpu', 0.5)
  const activationMemory = mode === 'kept' ? (settings.activationMemory ?? (device.name === 'cpu' ? 1.2e9 : 1e15)) : 0
  const lengths = settings.lengths ?? Array.from({ length: 8 }, (_, i) => drawLengths(batch, i))
  const batches = lengths.map((tokens, step) => batchOf(tokens, step, vocabulary))
  using owned = new Scope()
  const model = await createModel(encoder, vocabulary, { device, precision: settings.precision })
  using optimizer = new AdamW(model.parameterGroups([{ learningRate: 3e-5, weightDecay: 0.01 }]), { maxGradNorm: 1 })
  const loss: BatchLoss = ({ queries, documents }) => contrastive(queries, documents, { temperature: 0.05 })

  const train = async (batch: TrainBatch, step: number) => {
    const value = await gradCacheAsync(model, batch, loss, {
      microBatchTokens,
      activationMemory,
      seed: 1,
      step,
      signal,
    })
    owned.run(() => optimizer.step())
    await value.value()
    value.dispose()
  }
  const encode = async ({ documents }: TrainBatch) => {
    using run = new Scope()
    run.run(() => model.embed(documents, 0, documents.offsets.length - 1, null))
    await device.event()
  }
  const lateness = drift()
  const seconds: number[] = []
  const rates: number[] = []
  let flops = 0
  let traced: TracedOp[] | undefined
  const once = (i: number) => {
    const batch = batches[i % batches.length]!
    return mode === 'encode' ? encode(batch) : train(batch, i)
  }
  try {
    for (let i = 0; i < warmup + steps; i++) {
      if (signal?.aborted) throw new AbortedError('ERR_ABORTED', 'aborted by the caller', {}, { cause: signal.reason })
      if (i === warmup) {
        lateness.reset()
        device.resetPeak()
      }
      const batch = batches[i % batches.length]!
      const started = performance.now()
      await once(i)
      if (i < warmup) continue
      const columns = mode === 'encode' ? [batch.documents] : [batch.queries, batch.documents]
      const took = (performance.now() - started) / 1000
      seconds.push(took)
      rates.push(columns.reduce((sum, { ids }) => sum + ids.length, 0) / took)
      flops += columns.reduce((sum, { offsets }) => sum + flopsOf(encoder, offsets), 0) * (mode === 'encode' ? 1 : 3)
    }
    if (settings.trace) traced = await device.trace(() => once(warmup + steps))
  } finally {
    lateness.stop()
    model.dispose()
  }
  rates.sort((a, b) => a - b)
  const rate = flops / seconds.reduce((sum, s) => sum + s, 0)
  const precision = settings.precision ?? defaultPrecision(device.name)
  const peak = machine.peak[precision === 'bfloat16' ? 'fp16' : 'fp32']
  return {
    ...machine,
    shape,
    mode,
    precision,
    batch: lengths[0]!.queries.length,
    microBatchTokens: mode === 'encode' ? null : microBatchTokens,
    tokensPerSecond: Math.round(rates[rates.length >> 1]!),
    range: [Math.round(rates[0]!), Math.round(rates.at(-1)!)],
    stepSeconds: seconds.map((s) => Number(s.toFixed(4))),
    tflops: rate / 1e12,
    utilization: peak > 0 ? rate / peak : null,
    peakProcessBytes: peakKilobytes() * 1024,
    peakTensorBytes: device.memory().peak,
    eventLoopDriftMs: Number(lateness.most().toFixed(1)),
    ...(traced && { traced }),
  }
}

/**
 * Multiplications and additions of one forward pass: matrix products of all layers and of the projection to 128, and
 * attention (the window is 64 to each side, every third layer sees all).
 */
export function flopsOf(
  { layers, width, intermediate = Math.round(1.5 * width) }: EncoderShape,
  offsets: Float64Array,
): number {
  const tokens = offsets.at(-1)!
  let [all, near] = [0, 0]
  for (let i = 1; i < offsets.length; i++) {
    const n = offsets[i]! - offsets[i - 1]!
    const beyond = Math.max(0, n - 65) // pairs more than 64 apart, to each side
    all += n * n
    near += n * n - beyond * (beyond + 1)
  }
  const global = Math.ceil(layers / 3)
  const products = tokens * (layers * (4 * width * width + 3 * width * intermediate) + 128 * width)
  return 2 * (products + 2 * width * (global * all + (layers - global) * near))
}

function checked(options: StepBenchOptions) {
  const list = kind('a list', (v) => Array.isArray(v) && v.length > 0)
  checkOptions('benchStep', options, {
    ...{ shape: text, mode: text, device: text, precision: oneOf(...precisions), batch: whole(1), lengths: list },
    ...{ microBatchTokens: above(0), activationMemory: number(0), steps: whole(1), warmup: whole(0), signal: aSignal },
    trace: flag,
  })
  const { shape = 'ettin-17m', mode = 'kept', steps = 5, warmup = 2, batch = 64, microBatchTokens = 4096 } = options
  const fail = (text: string): never => {
    throw new ArgumentError('ERR_ARGUMENT', text)
  }
  if (!Object.hasOwn(stepShapes, shape)) fail(`no shape "${shape}"; ${didYouMean(shape, Object.keys(stepShapes))}`)
  if (!stepModes.includes(mode)) fail(`mode is "${mode}", expected ${stepModes.join(', ')}`)
  for (const [name, value, least] of [
    ['steps', steps, 1],
    ['warmup', warmup, 0],
    ['batch', batch, 1],
  ] as const)
    if (!Number.isSafeInteger(value) || value < least) fail(`${name} is ${value}, expected a whole number ≥ ${least}`)
  const idle = (key: keyof StepBenchOptions, because: string): void => {
    if (options[key] !== undefined) fail(`${key} has no effect ${because}; leave it out`)
  }
  if (mode === 'encode') idle('microBatchTokens', 'in mode encode, which takes a batch as a whole')
  if (mode !== 'kept') idle('activationMemory', `in mode ${mode}, which keeps no graphs`)
  if (options.lengths) idle('batch', 'beside lengths, which say what a batch holds')
  return { ...options, shape, mode, steps, warmup, batch, microBatchTokens }
}

/** How late a timer of 5 ms fires. */
function drift() {
  let [most, due] = [0, performance.now() + 5]
  const timer = setInterval(() => {
    const now = performance.now()
    most = Math.max(most, now - due)
    due = now + 5
  }, 5)
  return { most: () => most, reset: () => void (most = 0), stop: () => clearInterval(timer) }
}

/** Of this program alone: on Linux `maxRSS` begins with what the process was before. */
function peakKilobytes(): number {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0)
}
