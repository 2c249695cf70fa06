/** A run as a report reads it: its folder, taken in. */
import { existsSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { DataError } from '../errors.js'
import { eachLine } from '../io/lines.js'
import type { EvaluationDetails } from '../models/options.js'
import { type OnProgress, seldom } from '../progress.js'
import type { PhaseCheck } from '../train/check/check-phase.js'
import { readJson, type StoredConfig, storedConfig } from './run-folder.js'
import { RunLog } from './run-log.js'

/** What a run's folder holds. */
export interface RunRecord {
  /** What it is called on the page: the name of its folder. */
  label: string
  folder: string
  config: StoredConfig
  /** Where values of the config come from; null in runs of before that was kept. */
  origins: Record<string, string> | null
  /** What the check found; null as `origins`. */
  checks: PhaseCheck[] | null
  log: RunLog
  /** Somebody has the folder's lock: it goes on, or its process was lost. */
  locked: boolean
}

/** Reads the folder of a run. @throws DataError ERR_DATA for a folder that is none */
export async function readRun(folder: string, onProgress?: OnProgress): Promise<RunRecord> {
  const record = await openRun(folder)
  const log = join(folder, 'events.ndjson')
  if (existsSync(log)) {
    const tell = seldom(onProgress)
    await eachLine(log, (line, done) => {
      record.log.add(line)
      tell(() => ({ stage: 'reading', name: log, done, unit: 'rows' }))
    })
  }
  return record
}

/** The same without its log. */
export async function openRun(folder: string): Promise<RunRecord> {
  const config = await storedConfig(folder)
  if (!config)
    throw new DataError(
      'ERR_DATA',
      `${folder} is no folder of a run: ${existsSync(folder) ? 'it has no config.json with phases' : 'it does not exist'}. ` +
        'Give the folder that the config names as out',
      { folder },
    )
  const optional = async <T>(name: string): Promise<T | null> =>
    existsSync(join(folder, name)) ? await readJson<T>(join(folder, name)) : null
  return {
    label: basename(resolve(folder)),
    folder,
    config,
    origins: await optional('origins.json'),
    checks: usable((await optional<{ phases: PhaseCheck[] }>('check.json'))?.phases ?? null),
    log: new RunLog(),
    locked: existsSync(join(folder, 'lock')),
  }
}

/** What an earlier version found has no percentiles of lengths, and is as good as none. */
const usable = (phases: PhaseCheck[] | null): PhaseCheck[] | null =>
  phases?.every(({ sources }) => sources.every(({ lengths }) => !lengths || 'p90' in lengths.queries)) ? phases : null

/** What an evaluation found query by query, or null where that was not kept. */
export async function evaluationDetails(folder: string, globalStep: number): Promise<EvaluationDetails | null> {
  const file = join(folder, 'evaluations', `step-${globalStep}.json`)
  return existsSync(file) ? await readJson<EvaluationDetails>(file) : null
}

/** Names that are each run's own: of equal ones as much of the path as tells them apart. */
export function distinctLabels(runs: readonly RunRecord[]): void {
  for (let depth = 2; new Set(runs.map(({ label }) => label)).size < runs.length && depth < 10; depth++)
    for (const run of runs) run.label = resolve(run.folder).split(/[\\/]/).slice(-depth).join('/')
}
