/** What can be observed of a run: one stream of plain objects, which also feeds the progress line and the log. */
import type { PrepareProgress } from '../data/shards.js'
import type { Recipe } from '../text/recipe.js'
import type { BestEvaluation, LossName, PhaseResult } from './config/types.js'

interface Position {
  /** Name of the phase. */
  phase: string
  /** Steps done in the phase. */
  step: number
  /** Steps done in the run. */
  globalStep: number
}

/** What every iterator reads first: where the run is now. */
export interface SnapshotEvent extends Partial<Position> {
  /** Tells events apart. */
  type: 'snapshot'
  /** Whether the run is still going on. */
  status: 'running' | 'done' | 'failed'
  /** Steps of the phase. */
  steps?: number
  /** Loss of the last step. */
  loss?: number
  /** Learning rate of the last step. */
  learningRate?: number
  /** Last complete checkpoint. */
  checkpoint?: string
  /** The best evaluation so far. */
  best?: BestEvaluation
}

/** The run starts or goes on. */
export interface StartEvent {
  /** Tells events apart. */
  type: 'start'
  /** Folder of the run. */
  out: string
  /** Its seed. */
  seed: number
  /** Hash of everything in the config that decides the numbers. */
  fingerprint: string
  /** Names of its phases. */
  phases: string[]
  /** The checkpoint that the run goes on from, or null. */
  resumed: string | null
  /** Steps done before. */
  globalStep: number
  /** Processes that train together. */
  ranks: number
  /** How texts become tokens by the model that it starts with; absent in logs of before that was told. */
  recipe?: Recipe
}

/** A phase begins or ends. */
export interface PhaseEvent extends Position {
  /** Tells events apart. */
  type: 'phase'
  /** `begin` before its first step (or its first after a resume), `end` after its last checkpoint. */
  at: 'begin' | 'end'
  /** Its number, from 0. */
  index: number
  /** Steps of the phase. */
  steps: number
  /** Rows of all sources, and queries of a step; at the beginning. */
  rows?: number
  /** Queries of a step. */
  batch?: number
  /** Most tokens of a query, and of a document: what the phase trains on, and its checkpoints say. */
  queryLength?: number
  /** As `queryLength`. */
  documentLength?: number
  /** How texts become tokens in the phase; at the beginning. */
  recipe?: Recipe
  /** Why it ended. */
  reason?: 'steps' | 'early-stop'
}

/** A step was done. */
export interface StepEvent extends Position {
  /** Tells events apart. */
  type: 'step'
  /** Steps of the phase. */
  steps: number
  /** Loss of the whole batch. */
  loss: number
  /** The losses that it is the weighted sum of, by name and without their weights; absent where it is one. */
  losses?: Partial<Record<LossName, number>>
  /** Learning rate of this step. */
  learningRate: number
  /** Global norm before clipping. */
  gradientNorm: number
  /**
   * What scores were divided by in this step: fixed, or learned so far; not `studentTemperature`. Absent where the loss has
   * none (margin-mse).
   */
  temperature?: number
  /** Attended tokens of the batch, without expansion. */
  tokens: number
  /** Attended tokens of all ranks per second, since the step before. */
  tokensPerSecond: number
  /** Time the loop waited for its batch. */
  dataWaitMs: number
  /** Largest use of device memory so far, bytes. */
  memory: number
  /** To the end of the phase. */
  etaSeconds: number
  /** Name of the source that the batch came from. */
  source: string
}

/** The model was evaluated. */
export interface EvalEvent extends Position {
  /** Tells events apart. */
  type: 'eval'
  /** All metrics, by name. */
  metrics: Record<string, number>
  /** The one that decides. */
  metric: string
  /** Its value. */
  value: number
  /** 95 % interval of `value` over queries, by bootstrap, where the function that evaluates knows them. */
  interval?: {
    /** Lower end. */
    low: number
    /** Upper end. */
    high: number
  }
  /** Whether it is the best of the phase so far. */
  best: boolean
  /** Time it took. */
  seconds: number
}

/** A checkpoint was written. */
export interface CheckpointEvent extends Position {
  /** Tells events apart. */
  type: 'checkpoint'
  /** Its folder. */
  path: string
  /** Why. */
  reason: 'periodic' | 'best' | 'phase' | 'abort'
}

/** Something that a user should know, and that does not stop the run. */
export interface WarningEvent {
  /** Tells events apart. */
  type: 'warning'
  /** Stable name of what it warns of. */
  code:
    | 'damaged-checkpoint'
    | 'recipe'
    | 'unused-columns'
    | 'unused-files'
    | 'incomplete-set'
    | 'unused-documents'
    | 'missing-negatives'
    | 'dropped-negatives'
    | 'false-negatives'
    | 'leak'
    | 'short-rows'
    | 'single-documents'
    | 'memory'
    | 'disk-space'
    | 'no-effect'
    | 'ranks'
    | 'log'
  /** In words. */
  message: string
  /** Machine-readable facts. */
  details: Record<string, unknown>
}

/**
 * How something stands that takes a while, and that a person waits for: a download, the model that is loaded, the check, texts
 * that are tokenized, an evaluation, the inside of a step that takes longer than two seconds. It is in no log.
 */
export interface ProgressEvent extends PrepareProgress {
  /** Tells events apart. */
  type: 'progress'
  /** Name of the phase, of what belongs to one. */
  phase?: string
  /** The step that is under way, or was evaluated. */
  step?: number
}

/** The run ended well. */
export interface DoneEvent {
  /** Tells events apart. */
  type: 'done'
  /** Steps done in the run. */
  globalStep: number
  /** One per phase. */
  phases: PhaseResult[]
  /** The best evaluation; null where there was none. */
  best: BestEvaluation | null
  /** The trained model, in the PyLate layout. */
  model: string
  /** Time since the start or the resume. */
  seconds: number
}

/** Everything that can be observed of a run. */
export type TrainEvent =
  | SnapshotEvent
  | StartEvent
  | ProgressEvent
  | PhaseEvent
  | StepEvent
  | EvalEvent
  | CheckpointEvent
  | WarningEvent
  | DoneEvent

/** Events of steps and of progress that a slow reader may have waiting; beyond it the oldest of them are dropped. */
const BACKLOG = 10_000

class Reader {
  readonly queue: TrainEvent[]
  wake: (() => void) | null = null

  constructor(first: TrainEvent) {
    this.queue = [first]
  }

  push(event: TrainEvent): void {
    if (this.queue.length >= BACKLOG) {
      const oldest = this.queue.findIndex(({ type }) => type === 'step' || type === 'progress')
      if (oldest !== -1) this.queue.splice(oldest, 1)
    }
    this.queue.push(event)
    this.wake?.()
  }
}

/** Hands every event to every reader; a reader gets a snapshot, then what happens from then on. @internal */
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
