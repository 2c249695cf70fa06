/** What a model's card says of its training. */
import { existsSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { type DataEntry, isFiles } from '../../data/sources.js'
import type { Survey } from '../../data/survey.js'
import { isHubPath, parseDataName, parseModelName } from '../../hub/name.js'
import type { EvaluationRecord, PhaseRecord, SourceRecord, TrainingRecord } from '../../models/options.js'
import { packageVersion } from '../../packages.js'
import type { Recipe } from '../../text/recipe.js'
import { changedSettings } from '../config/changed.js'
import { isOwn, partsOf } from '../config/losses.js'
import type { ResolvedPhase, ResolvedRun } from '../config/types.js'

/** The run and its phases so far. Nothing in it depends on where it is written, or when. */
export function trainingRecord(config: ResolvedRun, ranks: number, phases: readonly PhaseRecord[]): TrainingRecord {
  const { model, seed, precision, device } = config
  return {
    ...(typeof model === 'string' && { base: baseOf(model) }),
    settings: { seed, precision: precision!, ...(ranks > 1 && { ranks }) },
    phases,
    versions: { lateforge: packageVersion(), Node: process.version, device },
  }
}

/** A path is called by its last part, which is all that others can do with it. */
function baseOf(model: string): NonNullable<TrainingRecord['base']> {
  const onHub = !existsSync(model) && parseModelName(model) !== null
  return { name: onHub ? model : basename(resolve(model)), onHub }
}

/** A phase as it stands. */
export function phaseRecord(
  phase: ResolvedPhase,
  { queryLength, documentLength }: Recipe,
  steps: number,
  evaluations: readonly EvaluationRecord[],
  sources: readonly SourceRecord[],
): PhaseRecord {
  const { name, loss, batch, data, evaluate } = phase
  return {
    name,
    losses: isOwn(loss) ? { [loss.id]: 1 } : Object.fromEntries(partsOf(loss)),
    ...{ steps, batch, queryLength, documentLength, sources, evaluations },
    settings: changedSettings(phase),
    datasets: [...new Set(data.filter(isFiles).flatMap(datasetsOf))],
    ...(evaluate?.data !== undefined && { evaluatedOn: [evaluate.data].flat().map(placeOf).join(', ') }),
  }
}

function datasetsOf(item: string | DataEntry): string[] {
  const files = typeof item === 'string' ? [item] : ([item.files].flat() as string[])
  return files.filter(isHubPath).map((name) => parseDataName(name).repository.name)
}

/** A name, or the last folder of a path or pattern. */
function placeOf(place: string): string {
  const folder = place.replace(/[*?].*$/, '')
  return existsSync(folder) ? basename(resolve(folder)) : place
}

/** Of a sample, so many letters of a text and so many of its negatives. */
const LETTERS = 200
const NEGATIVES = 3

/** A source, with so many of its rows. */
export function sourceRecord({ name, rows, documents, scores, sample }: Survey, samples: number): SourceRecord {
  const count = Math.min(samples, sample.length)
  const spread = Array.from({ length: count }, (_, i) => sample[Math.floor((i * sample.length) / count)]!.value)
  return {
    ...{ name, rows, scores, fewest: documents[0]!.count, most: documents.at(-1)!.count },
    samples: spread.map(({ query, documents }) => ({
      query: cut(query),
      documents: documents.slice(0, 1 + NEGATIVES).map(cut),
    })),
  }
}

function cut(text: string): string {
  const letters = [...text.slice(0, 2 * LETTERS + 2)]
  return letters.length > LETTERS ? `${letters.slice(0, LETTERS).join('')}…` : text
}
