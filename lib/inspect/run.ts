/** A run's folder in figures: how far it is, what it scored, what of it lies on the disk. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { folderBytes } from '../io/folder-bytes.js'
import type { OnProgress } from '../progress.js'
import { readRun } from '../report/run-record.js'
import { bestOf, flattened } from '../report/sections.js'
import { listCheckpoints } from '../train/checkpoint/checkpoint.js'

/** What is kept of an evaluation. */
interface Score {
  metric: string
  value: number
  /** Of the phase. */
  step: number
}

/** What a run is. */
export interface RunInfo {
  folder: string
  /** `done`; `locked` while somebody has it: it goes on, or its process was lost; else `stopped`. */
  state: 'done' | 'locked' | 'stopped'
  /** Steps done. */
  steps: number
  /** From the first event to the last of each of its processes. */
  seconds: number
  /** How often it was gone on with. */
  resumed: number
  phases: {
    name: string
    step: number
    /** Null before it has begun. */
    steps: number | null
    loss: number | null
    tokensPerSecond: number | null
    last: Score | null
    best: Score | null
  }[]
  /** The best of all, by the metric of the last evaluation. */
  best: (Score & { phase: string }) | null
  warnings: string[]
  /** Settings that are no defaults, and where they come from; null in runs that did not keep that. */
  settings: { key: string; value: unknown; origin: string }[] | null
  checkpoints: { path: string; step: number; bytes: number }[]
  /** The trained model; null before the end. */
  model: { path: string; bytes: number } | null
  /** Of the whole folder. */
  bytes: number
  /** Lines of its log that are no events. */
  damaged: number
}

/** Looks at the folder of a run, finished or not. @throws DataError ERR_DATA for a folder that is none */
export async function inspectRun(folder: string, onProgress?: OnProgress): Promise<RunInfo> {
  const { log, config, origins, locked } = await readRun(folder, onProgress)
  const score = (event: { metric: string; value: number; step: number } | undefined): Score | null =>
    event ? { metric: event.metric, value: event.value, step: event.step } : null
  const phases = config.phases.map(({ name }) => {
    const phase = log.phases.find((each) => each.name === name)
    const evaluations = log.evaluations.filter((event) => event.phase === name)
    return {
      name: String(name),
      step: phase?.last?.step ?? 0,
      steps: phase?.begin.steps ?? null,
      loss: phase?.last?.loss ?? null,
      tokensPerSecond: phase?.last?.tokensPerSecond ?? null,
      last: score(evaluations.at(-1)),
      best: score(bestOf(evaluations, config)),
    }
  })
  const best = bestOf(log.evaluations, config)
  const checkpoints = await Promise.all(
    (await listCheckpoints(path.join(folder, 'checkpoints'))).map(async (found) => ({
      ...found,
      bytes: await folderBytes(found.path),
    })),
  )
  const model = path.join(folder, 'model')
  const values = flattened(config)
  return {
    folder,
    state: log.done ? 'done' : locked ? 'locked' : 'stopped',
    steps: log.steps.at(-1) ?? 0,
    seconds: log.seconds,
    resumed: Math.max(0, log.starts.length - 1),
    phases,
    best: best ? { ...score(best)!, phase: best.phase } : null,
    warnings: log.warnings.map(({ message }) => message),
    settings:
      origins &&
      Object.entries(origins)
        .filter(([, origin]) => origin !== 'default')
        .map(([key, origin]) => ({ key, value: values.get(key), origin })),
    checkpoints,
    model: existsSync(model) ? { path: model, bytes: await folderBytes(model) } : null,
    bytes: await folderBytes(folder),
    damaged: log.damaged,
  }
}
