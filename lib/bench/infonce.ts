import { contrastive } from '../losses/index.js'
import { signal as aSignal, checkOptions, func, number, strings, text, whole } from '../options.js'
import { Device, Scope, Tape, type Tensor } from '../tensor/index.js'
import { type Machine, machineOf } from './machine.js'
import { checkSeconds } from './maxsim.js'
import { infoNceShapesByName, type MaxSimShape, maxsimFlops } from './shapes.js'
import { type Timing, time } from './timing.js'
import { type BenchEmbeddings, bytesOf, checkVectors, type RealType, vectorsOf } from './vectors.js'

export interface InfoNceBenchOptions {
  /** Names of shapes (shapes.ts); default the usual ones. */
  shapes?: readonly string[]
  /** Default `cpu`. */
  device?: string
  /** Of a token vector; default 128. */
  dim?: number
  /** Of the token vectors; default `float32`. The CPU has no other. */
  dtype?: RealType
  /** Queries scored at a time, as in `contrastive`. */
  blockQueries?: number
  /** For each measurement; default 1. */
  seconds?: number
  /** Called with each result as it is there. */
  onResult?: (result: InfoNceResult) => void
  signal?: AbortSignal
}

export interface InfoNceResult extends MaxSimShape {
  dim: number
  dtype: RealType
  blockQueries: number
  /** Loss and both gradients, by the host's clock, from the call to the end of its work. */
  forward: Timing
  /** 10^9 operations a second, of the inner products alone: the gradients' additions are not counted. */
  gflops: number
  /** Their share of what multiply-adds alone reach; null where that is unknown. */
  peakShare: number | null
  /** Peak of the device's memory beyond embeddings and gradients, in bytes: measured, and by arithmetic. */
  extraBytes: number
  expectedBytes: number
  /**
   * Of one query's loss and of the gradients it makes (as a share of their norm), against their definition in float64.
   */
  error: { loss: number; queries: number; documents: number }
}

export interface InfoNceReport extends Machine {
  what: 'infonce'
  results: InfoNceResult[]
}

/**
 * Times the contrastive loss with its gradients (`contrastive`) on random unit vectors. At temperature 1 no share of the
 * softmax vanishes, so nothing is skipped.
 * @throws as `benchMaxSim`
 */
export async function benchInfoNce(options: InfoNceBenchOptions = {}): Promise<InfoNceReport> {
  checkOptions('benchInfoNce', options, {
    ...{ shapes: strings, device: text, dim: whole(1), dtype: text },
    ...{ blockQueries: whole(1), seconds: number(0), onResult: func, signal: aSignal },
  })
  const { device: name = 'cpu', dim = 128, dtype = 'float32', blockQueries = 1024, seconds = 1 } = options
  const shapes = infoNceShapesByName(options.shapes ?? [])
  checkSeconds(seconds)
  const device = Device.open(name)
  checkVectors(device, dtype, dim)
  const report: InfoNceReport = {
    what: 'infonce',
    ...(await machineOf(device, name, Math.min(1, seconds))),
    results: [],
  }
  for (const shape of shapes) {
    const result = await measure(shape, { dim, dtype, blockQueries }, device, report, seconds, options.signal)
    report.results.push(result)
    options.onResult?.(result)
  }
  return report
}

async function measure(
  shape: MaxSimShape,
  how: { dim: number; dtype: RealType; blockQueries: number },
  device: Device,
  { peak: peaks }: Machine,
  seconds: number,
  signal?: AbortSignal,
): Promise<InfoNceResult> {
  const { dim, dtype, blockQueries } = how
  using owned = new Scope()
  const q = await vectorsOf(owned, device, shape.queries, shape.queryTokens, dim, dtype, 1)
  const d = await vectorsOf(owned, device, shape.documents, shape.documentTokens, dim, dtype, 2)
  for (const { tokens } of [q, d]) tokens.requiresGradient = true
  /** Loss, and the gradients of queries and documents. */
  const step = (weights?: ArrayLike<number>): [Tensor, Tensor, Tensor] => {
    const tape = new Tape()
    const loss = tape.run(() => contrastive(q, d, { blockQueries, ...(weights ? { weights } : {}) }))
    const [dq, dd] = tape.backward(loss, undefined, [q.tokens, d.tokens])
    return [loss, dq!, dd!]
  }
  const once = async () => {
    using run = new Scope()
    run.run(() => step())
    await device.event()
  }
  await once()
  const before = device.memory().bytes
  device.resetPeak()
  await once()
  const gradients = 4 * (q.data.length + d.data.length)
  const extraBytes = device.memory().peak - before - gradients
  const forward = await time(once, seconds, signal)
  const rate = maxsimFlops(shape, dim) / (forward.median / 1000)
  const peak = dtype === 'float32' ? peaks.fp32 : peaks.fp16
  return {
    ...shape,
    ...how,
    forward,
    gflops: rate / 1e9,
    peakShare: peak > 0 ? rate / peak : null,
    extraBytes,
    expectedBytes: infoNceBytes(shape, dim, bytesOf(dtype), blockQueries),
    error: await errorOf(shape, dim, q, d, step),
  }
}

/**
 * What a step needs at most beyond embeddings and gradients: of one block of queries the scores, one winner for each of
 * its rows and each document, and the workspace of the larger op; and what grows with the batch by a few bytes.
 */
export function infoNceBytes(shape: MaxSimShape, dim: number, width: number, blockQueries: number): number {
  const queries = Math.min(shape.queries, blockQueries)
  const rows = queries * shape.queryTokens
  const winner = shape.documentTokens <= 256 ? 1 : shape.documentTokens <= 65536 ? 2 : 4
  const packed = (rows + 16 * (Math.floor(rows / 256) + 1)) * dim * width
  return queries * shape.documents * 4 + rows * shape.documents * winner + packed + 16 * queries
}

/** All weight is on one query: its loss, and what it gives to both gradients, follow from its own row of scores. */
async function errorOf(
  { queries, queryTokens, documents, documentTokens }: MaxSimShape,
  dim: number,
  q: BenchEmbeddings,
  d: BenchEmbeddings,
  step: (weights: ArrayLike<number>) => [Tensor, Tensor, Tensor],
): Promise<InfoNceResult['error']> {
  const chosen = queries >> 1
  using owned = new Scope()
  const results = owned.run(() => step(Float64Array.from({ length: queries }, (_, i) => (i === chosen ? 1 : 0))))
  const [loss, dq, dd] = (await Promise.all(results.map((r) => r.values()))) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ]
  const scores = new Float64Array(documents)
  const argmax = new Int32Array(documents * queryTokens)
  const first = chosen * queryTokens
  for (let j = 0; j < documents; j++)
    for (let row = 0; row < queryTokens; row++) {
      let [best, winner] = [Number.NEGATIVE_INFINITY, 0]
      for (let token = j * documentTokens; token < (j + 1) * documentTokens; token++) {
        let sum = 0
        for (let f = 0; f < dim; f++) sum += q.data[(first + row) * dim + f]! * d.data[token * dim + f]!
        if (sum > best) [best, winner] = [sum, token]
      }
      scores[j]! += best
      argmax[j * queryTokens + row] = winner
    }
  const most = scores.reduce((a, b) => Math.max(a, b))
  const total = scores.reduce((sum, s) => sum + Math.exp(s - most), 0)
  const want = most + Math.log(total) - scores[chosen]!
  const wantQ = new Float64Array(dq.length)
  const wantD = new Float64Array(dd.length)
  for (let j = 0; j < documents; j++) {
    const share = Math.exp(scores[j]! - most) / total - (j === chosen ? 1 : 0)
    for (let row = 0; row < queryTokens; row++)
      for (let f = 0, token = argmax[j * queryTokens + row]!; f < dim; f++) {
        wantQ[(first + row) * dim + f]! += share * d.data[token * dim + f]!
        wantD[token * dim + f]! += share * q.data[(first + row) * dim + f]!
      }
  }
  return {
    loss: Math.abs(loss[0]! - want) / Math.abs(want),
    queries: distance(dq, wantQ),
    documents: distance(dd, wantD),
  }
}

/** Norm of the difference, as a share of the norm. */
export function distance(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let [difference, norm] = [0, 0]
  for (let i = 0; i < want.length; i++) {
    difference += (got[i]! - want[i]!) ** 2
    norm += want[i]! ** 2
  }
  return Math.sqrt(difference / norm)
}
