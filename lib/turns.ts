import { setImmediate } from 'node:timers/promises'
import { AbortedError } from './errors.js'

/** Milliseconds that JavaScript computes at a stretch before timers, signals and sockets get their turn. */
const STRETCH = 10

/** Long work in JavaScript that does not hold the event loop: `if (turns.due) await turns.take()` between small steps. */
export class Turns {
  private readonly stretch: number
  private since = performance.now()

  /** @param stretch milliseconds until a turn is due */
  constructor(stretch = STRETCH) {
    this.stretch = stretch
  }

  get due(): boolean {
    return performance.now() - this.since > this.stretch
  }

  async take(): Promise<void> {
    await setImmediate()
    this.since = performance.now()
  }
}

/** @throws AbortedError ERR_ABORTED once the signal has fired */
export function abortIf(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortedError('ERR_ABORTED', 'aborted by the caller', {}, { cause: signal.reason })
}

/** Runs work that yields between its steps without holding the event loop. @throws AbortedError ERR_ABORTED */
export async function inTurns<T>(work: Generator<void, T>, signal?: AbortSignal): Promise<T> {
  const turns = new Turns()
  for (;;) {
    const { done, value } = work.next()
    if (done) return value
    if (!turns.due) continue
    abortIf(signal)
    await turns.take()
  }
}

/** Runs it in one go. */
export function atOnce<T>(work: Generator<void, T>): T {
  for (;;) {
    const { done, value } = work.next()
    if (done) return value
  }
}
