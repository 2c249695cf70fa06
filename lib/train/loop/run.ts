import type { ProcessGroup } from '../../distributed/group.js'
import { typed } from '../../errors.js'
import { checkOptions, func, type Kinds, processGroup, signal, text } from '../../options.js'
import type { Evaluate, ResolvedRun, RunConfig, RunResult } from '../config/types.js'
import { EventHub, type TrainEvent } from '../events.js'

/** Options of `train`. */
export interface TrainOptions {
  /** Ends the run after the step it is in, with a checkpoint; `result` then rejects with AbortedError. */
  signal?: AbortSignal
  /** Required when a phase has `evaluate`. */
  evaluate?: Evaluate
  /**
   * `auto`: go on from the newest intact checkpoint in `out`, or start where there is none. `latest`: the newest one,
   * which must be there and intact. A path: that checkpoint of this run; newer ones are set aside.
   * Default: start anew, in a folder without checkpoints.
   */
  resume?: 'auto' | 'latest' | (string & {})
  /**
   * The ranks that train together, each of which calls `train` with the same config and `out` in a folder they share.
   * Rank 0 writes checkpoints and the log. Default: this process alone.
   */
  group?: ProcessGroup
}

const trainOptions: Kinds<TrainOptions> = { signal, evaluate: func, resume: text, group: processGroup }

/** A training that is under way. Reading it is optional. */
export class Run implements AsyncIterable<TrainEvent> {
  private readonly hub: EventHub
  private readonly outcome: Promise<RunResult>
  private watched = false

  /** For `train`. */
  constructor(hub: EventHub, outcome: Promise<RunResult>) {
    this.hub = hub
    this.outcome = outcome
    outcome.catch((error) => {
      // Whoever reads later still gets the error; until then it must not pass in silence.
      if (!this.watched) process.emitWarning(error, { code: error?.code })
    })
  }

  /** The trained model; rejects when the run fails or is aborted. */
  get result(): Promise<RunResult> {
    this.watched = true
    return this.outcome
  }

  /** Events from now on, after a snapshot. Leaving the loop does not stop the run. */
  [Symbol.asyncIterator](): AsyncIterableIterator<TrainEvent> {
    this.watched = true
    return this.hub.iterate()
  }
}

/**
 * Trains a model through the phases of `config`. Starts at once; a model given as an object is trained in place.
 * `result` rejects with ConfigError, DataError, RecipeError, CheckpointError, LockedError, DivergedError, OutOfMemoryError,
 * FileError or AbortedError; the last complete checkpoint is intact in every case.
 */
export function train(config: RunConfig | ResolvedRun, options: TrainOptions = {}): Run {
  const hub = new EventHub()
  const outcome = start(config, options, hub).then(
    (result) => {
      hub.close()
      return result
    },
    (reason) => {
      const error = typed(reason)
      hub.close({ error })
      throw error
    },
  )
  return new Run(hub, outcome)
}

/** Loads what trains only now, so that importing lateforge loads neither zod nor the native addon. */
async function start(config: RunConfig | ResolvedRun, options: TrainOptions, hub: EventHub): Promise<RunResult> {
  checkOptions('train', options, trainOptions)
  const { execute } = await import('./execute.js')
  return execute(config, options, hub)
}
