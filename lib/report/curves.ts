/** Curves: numbers of many steps as so many points as can be seen, and what they are drawn from. */
import { visible } from './html.js'
import type { RunLog, StepMetric } from './run-log.js'
import type { RunRecord } from './run-record.js'

/** Points of a curve, at most: more than a screen shows. */
const MOST = 1500

/** One line of a curve. */
export interface CurveSeries {
  /** Its name: of the run, and of the part. */
  label: string
  /** Steps of the run. */
  x: number[]
  /** Means of as many steps as a point stands for; null where there is no value. */
  y: (number | null)[]
  /** Smallest and largest of those steps, or ends of intervals; absent where a point is a step. */
  low?: (number | null)[]
  high?: (number | null)[]
  /** Steps that a point stands for. */
  per: number
}

/** A picture of some lines. */
export interface Curve {
  title: string
  /** Of its values, behind the number. */
  unit: string
  series: CurveSeries[]
  /** Where phases begin; of the first run. */
  marks: { x: number; label: string }[]
  /** On a logarithmic scale. */
  log: boolean
  /** Points with intervals instead of a line with a band. */
  points: boolean
}

/** Every point a mean, with the smallest and the largest of the steps it stands for: nothing that was seen gets lost. */
export function decimated(
  steps: readonly number[],
  values: readonly (number | null | undefined)[],
  label: string,
  most = MOST,
): CurveSeries {
  const per = Math.ceil(steps.length / most) || 1
  const series: Required<CurveSeries> = { label: visible(label), x: [], y: [], low: [], high: [], per }
  for (let first = 0; first < steps.length; first += per) {
    const end = Math.min(steps.length, first + per)
    let [sum, count, low, high] = [0, 0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
    for (let i = first; i < end; i++) {
      const value = values[i]
      if (value === null || value === undefined) continue
      sum += value
      count++
      if (value < low) low = value
      if (value > high) high = value
    }
    series.x.push(steps[(first + end - 1) >> 1]!)
    series.y.push(count > 0 ? digits(sum / count) : null)
    series.low.push(count > 0 ? digits(low) : null)
    series.high.push(count > 0 ? digits(high) : null)
  }
  if (per > 1) return series
  const { low: _, high: __, ...rest } = series
  return rest
}

const digits = (value: number): number => Number(value.toPrecision(6))

/** What is drawn of every run, by id. */
const drawn: readonly (readonly [StepMetric, title: string, unit: string])[] = [
  ['loss', 'Loss', ''],
  ['learningRate', 'Learning rate', ''],
  ['gradientNorm', 'Gradient norm', ''],
  ['temperature', 'Temperature', ''],
  ['tokensPerSecond', 'Tokens per second', ''],
  ['dataWait', 'Waiting for data', ' %'],
  ['memory', 'Memory at its peak', ' GiB'],
]

/** Those that may fall by powers of ten. */
const falling: ReadonlySet<string> = new Set(['loss', 'gradientNorm'])

/** The curves of runs, by id; those of which there is nothing to see are left out. */
export function curvesOf(runs: readonly RunRecord[]): Record<string, Curve> {
  const curves: Record<string, Curve> = {}
  const marks = (runs[0]?.log.phases ?? []).map(({ name, first }) => ({ x: first + 1, label: visible(name) }))
  const add = (id: string, title: string, unit: string, series: CurveSeries[], points = false): void => {
    const kept = series.filter(({ y }) => y.some((value) => value !== null))
    if (kept.length > 0)
      curves[id] = { title, unit, series: kept, marks, log: falling.has(id) && spansFar(kept), points }
  }
  for (const [metric, title, unit] of drawn) {
    const parts = metric === 'loss' ? runs.flatMap(({ label, log }) => partsOf(log, label, runs.length > 1)) : []
    const isSum = parts.length > 0 && runs.length === 1
    const whole = runs.map(({ label, log }) =>
      decimated(log.steps, log.values[metric], isSum ? 'loss: the sum, by weights' : label),
    )
    add(metric, title, unit, [...whole, ...parts]) // a run has the same colour on every curve
  }
  for (const metric of new Set(runs.flatMap(({ log }) => log.evaluations.map((event) => event.metric))))
    add(
      `eval-${metric}`,
      metric,
      '',
      runs.map(({ label, log }) => evaluated(log, metric, label)),
      true,
    )
  return curves
}

function partsOf(log: RunLog, label: string, several: boolean): CurveSeries[] {
  return Object.entries(log.parts).map(([name, values]) => {
    values.length = log.steps.length
    return decimated(log.steps, values, several ? `${label}: ${name}` : name)
  })
}

function evaluated({ evaluations, steps }: RunLog, metric: string, label: string): CurveSeries {
  const events = evaluations.filter((event) => event.metric === metric)
  // From the first step to the last, as the other curves; no step twice, of which a picture would show one.
  const at = events.map(({ globalStep }) => globalStep)
  const ends = [steps[0] ?? 0, steps.at(-1) ?? 0].map((step) => (at.includes(step) ? [] : [step]))
  const around = <T>(values: T[]): (T | null)[] => [...ends[0]!.map(() => null), ...values, ...ends[1]!.map(() => null)]
  return {
    label: visible(label),
    x: [...ends[0]!, ...at, ...ends[1]!],
    y: around(events.map(({ value }) => value)),
    low: around(events.map(({ interval }) => interval?.low ?? null)),
    high: around(events.map(({ interval }) => interval?.high ?? null)),
    per: 1,
  }
}

/** Positive, and the largest ten times the smallest: on a plain scale the small ones would be a flat line. */
function spansFar(series: readonly CurveSeries[]): boolean {
  let [low, high] = [Number.POSITIVE_INFINITY, 0]
  for (const { y } of series)
    for (const value of y) {
      if (value === null) continue
      low = Math.min(low, value)
      high = Math.max(high, value)
    }
  return low > 0 && high > 10 * low
}
