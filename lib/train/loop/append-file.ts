import { closeSync, existsSync, fstatSync, ftruncateSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

/** Told once when a write fails, and at the end if records are missing because of it. */
export type Trouble = (message: string, error: Error) => void

/**
 * A file that records are appended to while a run goes on. A full disk does not end the run for its sake: records wait
 * until they can be written, and no half one stays in the file.
 */
export class AppendFile {
  private readonly file: number
  private readonly path: string
  private readonly trouble: Trouble
  private size: number
  /** Whole records that are not in the file yet. */
  private waiting: Uint8Array[] = []
  private told = false

  /** Goes on after the first `keep` bytes: those that a checkpoint has seen. */
  constructor(path: string, keep: number, trouble: Trouble) {
    mkdirSync(dirname(path), { recursive: true })
    this.path = path
    this.trouble = trouble
    this.file = openSync(path, existsSync(path) ? 'r+' : 'w')
    this.size = Math.min(keep, fstatSync(this.file).size)
    ftruncateSync(this.file, this.size)
  }

  get bytes(): number {
    return this.size
  }

  append(record: Uint8Array): void {
    this.waiting.push(record)
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
    const bytes = Buffer.concat(this.waiting)
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
