import { readFileSync } from 'node:fs'
import { benchMaxSim, type MaxSimReport, type MaxSimResult } from '../bench/maxsim.js'
import { maxsimShapes } from '../bench/shapes.js'
import { benchStep, type StepMode } from '../bench/step.js'
import type { Lengths } from '../bench/synthetic.js'
import type { Timing } from '../bench/timing.js'
import { DataError } from '../errors.js'
import { native } from '../native.js'
import type { Precision } from '../tensor/device.js'
import { interruptible, print, printJson } from './common.js'

interface Options {
  device: string
  dim: number
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
  batch: number
  chunkTokens: number
  steps: number
  warmup: number
  lengths?: string
  threads?: number
  json?: boolean
}

/** `lateforge bench step`: what a step costs, or one JSON object. */
export async function step(shape: string, { threads, json, lengths: file, ...options }: StepOptions): Promise<void> {
  if (threads) native().setThreads(threads)
  const lengths = file === undefined ? {} : { lengths: lengthsOf(file) }
  const report = await benchStep({ shape, ...options, ...lengths, signal: interruptible() })
  if (json) return printJson(report)
  const { tokensPerSecond, range, tflops, peakProcessBytes, peakTensorBytes, eventLoopDriftMs } = report
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(2)} GiB`
  print(`${report.shape}, ${report.mode}, batch ${report.batch}, ${report.precision} on ${report.device}`)
  print(`tokens/s      ${tokensPerSecond} (${range.join(' to ')} over ${report.stepSeconds.length} steps)`)
  print(`TFLOP/s       ${tflops.toPrecision(3)}, without what is computed twice`)
  print(`memory        ${gib(peakTensorBytes)} of tensors, ${gib(peakProcessBytes)} of the process`)
  print(`event loop    at most ${eventLoopDriftMs} ms late`)
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

/** `lateforge bench maxsim`: a line per shape, or one JSON object that `--compare` takes later. */
export async function maxsim(shapes: string[], options: Options): Promise<void> {
  if (options.list) {
    if (options.json) return printJson(maxsimShapes)
    for (const s of maxsimShapes)
      print(`${s.name.padEnd(14)} ${`${s.queries} x ${s.documents}`.padEnd(12)} ${tokensOf(s).padEnd(12)} ${s.use}`)
    return
  }
  const before = options.compare ? earlier(options.compare) : null
  if (options.threads) native().setThreads(options.threads)
  const { device, dim, seconds } = options
  let started = false
  const report = await benchMaxSim({
    shapes,
    device,
    dim,
    seconds,
    onResult: (result) => {
      if (options.json) return
      if (!started) print(header(before !== null))
      started = true
      print(line(result, before))
    },
  })
  if (options.json) return printJson(report)
  const { isa, threads, peakGflops } = report
  const where = isa ? `${isa}, ${threads} threads, multiply-add peak ${peakGflops!.toFixed(0)} GFLOP/s, ` : ''
  print(`${report.device}: ${where}${report.processor}, dim ${dim}, ${report.results[0]?.dtype ?? ''}`)
  print('Medians of warm calls, from call to result; in brackets the range without the outer tenths.')
}

const tokensOf = (s: { queryTokens: number; documentTokens: number }) => `${s.queryTokens} x ${s.documentTokens}`

function header(compared: boolean): string {
  return [
    'shape'.padEnd(14),
    'tokens'.padEnd(11),
    'forward ms'.padEnd(26),
    'GFLOP/s'.padStart(8),
    'of peak'.padStart(8),
    'winners'.padStart(8),
    'backward ms'.padStart(12),
    'error'.padStart(9),
    ...(compared ? ['before'.padStart(8)] : []),
  ].join(' ')
}

const spread = ({ median, low, high }: Timing) => `${median.toFixed(3)} (${low.toFixed(3)}-${high.toFixed(3)})`

function line(r: MaxSimResult, before: MaxSimReport | null): string {
  const cost = r.withWinners.median / r.forward.median - 1
  const then = before?.results.find((b) => b.name === r.name && b.dim === r.dim)
  return [
    r.name.padEnd(14),
    tokensOf(r).padEnd(11),
    spread(r.forward).padEnd(26),
    r.gflops.toFixed(1).padStart(8),
    (r.peakShare === null ? '-' : `${(100 * r.peakShare).toFixed(0)} %`).padStart(8),
    `${cost < 0 ? '' : '+'}${(100 * cost).toFixed(1)} %`.padStart(8),
    r.backward.median.toFixed(3).padStart(12),
    r.error.toExponential(1).padStart(9),
    ...(before ? [(then ? `x${(then.forward.median / r.forward.median).toFixed(2)}` : '-').padStart(8)] : []),
  ].join(' ')
}

function earlier(file: string): MaxSimReport {
  try {
    const report = JSON.parse(readFileSync(file, 'utf8'))
    if (Array.isArray(report?.results) && report.results.every((r: MaxSimResult) => r?.forward?.median > 0))
      return report
  } catch (cause) {
    throw new DataError('ERR_DATA', `${file} cannot be read: ${(cause as Error).message}`, { file }, { cause })
  }
  throw new DataError('ERR_DATA', `${file} is no report of lateforge bench maxsim --json`, { file })
}
