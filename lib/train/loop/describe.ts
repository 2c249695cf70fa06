/** What a run's folder says of the run beside its log: for whoever looks at it later. */
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { writeAtomic } from '../../io/atomic.js'
import type { EvaluationDetails } from '../../models/options.js'
import type { PhaseCheck } from '../check/check-phase.js'
import { plainConfig } from '../config/config.js'
import { originsOf } from '../config/origins.js'
import type { ResolvedRun } from '../config/types.js'

/**
 * Writes `config.json`, by which the run is resumed; `origins.json`, where each value of it comes from; and `check.json`,
 * what the check found of each phase. Of a run that goes on, what only its beginning knew stays.
 */
export async function describeRun(
  out: string,
  config: ResolvedRun,
  phases: readonly PhaseCheck[],
  goesOn: boolean,
): Promise<void> {
  const write = (name: string, value: unknown): Promise<void> =>
    writeAtomic(join(out, name), [`${JSON.stringify(value, null, 1)}\n`])
  const before = async <T>(name: string): Promise<T | undefined> =>
    goesOn
      ? readFile(join(out, name), 'utf8')
          .then(JSON.parse)
          .catch(() => undefined)
      : undefined // no run stops for their sake
  const then = await before<Record<string, string>>('origins.json')
  const self = resolve(out, 'config.json') // `resume` has all values from there
  const origins = Object.entries(originsOf(config)).map(([key, origin]) => [
    key,
    resolve(origin) === self ? (then?.[key] ?? origin) : origin,
  ])
  // Data that may not be shown is in no card and in no report.
  const shown = config.card.samples > 0 ? phases : phases.map((phase) => ({ ...phase, samples: [] }))
  const earlier = (await before<{ phases: PhaseCheck[] }>('check.json'))?.phases ?? []
  const through = earlier.filter(({ name }) => !shown.some((phase) => phase.name === name))
  await write('origins.json', Object.fromEntries(origins))
  await write('check.json', { phases: [...through, ...shown] })
  await writeAtomic(join(out, 'config.json'), [`${JSON.stringify(plainConfig(config), null, 2)}\n`])
}

/** Writes `evaluations/step-N.json`, the evaluation after so many steps of the run. */
export function keepEvaluation(out: string, globalStep: number, details: EvaluationDetails): Promise<void> {
  return writeAtomic(join(out, 'evaluations', `step-${globalStep}.json`), [`${JSON.stringify(details)}\n`])
}
