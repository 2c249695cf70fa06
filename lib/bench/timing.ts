import { AbortedError } from '../errors.js'

/** Milliseconds of repeated calls, the first ones left out. */
export interface Timing {
  median: number
  /** A tenth of the calls were below `low`, a tenth above `high`. */
  low: number
  high: number
  calls: number
}

/**
 * Times `call`, which must settle when its work is done, for about `seconds` and at least five calls, after two that do
 * not count.
 * @throws AbortedError ERR_ABORTED
 */
export async function time(call: () => Promise<unknown>, seconds: number, signal?: AbortSignal): Promise<Timing> {
  const millis: number[] = []
  for (let i = -2, end = Number.POSITIVE_INFINITY; i < 5 || performance.now() < end; i++) {
    if (signal?.aborted) throw new AbortedError('ERR_ABORTED', 'aborted by the caller', {}, { cause: signal.reason })
    const start = performance.now()
    if (i === 0) end = start + 1000 * seconds
    await call()
    if (i >= 0) millis.push(performance.now() - start)
  }
  millis.sort((a, b) => a - b)
  const at = (share: number) => millis[Math.round(share * (millis.length - 1))]!
  return { median: at(0.5), low: at(0.1), high: at(0.9), calls: millis.length }
}
