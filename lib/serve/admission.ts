import type { Limits } from './options.js'
import { refusal } from './refusal.js'

/** Which requests are under way, and how much of the host's memory their bodies take. */
export class Admission {
  /** Requests under way. */
  inFlight = 0
  /** Nothing new is taken. */
  draining = false
  private readonly limits: Pick<Limits, 'maxRequests' | 'maxHeldBytes'>
  private heldBytes = 0
  private whenIdle: (() => void)[] = []

  constructor(limits: Admission['limits']) {
    this.limits = limits
  }

  /** Takes a request in. @throws RequestError where there is no room, which `retry` says when to ask for again */
  enter(retry: () => Record<string, string>): Place {
    if (this.draining)
      throw refusal('draining', 'the server is about to end and takes nothing new', { 'retry-after': '1' })
    if (this.inFlight >= this.limits.maxRequests)
      throw refusal('full', `${this.inFlight} requests are under way; try again later`, retry())
    this.inFlight++
    let [held, here] = [0, true]
    return {
      hold: (bytes) => {
        if (this.heldBytes + bytes > this.limits.maxHeldBytes)
          throw refusal('full', 'requests under way take all memory that is for them; try again later', retry())
        held += bytes
        this.heldBytes += bytes
      },
      leave: () => {
        if (!here) return
        here = false
        this.heldBytes -= held
        if (--this.inFlight === 0) for (const tell of this.whenIdle.splice(0)) tell()
      },
    }
  }

  /** Takes nothing new from now on. Resolves when nothing is under way. */
  drain(): Promise<void> {
    this.draining = true
    if (this.inFlight === 0) return Promise.resolve()
    return new Promise((resolve) => this.whenIdle.push(resolve))
  }
}

/** A request that was taken in. */
export interface Place {
  /** Counts bytes of its body. @throws RequestError when there are too many in all requests */
  hold(bytes: number): void
  /** It is answered. Safe to call twice. */
  leave(): void
}
