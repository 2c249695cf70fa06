/** A run looked at before it is trained: what `train` would refuse it for, its data, and steps tried in memory. */
import { ConfigError } from '../../errors.js'
import { signal as aSignal, checkOptions, func, type Kinds, kind, whole } from '../../options.js'
import { Device } from '../../tensor/device.js'
import { checkPhases, openModel, type RunCheck } from '../check/check.js'
import type { TrialRows } from '../check/check-phase.js'
import { Faults } from '../check/faults.js'
import { type JudgedTexts, LeakSearch } from '../check/leaks.js'
import { recipeNote } from '../check/notes.js'
import type { ResolvedRun, RunConfig } from '../config/types.js'
import type { ProgressEvent, TrainEvent } from '../events.js'
import { tryPhase } from './trial.js'

/** Options of `checkRun`. */
export interface CheckOptions {
  /** Rows of each source whose texts are tokenized. Default 1,000. */
  rows?: number
  /** Ends the check, with ERR_ABORTED. */
  signal?: AbortSignal
  /** Collections that the model will be judged by: whether their texts are in the data. Default: none. */
  collections?: readonly JudgedTexts[]
  /**
   * Steps of each phase to try, after a step over its longest rows: for memory and time as they are. They train the model
   * that the check has loaded, in memory, on the rows that were looked at. Default 0.
   */
  steps?: number
  /** Told how far it is: events of progress, and of steps that are tried. */
  onProgress?: (event: TrainEvent) => void
}

const checkOptionKinds: Kinds<CheckOptions> = {
  rows: whole(1),
  collections: kind('an array of collections', Array.isArray),
  steps: whole(0),
  signal: aSignal,
  onProgress: func,
}

/**
 * Checks a run without training it: nothing of it is written. Reads every row of its data, and loads its model.
 * @returns what was found, faults included
 * @throws ConfigError ERR_CONFIG for a config that is none; AbortedError ERR_ABORTED
 */
export async function checkRun(input: RunConfig | ResolvedRun, options: CheckOptions = {}): Promise<RunCheck> {
  const { resolveConfig } = await import('../config/config.js') // zod is loaded with the first config
  checkOptions('checkRun', options, checkOptionKinds)
  const { rows, collections, steps = 0, signal, onProgress } = options
  const config = resolveConfig(input)
  if (steps > 0 && typeof config.model !== 'string')
    throw new ConfigError(
      'ERR_CONFIG',
      'checkRun: steps would train the model that was given; give its folder or name',
      {
        option: 'steps',
      },
    )
  const faults = new Faults(config)
  const notes: string[] = []
  const device = await faults.try(null, 'device', () => Device.open(config.device))
  const onNote = (note: string) => notes.push(note)
  const told = (progress: Omit<ProgressEvent, 'type'>) => onProgress?.({ type: 'progress', ...progress })
  const model =
    device && (await faults.try(null, 'model', () => openModel(config, { onNote, onProgress: told, signal })))
  try {
    const leaks = collections && (await LeakSearch.of(collections))
    const measured: TrialRows[] = []
    const onMeasured = (index: number, rows: TrialRows): void => {
      if (steps > 0) measured[index] = rows
    }
    const context = { rows, leaks, signal, onProgress: told, onMeasured, thorough: true }
    const checked = await checkPhases(config, model ?? null, faults, context)
    checked.warnings.unshift(...notes.map(recipeNote))
    if (steps > 0 && checked.ok)
      for (const [index, phase] of checked.phases.entries())
        phase.trial = await tryPhase(model!, config, {
          index,
          rows: measured[index]!,
          steps,
          of: phase.steps!,
          signal,
          onProgress,
        })
    return checked
  } finally {
    if (typeof config.model === 'string') model?.dispose()
  }
}
