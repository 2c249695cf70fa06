import { readFileSync } from 'node:fs'
import { benchInfoNce, type InfoNceReport, type InfoNceResult } from '../bench/infonce.js'
import type { Machine } from '../bench/machine.js'
import { benchMaxSim, type MaxSimReport, type MaxSimResult } from '../bench/maxsim.js'
import { infoNceShapes, type MaxSimShape, maxsimShapes } from '../bench/shapes.js'
import { benchStep, type StepMode } from '../bench/step.js'
import type { Lengths } from '../bench/synthetic.js'
import type { Timing } from '../bench/timing.js'
import { chromeTrace, costsOf } from '../bench/trace.js'
import type { RealType } from '../bench/vectors.js'
import { DataError } from '../errors.js'
import { writeAtomic } from '../io/atomic.js'
import { setCpu } from '../tensor/cpu.js'
import type { Precision } from '../tensor/device.js'
import { interruptible, print, printJson } from './common.js'

interface Options {
  device: string
  dim: number
  dtype: RealType
  seconds: number
  threads?: number
  compare?: string
  list?: boolean
  json?: boolean
}

interface StepOptions {
  mode?: StepMode
  device: string
  precision?: Precision
  batch?: number
  microBatchTokens?: number
  steps: number
  warmup: number
  lengths?: string
  threads?: number
  trace?: string
  json?: boolean
}

/** `lateforge bench step`: what a step costs, or one JSON object. */
export async function step(
  shape: string,
  { threads, json, lengths: file, trace, ...options }: StepOptions,
): Promise<void> {
  if (threads) setCpu({ threads })
  const lengths = file === undefined ? {} : { lengths: lengthsOf(file) }
  const signal = interruptible('stopping')
  const { traced, ...report } = await benchStep({ shape, ...options, ...lengths, trace: trace !== undefined, signal })
  if (trace) await writeAtomic(trace, [chromeTrace(traced!)])
  const costs = traced && costsOf(traced)
  if (json) return printJson({ ...report, ...(costs && { costs }) })
  const { tokensPerSecond, range, tflops, utilization, peakProcessBytes, peakTensorBytes, eventLoopDriftMs } = report
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(2)} GiB`
  const rounds = report.matmul === 'bfloat16' ? ', products in bfloat16' : ''
  print(`${report.shape}, ${report.mode}, batch ${report.batch}, ${report.precision} on ${report.device}${rounds}`)
  print(`tokens/s      ${tokensPerSecond} (${range.join(' to ')} over ${report.stepSeconds.length} steps)`)
  const share = utilization === null ? '' : `, ${(100 * utilization).toFixed(0)} % of the peak`
  print(`TFLOP/s       ${tflops.toPrecision(3)}${share}; what is computed twice counts once`)
  print(`memory        ${gib(peakTensorBytes)} of tensors, ${gib(peakProcessBytes)} of the process`)
  print(`event loop    at most ${eventLoopDriftMs} ms late`)
  if (costs) printCosts(costs)
}

/** Where the time of the traced step went, by op. */
function printCosts({ ops, idle }: ReturnType<typeof costsOf>): void {
  const total = ops.reduce((sum, { milliseconds }) => sum + milliseconds, idle)
  const line = (op: string, calls: string, milliseconds: number) =>
    print(`${op.padEnd(24)} ${calls.padStart(6)} ${milliseconds.toFixed(1).padStart(9)} ${share(milliseconds / total)}`)
  print(`traced step   ${total.toFixed(0)} ms: op, calls, ms, share`)
  for (const { op, calls, milliseconds } of ops) line(op, String(calls), milliseconds)
  line('no op', '', idle)
}

/** @throws DataError ERR_DATA when the file holds no lengths */
function lengthsOf(file: string): Lengths[] {
  const bad = (cause?: unknown) =>
    new DataError(
      'ERR_DATA',
      `${file} holds no lengths: { "steps": [{ "queries": [n, …], "documents": [n, …] }, …] }`,
      { file },
      { cause },
    )
  let found: unknown
  try {
    found = JSON.parse(readFileSync(file, 'utf8')).steps
  } catch (cause) {
    throw bad(cause)
  }
  const isCounts = (list: unknown) =>
    Array.isArray(list) && list.length > 0 && list.every((n) => Number.isSafeInteger(n) && n > 0)
  const steps = Array.isArray(found) ? (found as Lengths[]) : []
  if (
    steps.length === 0 ||
    !steps.every((s) => isCounts(s?.queries) && isCounts(s?.documents) && s.queries.length === s.documents.length)
  )
    throw bad()
  return steps
}
type Report = MaxSimReport | InfoNceReport
type Result = MaxSimResult | InfoNceResult

/** A column of a table: its head, its width (negative: to the left), what it has of a result. */
type Column<R> = [head: string, width: number, cell: (result: R) => string]

/** `lateforge bench maxsim`: a line per shape, or one JSON object that `--compare` takes later. */
export async function maxsim(shapes: string[], options: Options): Promise<void> {
  if (options.list) return list(maxsimShapes, options)
  const columns: Column<MaxSimResult>[] = [
    ...shared<MaxSimResult>('forward ms'),
    ['argmax', 8, (r) => percent(timesOf(r).withArgmax.median / timesOf(r).forward.median - 1)],
    ['backward ms', 12, (r) => timesOf(r).backward.median.toFixed(3)],
    ['error', 9, (r) => r.error.toExponential(1)],
  ]
  if (options.device.startsWith('cuda'))
    columns.push(
      ['flushed ms', 11, (r) => r.onDevice?.forward.flushed.median.toFixed(4) ?? '-'],
      ['of roofline', 11, (r) => (r.roofline ? share(r.roofline.flushed) : '-')],
      ['call ms', 9, (r) => r.toScores.median.toFixed(3)],
    )
  await bench(options, columns, (common) => benchMaxSim({ shapes, ...common }), [
    options.device.startsWith('cuda')
      ? "Medians by the device's clock, warm; in brackets the range without the outer tenths; call: until the scores are here."
      : 'Medians of warm calls, from call to result; in brackets the range without the outer tenths.',
  ])
}

/** `lateforge bench infonce`: the same for the contrastive loss with its gradients. */
export async function infonce(shapes: string[], options: Options & { blockQueries: number }): Promise<void> {
  if (options.list) return list(infoNceShapes, options)
  const { blockQueries } = options
  const columns: Column<InfoNceResult>[] = [
    ...shared<InfoNceResult>('loss and gradients ms'),
    ['beyond MB', 10, (r) => (r.extraBytes / 1e6).toFixed(1)],
    ['error', 9, (r) => Math.max(r.error.loss, r.error.queries, r.error.documents).toExponential(1)],
  ]
  await bench(options, columns, (common) => benchInfoNce({ shapes, blockQueries, ...common }), [
    'Medians from call to result; in brackets the range without the outer tenths. GFLOP/s: of the inner products alone.',
    'beyond: peak of memory beyond embeddings and gradients. error: of loss and gradients, as a share.',
  ])
}

interface Common<R> {
  device: string
  dim: number
  dtype: RealType
  seconds: number
  onResult: (result: R) => void
}

async function bench<R extends Result>(
  options: Options,
  columns: Column<R>[],
  run: (common: Common<R>) => Promise<Report>,
  notes: string[],
): Promise<void> {
  const { device, dim, dtype, seconds } = options
  const before = options.compare ? earlier(options.compare) : null
  if (before)
    columns.push([
      'before',
      8,
      (r) => {
        const medians = before.results
          .filter((b) => b.name === r.name && b.dim === r.dim && (b.dtype ?? r.dtype) === r.dtype)
          .map((b) => timesOf(b).forward.median)
        // The fastest of them: bench/peers/maxsim.py has several libraries in one report.
        return medians.length ? `x${(Math.min(...medians) / timesOf(r).forward.median).toFixed(2)}` : '-'
      },
    ])
  if (options.threads) setCpu({ threads: options.threads })
  const line = (cells: string[]) =>
    print(
      cells
        .map((cell, i) => (columns[i]![1] < 0 ? cell.padEnd(-columns[i]![1]) : cell.padStart(columns[i]![1])))
        .join(' '),
    )
  let started = false
  const onResult = (result: R) => {
    if (options.json) return
    if (!started) line(columns.map(([head]) => head))
    started = true
    line(columns.map(([, , cell]) => cell(result)))
  }
  const report = await run({ device, dim, dtype, seconds, onResult })
  if (options.json) return printJson(report)
  print(`${machineLine(report)}, dim ${dim}, ${dtype}`)
  for (const note of notes) print(note)
}

const shared = <R extends Result>(head: string): Column<R>[] => [
  ['shape', -14, (r) => r.name],
  ['tokens', -11, (r) => tokensOf(r)],
  [head, -26, (r) => spread(timesOf(r).forward)],
  ['GFLOP/s', 9, (r) => r.gflops.toFixed(1)],
  ['of peak', 8, (r) => (r.peakShare === null ? '-' : share(r.peakShare))],
]

/** By the device's clock where it has one, else by the host's. */
function timesOf(r: Result): { forward: Timing; withArgmax: Timing; backward: Timing } {
  const { forward, onDevice } = r as MaxSimResult
  if (!onDevice) return { withArgmax: forward, backward: forward, ...r }
  return {
    forward: onDevice.forward.warm,
    withArgmax: onDevice.withArgmax.warm,
    backward: onDevice.backward.warm,
  }
}

function machineLine({ device, isa, threads, processor, peak, facts }: Machine): string {
  const peaks = [
    [peak.fp32, 'multiply-add peak', 'GFLOP/s'],
    [peak.fp16, 'tensor core peak', 'GFLOP/s'],
    [peak.memory, 'memory', 'GB/s'],
    [peak.cache, 'shared cache', 'GB/s'],
  ] as const
  const measured = peaks
    .filter(([rate]) => rate > 0)
    .map(([rate, what, unit]) => `${what} ${(rate / 1e9).toFixed(0)} ${unit}`)
  const parts = [isa && `${isa}, ${threads} threads`, ...measured, processor, ...Object.values(facts).slice(0, 2)]
  return `${device}: ${parts.filter(Boolean).join(', ')}`
}

function list(shapes: readonly MaxSimShape[], options: Options): void {
  if (options.json) printJson(shapes)
  else
    for (const s of shapes)
      print(`${s.name.padEnd(14)} ${`${s.queries} x ${s.documents}`.padEnd(14)} ${tokensOf(s).padEnd(12)} ${s.use}`)
}

const tokensOf = (s: { queryTokens: number; documentTokens: number }) => `${s.queryTokens} x ${s.documentTokens}`
const spread = ({ median, low, high }: Timing) => `${median.toFixed(3)} (${low.toFixed(3)}-${high.toFixed(3)})`
const share = (x: number) => `${(100 * x).toFixed(0)} %`
const percent = (x: number) => `${x < 0 ? '' : '+'}${(100 * x).toFixed(1)} %`

function earlier(file: string): Report {
  try {
    const report = JSON.parse(readFileSync(file, 'utf8'))
    if (Array.isArray(report?.results) && report.results.every((r: Result) => r?.forward?.median > 0)) return report
  } catch (cause) {
    throw new DataError('ERR_DATA', `${file} cannot be read: ${(cause as Error).message}`, { file }, { cause })
  }
  throw new DataError('ERR_DATA', `${file} is no report of lateforge bench --json`, { file })
}
