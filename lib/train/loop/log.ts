import { closeSync, existsSync, fstatSync, ftruncateSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { TrainEvent } from '../events.js'

/**
 * `events.ndjson` of a run: every event but snapshots, one JSON object a line, with the time it happened. A full disk
 * does not end the run for its sake: events wait until they can be written, and no half line stays in the file.
 */
export class EventLog {
  private readonly file: number
  private readonly path: string
  private readonly trouble: (message: string, error: Error) => void
  private size: number
  /** Whole lines that are not in the file yet. */
  private waiting: string[] = []
  private told = false

  /**
   * Goes on after the first `keep` bytes: those that a checkpoint has seen.
   * @param trouble told once when a write fails, and at the end if events are missing because of it
   */
  constructor(out: string, keep: number, trouble: (message: string, error: Error) => void) {
    mkdirSync(out, { recursive: true })
    this.path = join(out, 'events.ndjson')
    this.trouble = trouble
    this.file = openSync(this.path, existsSync(this.path) ? 'r+' : 'w')
    this.size = Math.min(keep, fstatSync(this.file).size)
    ftruncateSync(this.file, this.size)
  }

  get bytes(): number {
    return this.size
  }

  write(event: TrainEvent): void {
    this.waiting.push(`${JSON.stringify({ time: new Date().toISOString(), ...event })}\n`)
    const error = this.flush()
    if (!error || this.told) return
    this.told = true
    this.trouble(
      `${this.path} is not written: ${error.message}. Training goes on, and what it says waits for space`,
      error,
    )
  }

  close(): void {
    const error = this.waiting.length > 0 ? this.flush() : null
    closeSync(this.file)
    if (error) this.trouble(`${this.path} lacks the last ${this.waiting.length} events: ${error.message}`, error)
  }

  /** Writes what waits; what the operating system says against it, or null. */
  private flush(): Error | null {
    const bytes = Buffer.from(this.waiting.join(''))
    try {
      for (let done = 0; done < bytes.length; )
        done += writeSync(this.file, bytes, done, bytes.length - done, this.size + done)
      this.size += bytes.length
      this.waiting = []
      return null
    } catch (error) {
      try {
        ftruncateSync(this.file, this.size)
      } catch {} // `error` says more; the next write begins at the same place
      return error as Error
    }
  }
}
