/** What can be observed of a run: one stream of plain objects, which also feeds the progress line and the log. */
import type { BestEvaluation, PhaseResult } from './config/types.js'

interface Position {
  /** Name of the phase. */
  phase: string
  /** Steps done in the phase, and in the run. */
  step: number
  globalStep: number
}

/** What every iterator reads first: where the run is now. */
export interface SnapshotEvent extends Partial<Position> {
  type: 'snapshot'
  status: 'running' | 'done' | 'failed'
  steps?: number
  loss?: number
  learningRate?: number
  /** Last complete checkpoint. */
  checkpoint?: string
  best?: BestEvaluation
}

export interface StartEvent {
  type: 'start'
  out: string
  seed: number
  /** Hash of everything in the config that decides the numbers. */
  fingerprint: string
  phases: string[]
  /** The checkpoint that the run goes on from, or null. */
  resumed: string | null
  globalStep: number
  /** Processes that train together. */
  ranks: number
}

export interface PhaseEvent extends Position {
  type: 'phase'
  /** `begin` before its first step (or its first after a resume), `end` after its last checkpoint. */
  at: 'begin' | 'end'
  index: number
  steps: number
  /** Rows of all sources, and queries of a step; at the beginning. */
  rows?: number
  batch?: number
  /** Why it ended. */
  reason?: 'steps' | 'early-stop'
}

export interface StepEvent extends Position {
  type: 'step'
  steps: number
  loss: number
  learningRate: number
  /** Global norm before clipping. */
  gradientNorm: number
  /** What scores were divided by in this step: fixed, or learned so far. Absent where the loss has none (margin-mse). */
  temperature?: number
  /** Attended tokens of the batch, without expansion. */
  tokens: number
  tokensPerSecond: number
  /** Time the loop waited for its batch. */
  dataWaitMs: number
  /** Largest use of device memory so far, bytes. */
  memory: number
  /** To the end of the phase. */
  etaSeconds: number
  source: string
}

export interface EvalEvent extends Position {
  type: 'eval'
  metrics: Record<string, number>
  metric: string
  value: number
  /** Whether it is the best of the phase so far. */
  best: boolean
  seconds: number
}

export interface CheckpointEvent extends Position {
  type: 'checkpoint'
  path: string
  reason: 'periodic' | 'best' | 'phase' | 'abort'
}

export interface WarningEvent {
  type: 'warning'
  /** Stable name of what it warns of. */
  code: 'damaged-checkpoint' | 'unused-columns' | 'short-rows' | 'memory' | 'disk-space' | 'no-effect' | 'log'
  message: string
  details: Record<string, unknown>
}

/** Before anything is written: rows read of a source that a phase will need, of many. */
export interface CheckEvent {
  type: 'check'
  phase: string
  source: string
  rows: number
}

export interface PrepareEvent {
  type: 'prepare'
  phase: string
  source: string
  rows: number
  done: boolean
  cached: boolean
}

export interface DoneEvent {
  type: 'done'
  globalStep: number
  phases: PhaseResult[]
  best: BestEvaluation | null
  /** The trained model, in the PyLate layout. */
  model: string
  seconds: number
}

export type TrainEvent =
  | SnapshotEvent
  | CheckEvent
  | StartEvent
  | PrepareEvent
  | PhaseEvent
  | StepEvent
  | EvalEvent
  | CheckpointEvent
  | WarningEvent
  | DoneEvent

/** Step events that a slow reader may have waiting; beyond it the oldest of them are dropped. */
const BACKLOG = 10_000

class Reader {
  readonly queue: TrainEvent[]
  wake: (() => void) | null = null

  constructor(first: TrainEvent) {
    this.queue = [first]
  }

  push(event: TrainEvent): void {
    if (this.queue.length >= BACKLOG) {
      const oldest = this.queue.findIndex((e) => e.type === 'step')
      if (oldest !== -1) this.queue.splice(oldest, 1)
    }
    this.queue.push(event)
    this.wake?.()
  }
}

/** Hands every event to every reader; a reader gets a snapshot, then what happens from then on. */
export class EventHub {
  private readonly readers = new Set<Reader>()
  private snapshot: SnapshotEvent = { type: 'snapshot', status: 'running' }
  private failure: { error: unknown } | null = null

  emit(event: Exclude<TrainEvent, SnapshotEvent>): void {
    this.snapshot = { ...this.snapshot, ...seen(event) }
    for (const reader of this.readers) reader.push(event)
  }

  /** Ends every iterator: normally, or by throwing `failure.error` once it has read what came before. */
  close(failure: { error: unknown } | null = null): void {
    this.failure = failure
    this.snapshot = { ...this.snapshot, status: failure ? 'failed' : 'done' }
    for (const reader of this.readers) reader.wake?.()
  }

  /** Subscribes at once, not at the first `next()`. Leaving the loop only unsubscribes. */
  iterate(): AsyncIterableIterator<TrainEvent> {
    const reader = new Reader({ ...this.snapshot })
    this.readers.add(reader)
    const generator = this.read(reader)
    const leave = generator.return.bind(generator)
    generator.return = (value) => {
      this.readers.delete(reader) // a generator that has not started would not run its finally
      reader.wake?.()
      return leave(value)
    }
    return generator
  }

  private async *read(reader: Reader): AsyncGenerator<TrainEvent, void> {
    try {
      while (this.readers.has(reader)) {
        const event = reader.queue.shift()
        if (event) yield event
        else if (this.failure) throw this.failure.error
        else if (this.snapshot.status !== 'running') return
        else
          await new Promise<void>((resolve) => {
            reader.wake = resolve
          })
        reader.wake = null
      }
    } finally {
      this.readers.delete(reader)
    }
  }
}

/** What an event changes of the snapshot. */
function seen(event: Exclude<TrainEvent, SnapshotEvent>): Partial<SnapshotEvent> {
  switch (event.type) {
    case 'phase':
      return { phase: event.phase, step: event.step, steps: event.steps, globalStep: event.globalStep }
    case 'step': {
      const { phase, step, steps, globalStep, loss, learningRate } = event
      return { phase, step, steps, globalStep, loss, learningRate }
    }
    case 'eval': {
      const { phase, globalStep, metric, value } = event
      return event.best ? { best: { phase, step: event.step, globalStep, metric, value, checkpoint: null } } : {}
    }
    case 'checkpoint':
      return { checkpoint: event.path }
    case 'done':
      return { globalStep: event.globalStep, ...(event.best && { best: event.best }) }
    default:
      return {}
  }
}
