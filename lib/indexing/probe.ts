/** Whether two models have the same weights, by what they make of a text. */
import type { Colbert } from '../models/colbert.js'
import { numbers, object } from '../options.js'

/** What the weights of a model make of a fixed text. */
export interface Probe {
  /** What the model computes with. */
  precision: string
  /** [dim] mean of the text's token vectors, to six digits. */
  mean: number[]
}

const probed = 'Late interaction keeps one vector for each token of a text.'

export async function probeOf(model: Colbert): Promise<Probe> {
  const { data, dim } = await model.encodeDocuments([probed])
  const mean = new Array<number>(dim).fill(0)
  for (const [i, value] of data.entries()) mean[i % dim]! += value / (data.length / dim)
  return { precision: model.precision, mean: mean.map((value) => Number(value.toFixed(6))) }
}

export const isProbe = (probe: Probe): boolean =>
  object.is(probe) && typeof probe.precision === 'string' && numbers.is(probe.mean)

/** Kernels of another machine differ by less, weights after one more step of training by more. */
const tolerance = 1e-4

/** Whether two models have the same weights, and compute alike. */
export const isSame = (a: Probe, b: Probe): boolean =>
  a.precision === b.precision && a.mean.every((value, i) => Math.abs(value - b.mean[i]!) <= tolerance)

/**
 * Cosine of the means of one model in two precisions, at least: float32 and int8 gave .9977 with all-MiniLM-L6-v2. Weights a few
 * steps of training apart lie as close, and pass in another precision.
 */
const alike = 0.996

/** Whether they may be one model in two precisions. */
export function isAlike(a: Probe, b: Probe): boolean {
  if (a.precision === b.precision) return isSame(a, b)
  const dot = (x: readonly number[], y: readonly number[]) => x.reduce((sum, value, i) => sum + value * y[i]!, 0)
  return dot(a.mean, b.mean) >= alike * Math.sqrt(dot(a.mean, a.mean) * dot(b.mean, b.mean))
}
