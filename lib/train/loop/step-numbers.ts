/** What comes back of a step from the device. */
import type { TrainBatch } from '../../data/collate.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { LossName } from '../config/types.js'
import type { StepEvent } from '../events.js'

/** Of a step that is through. */
export interface StepNumbers {
  loss: number
  /** By name, where it has several parts. */
  losses?: StepEvent['losses']
  norm: number
  /** Attended tokens of the whole batch. */
  tokens: number
  /** When the device was through, on the clock of `performance.now()`: the loop may ask later. */
  finished: number
  /** Ranks that were asked to stop when the step was issued. */
  stopping: number
  temperature?: number
}

/** Reads the numbers of a step once the device has got there, and frees their tensors. @param fixed temperature that is not learned */
export async function readNumbers(
  loss: Tensor,
  squared: Tensor,
  counts: Tensor,
  logScale: Promise<number> | undefined,
  fixed: number | undefined,
  losses: Promise<[LossName, number]>[],
): Promise<StepNumbers> {
  try {
    const [value, square, sums, scale] = await Promise.all([loss.value(), squared.value(), counts.values(), logScale])
    const parts = await Promise.all(losses)
    const [tokens, stopping] = [sums[0]!, sums[1]!]
    const temperature = scale === undefined ? fixed : Math.exp(-Math.min(scale, Math.log(100)))
    return {
      ...{ loss: value, norm: Math.sqrt(square), tokens, stopping, finished: performance.now() },
      ...(temperature !== undefined && { temperature }),
      ...(parts.length > 0 && { losses: Object.fromEntries(parts) }),
    }
  } finally {
    for (const tensor of [loss, squared, counts]) tensor.dispose()
  }
}

/** Tokens that are attended to, which leaves out query expansion. */
export function attended({ queries, documents }: TrainBatch): number {
  let sum = 0
  for (const { keyLengths } of [queries, documents]) for (const count of keyLengths) sum += count
  return sum
}
