import { closeSync, existsSync, fstatSync, ftruncateSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { TrainEvent } from './events.js'

/** `events.ndjson` of a run: every event but snapshots, one JSON object a line, with the time it happened. */
export class EventLog {
  private readonly file: number
  private size: number

  /** Goes on after the first `keep` bytes: those that a checkpoint has seen. */
  constructor(out: string, keep = 0) {
    mkdirSync(out, { recursive: true })
    const path = join(out, 'events.ndjson')
    this.file = openSync(path, existsSync(path) ? 'r+' : 'w')
    this.size = Math.min(keep, fstatSync(this.file).size)
    ftruncateSync(this.file, this.size)
  }

  get bytes(): number {
    return this.size
  }

  write(event: TrainEvent): void {
    const line = `${JSON.stringify({ time: new Date().toISOString(), ...event })}\n`
    this.size += writeSync(this.file, line, this.size)
  }

  close(): void {
    closeSync(this.file)
  }
}
