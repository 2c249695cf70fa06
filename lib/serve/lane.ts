import { Turns } from '../turns.js'
import { left } from './refusal.js'

/**
 * Milliseconds at a stretch: Node takes one new connection each time that its loop comes round, so a busy server has to come round
 * often for those that it will refuse to hear of it at once.
 */
const stretch = 2

/**
 * JavaScript of all requests, one after the other and in turns with timers and sockets. Each by itself would yield in time; a
 * thousand at once would not.
 */
export class Lane {
  private readonly turns = new Turns(stretch)
  private last: Promise<unknown> = Promise.resolve()

  /** Runs work that yields between small steps. @throws RequestError when the signal fires; what the work throws */
  run<T>(work: () => Generator<void, T>, signal: AbortSignal): Promise<T> {
    const run = this.last.then(() => this.steps(work, signal))
    this.last = run.catch(() => {})
    return run
  }

  private async steps<T>(work: () => Generator<void, T>, signal: AbortSignal): Promise<T> {
    if (signal.aborted) throw left()
    const steps = work()
    for (;;) {
      if (this.turns.due) {
        await this.turns.take()
        if (signal.aborted) throw left()
      }
      const { done, value } = steps.next()
      if (done) return value
    }
  }
}
