import { join } from 'node:path'
import type { TrainEvent } from '../events.js'
import { AppendFile, type Trouble } from './append-file.js'

/** `events.ndjson` of a run: every event but snapshots, one JSON object a line, with the time it happened. */
export class EventLog {
  private readonly file: AppendFile

  /** Goes on after the first `keep` bytes: those that a checkpoint has seen. */
  constructor(out: string, keep: number, trouble: Trouble) {
    this.file = new AppendFile(join(out, 'events.ndjson'), keep, trouble)
  }

  get bytes(): number {
    return this.file.bytes
  }

  write(event: TrainEvent): void {
    this.file.append(Buffer.from(`${JSON.stringify({ time: new Date().toISOString(), ...event })}\n`))
  }

  close(): void {
    this.file.close()
  }
}
