/** Ours and no package: none times by a device's own clock, or with caches that were overwritten before each call. */
import { AbortedError } from '../errors.js'
import { type Device, Scope } from '../tensor/index.js'

/** Milliseconds of repeated calls, the first ones left out. */
export interface Timing {
  median: number
  /** A tenth of the calls were below `low`, a tenth above `high`. */
  low: number
  high: number
  calls: number
}

/** On the device's own clock: with its caches as the call before left them, and after they were overwritten. */
export interface DeviceTiming {
  warm: Timing
  flushed: Timing
}

/**
 * Asks `measure` for milliseconds for about `seconds` and at least five times, after two that do not count.
 * @throws AbortedError ERR_ABORTED
 */
export async function sample(measure: () => Promise<number>, seconds: number, signal?: AbortSignal): Promise<Timing> {
  const millis: number[] = []
  for (let i = -2, end = Number.POSITIVE_INFINITY; i < 5 || performance.now() < end; i++) {
    if (signal?.aborted) throw new AbortedError('ERR_ABORTED', 'aborted by the caller', {}, { cause: signal.reason })
    if (i === 0) end = performance.now() + 1000 * seconds
    const took = await measure()
    if (i >= 0) millis.push(took)
  }
  millis.sort((a, b) => a - b)
  const at = (share: number) => millis[Math.round(share * (millis.length - 1))]!
  return { median: at(0.5), low: at(0.1), high: at(0.9), calls: millis.length }
}

/** Times `call`, which must settle when its work is done, by the host's clock. */
export function time(call: () => Promise<unknown>, seconds: number, signal?: AbortSignal): Promise<Timing> {
  return sample(
    async () => {
      const start = performance.now()
      await call()
      return performance.now() - start
    },
    seconds,
    signal,
  )
}

/**
 * Times what `call` enqueues by the device's own clock; null where the device has none. The call is enqueued behind other
 * work, else the clock would also tell how late it came: behind itself, or behind `flush`, which overwrites the caches.
 */
export async function timeOnDevice(
  device: Device,
  call: () => void,
  flush: () => void,
  seconds: number,
  signal?: AbortSignal,
): Promise<DeviceTiming | null> {
  if (!device.elapsed()) return null
  const scoped = (work: () => void) => {
    using scope = new Scope()
    scope.run(work)
  }
  const lapped = async (before: () => void): Promise<number> => {
    scoped(before)
    const start = device.elapsed()
    start?.catch(() => {}) // awaited below, unless the call throws
    scoped(call)
    const [, took] = await Promise.all([start, device.elapsed()])
    return took!
  }
  const once = await lapped(call)
  const ahead = Math.min(16, Math.ceil(0.2 / Math.max(0.01, once)))
  const repeat = () => {
    for (let i = 0; i < ahead; i++) scoped(call)
  }
  return {
    warm: await sample(() => lapped(repeat), seconds, signal),
    flushed: await sample(() => lapped(flush), seconds, signal),
  }
}
