/** One phase of a run before its first step: its data, its text rules, its memory. */
import { createPlan } from '../../data/plan.js'
import type { TextRow } from '../../data/rows.js'
import type { Survey } from '../../data/survey.js'
import type { LateforgeError } from '../../errors.js'
import type { Colbert } from '../../models/colbert.js'
import type { Featurizer } from '../../text/featurizer.js'
import { horizonOf } from '../config/horizon.js'
import type { ResolvedRun } from '../config/types.js'
import type { ProgressEvent, WarningEvent } from '../events.js'
import { checkMemory } from './check-memory.js'
import { checkSource, type Found, openSources, type SourceCheck, sourceCheck, takenOf } from './check-source.js'
import type { Faults } from './faults.js'
import { openGuide } from './guide.js'
import type { Leak, LeakSearch } from './leaks.js'
import type { MemoryEstimate } from './memory.js'
import { noEffect, recipeNote } from './notes.js'
import { longestRows, type SampleText, sampleText } from './texts.js'

/** A row as the model reads it. */
export interface SampleRow {
  /** Name of its source. */
  source: string
  /** From 1. */
  row: number
  /** Its query. */
  query: SampleText
  /** Its first document. */
  positive: SampleText
  /** Its other documents. */
  negatives: SampleText[]
}

/** What was found of a phase. */
export interface PhaseCheck {
  /** Its name. */
  name: string
  /** Rows of all sources. */
  rows: number
  /** Queries of a step. */
  batch: number
  /** Steps of one pass; null where the data have faults. */
  stepsPerEpoch: number | null
  /** Steps of the phase. */
  steps: number | null
  /** Its sources. */
  sources: SourceCheck[]
  /** What the recipe of this phase has otherwise than the model's. */
  recipe: {
    /** Field of the recipe. */
    field: string
    /** Value of the model. */
    model: unknown
    /** Value of the phase. */
    phase: unknown
  }[]
  /** Bytes at the peak of a step: over the longest rows, over usual ones, and what the device may hold. */
  memory: {
    /** Over the longest rows. */
    worst: MemoryEstimate
    /** Over rows of usual length. */
    usual: MemoryEstimate
    /** What the device may hold. */
    limit: number
  } | null
  /** Some rows as the model reads them. */
  samples: SampleRow[]
  /** What of the collections that were given is in its data; null where none was. */
  leaks: Leak[] | null
  /** Steps that were tried; null where none was. */
  trial: Trial | null
}

/** Steps of a phase that were tried in memory. */
export interface Trial {
  /** How many, over rows as they come; one more went before them. */
  steps: number
  /** Their median. */
  secondsPerStep: number
  /** Attended tokens of all of them, over the time of all. */
  tokensPerSecond: number
  /** All steps of the phase; evaluations and checkpoints not counted. */
  seconds: number
  /** Bytes of the device at the peak, as measured. */
  memory: {
    /** Of a step over the longest rows that were seen. */
    worst: number
    /** Of the steps over rows as they come. */
    usual: number
  }
}

/** Rows to try steps on. */
export interface TrialRows {
  usual: { name: string; rows: TextRow[] }[]
  longest: { name: string; rows: TextRow[] }
}

export interface PhaseContext {
  config: ResolvedRun
  index: number
  model: Colbert | null
  /** The text rules of the phase; null where they are not known. */
  featurizer: Featurizer | null
  /** Of a token in a graph. */
  graphBytes: number | null
  faults: Faults
  warnings: WarningEvent[]
  rows?: number
  ranks?: number
  signal?: AbortSignal
  onProgress?: (progress: Omit<ProgressEvent, 'type'>) => void
  /** Told what was read of each source. */
  onSurvey?: (index: number, survey: Survey) => void
  /** Whether to count what repeats. */
  thorough?: boolean
  /** Looks for collections in the rows. */
  leaks?: LeakSearch
  /** Told rows that steps can be tried on, where the model and the data are there. */
  onMeasured?: (index: number, rows: TrialRows) => void
}

const SAMPLES = 3

export async function checkPhase(context: PhaseContext): Promise<PhaseCheck> {
  const { config, index, model, featurizer, leaks, ranks = 1 } = context
  const phase = config.phases[index]!
  const found: Found[] = []
  const taken = takenOf(phase)
  const sources = await openSources(context)
  checkSettings(context, sources.length)
  for (const source of sources) {
    const one = await checkSource(context, source, taken)
    if (one) found.push(one)
  }
  const guideBytes = await checkGuide(context)
  const whole = found.length === sources.length && found.length > 0
  const stepsPerEpoch = whole ? await checkPlan(context, found) : null
  const steps = phase.steps ?? (stepsPerEpoch && Math.max(1, Math.floor(phase.epochs! * stepsPerEpoch)))
  const keyOf = ({ details }: LateforgeError) => ('scheduleSteps' in details ? 'scheduleSteps' : 'warmup')
  if (steps !== null) await context.faults.try(index, keyOf, () => horizonOf(phase, steps))
  const memory = checkMemory(context, found, guideBytes)
  if (memory) context.onMeasured?.(index, trialRowsOf(found, phase.batch, memory.heaviest))
  const leaked = (whole && leaks?.found()) || null
  for (const leak of leaked ?? []) if (leak.queries.found > 0) context.warnings.push(leakWarning(phase.name, leak))
  return {
    name: phase.name,
    rows: found.reduce((sum, { survey }) => sum + survey.rows, 0),
    batch: phase.batch,
    stepsPerEpoch,
    steps,
    sources: found.map((source) => sourceCheck(phase, source, ranks)),
    leaks: leaked,
    recipe: model && featurizer ? changesOf(model, featurizer) : [],
    memory: memory?.needed ?? null,
    samples: featurizer ? samplesOf(featurizer, found, taken.most) : [],
    trial: null,
  }
}

function leakWarning(phase: string, leak: Leak): WarningEvent {
  const { collection, split, queries, first } = leak
  return {
    type: 'warning',
    code: 'leak',
    message:
      `phase "${phase}": ${queries.found} of ${queries.of} queries of ${collection}, ${split}, are queries of the data ` +
      `(first in source "${first!.source}", row ${first!.row}); what is measured there is too good`,
    details: { phase, ...leak },
  }
}

/** Rows of each source as they come, and of one source a batch of the longest. */
function trialRowsOf(found: readonly Found[], batch: number, heaviest: number): TrialRows {
  const usual = found.map(({ survey: { name, sample } }) => ({ name, rows: sample.map(({ value }) => value) }))
  const { survey, measured } = found[heaviest]!
  const rows = longestRows(measured!, batch, survey.rows).map((i) => survey.sample[i]!.value)
  return { usual, longest: { name: survey.name, rows } }
}

/** Settings that do nothing here: an error where they never would, a warning where they do elsewhere, on many ranks say. */
function checkSettings({ config, index, model, faults, warnings, ranks }: PhaseContext, sources: number): void {
  const phase = config.phases[index]!
  let left = model?.parameters.entries.map(({ name }) => name) ?? []
  for (const pattern of model ? phase.freeze : []) {
    const others = left.filter((name) => !new RegExp(pattern).test(name))
    if (others.length === left.length)
      faults.add(
        index,
        'freeze',
        'ERR_CONFIG',
        `"${pattern}" matches no parameter that an earlier pattern left; there are ${left.slice(0, 3).join(', ')} …`,
      )
    left = others
  }
  if (model && left.length === 0)
    faults.add(index, 'freeze', 'ERR_CONFIG', 'freezes all parameters, so that there is nothing to train')
  const place = `phase "${phase.name}": `
  if (phase.sampling !== 'proportional' && sources === 1)
    warnings.push(noEffect(`${place}sampling`, 'the phase has one source', { phase: phase.name, key: 'sampling' }))
  if (phase.gather !== 'queries' && ranks === 1)
    warnings.push(noEffect(`${place}gather`, 'one rank has the whole batch', { phase: phase.name, key: 'gather' }))
}

/** @returns steps of an epoch, or null where there is no plan */
async function checkPlan(
  { config, index, faults }: PhaseContext,
  found: readonly { survey: Survey }[],
): Promise<number | null> {
  const { batch, sampling, smallSources } = config.phases[index]!
  const sources = found.map(({ survey }) => survey)
  const before = faults.list.length
  for (const source of sources)
    await faults.try(index, 'batch', () => createPlan({ seed: 0, batch, sources: [source], smallSources }))
  const enough = sources.map(({ name, rows }) => ({ name, rows: Math.max(rows, batch) }))
  const plan = await faults.try(index, 'sampling', () => createPlan({ seed: 0, batch, sources: enough, sampling }))
  return plan && faults.list.length === before ? plan.stepsPerEpoch : null
}

/** Opens the guide of a phase. @returns the bytes of its weights where it is not there yet, and their gradients' room */
async function checkGuide(context: PhaseContext): Promise<number> {
  const { config, index, model, faults, warnings, onProgress, signal } = context
  const phase = config.phases[index]!
  if (!phase.guide) return 0
  const onNote = (message: string) => warnings.push(recipeNote(`phase "${phase.name}", guide: ${message}`))
  const guide = await faults.try(index, 'guide', () => openGuide(config, phase, model, { onNote, onProgress, signal }))
  guide?.close()
  return guide && typeof phase.guide.model === 'string' ? 2 * guide.model.parameters.values.bytes : 0
}

function changesOf({ recipe: before }: Colbert, { recipe: now }: Featurizer): PhaseCheck['recipe'] {
  const fields = Object.keys(now) as (keyof typeof now)[]
  return fields
    .filter((field) => JSON.stringify(before[field]) !== JSON.stringify(now[field]))
    .map((field) => ({ field, model: before[field], phase: now[field] }))
}

/** Of the first sources one row each; of few sources more, spread over their samples. */
function samplesOf(featurizer: Featurizer, found: readonly Found[], most: number): SampleRow[] {
  const sources = found.slice(0, SAMPLES)
  return Array.from({ length: sources.length === 0 ? 0 : SAMPLES }, (_, i) => {
    const { name, sample } = sources[i % sources.length]!.survey
    const each = Math.ceil(SAMPLES / sources.length)
    const at = Math.floor((Math.floor(i / sources.length) * (sample.length - 1)) / Math.max(1, each - 1))
    return { name, taken: sample[at]! }
  })
    .filter(({ taken }, i, all) => all.findIndex((other) => other.taken === taken) === i)
    .map(({ name, taken: { row, value } }) => {
      const [positive, ...negatives] = value.documents
        .slice(0, most)
        .map((text) => sampleText(featurizer, text, 'document'))
      return { source: name, row, query: sampleText(featurizer, value.query, 'query'), positive: positive!, negatives }
    })
}
