/** One phase of a run before its first step: its data, its text rules, its memory. */
import { createPlan } from '../../data/plan.js'
import { requireDistinctNames } from '../../data/shards.js'
import { fileSources, isFiles, isSource, type Source, type SourceOptions } from '../../data/sources.js'
import { type Survey, survey } from '../../data/survey.js'
import type { LateforgeError } from '../../errors.js'
import type { Colbert } from '../../models/colbert.js'
import type { Featurizer } from '../../text/featurizer.js'
import { horizonOf } from '../config/horizon.js'
import { includes, partsOf } from '../config/losses.js'
import type { ResolvedPhase, ResolvedRun } from '../config/types.js'
import type { CheckEvent, WarningEvent } from '../events.js'
import type { Faults } from './faults.js'
import { openGuide } from './guide.js'
import { estimateMemory, gibibytes, type MemoryEstimate } from './memory.js'
import { batchSizes, type Measured, measureTexts, type SampleText, sampleText, type TextLengths } from './texts.js'

/** One source of a phase. */
export interface SourceCheck {
  /** Its name. */
  name: string
  /** Number of rows. */
  rows: number
  /** Batches of one pass over it. */
  batches: number
  /** Documents of its rows, positives included. */
  documents: {
    /** Of the row with the fewest. */
    fewest: number
    /** Of the row with the most. */
    most: number
    /** Of all rows together: those that one pass trains on. */
    used: number
    /** Those that are not: beyond the first `1 + negatives` of their row. */
    unused: number
    /** Negatives that `dropAbove` leaves out before all that; the figures above are without them. */
    dropped: number
    /** Rows with fewer than `negatives`, or `sampleNegatives`, asks for, used as they are. */
    shortRows: number
  }
  /** Whether its rows have teacher scores. */
  scores: boolean
  /** Negatives that are null or empty in the files, and left out. */
  missing: number
  /** Columns that nothing reads, and how many rows have them. */
  unusedColumns: Readonly<Record<string, number>>
  /** Of rows spread evenly over the source; null where the model's text rules are not known. */
  lengths: {
    /** Rows looked at. */
    rows: number
    /** Of their queries. */
    queries: TextLengths
    /** Of their documents. */
    documents: TextLengths
  } | null
}

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
  onProgress?: (event: CheckEvent) => void
  /** Told what was read of each source. */
  onSurvey?: (index: number, survey: Survey) => void
  onDownload?: SourceOptions['onDownload']
}

const SAMPLES = 3
/** A usual batch that needs so much more than there is does not fit, whatever the estimate is off by. */
const CERTAIN = 1.1

export async function checkPhase(context: PhaseContext): Promise<PhaseCheck> {
  const { config, index, model, featurizer } = context
  const phase = config.phases[index]!
  const found: Found[] = []
  const pool = 1 + (phase.negatives ?? Number.POSITIVE_INFINITY)
  const most = Math.min(pool, 1 + (phase.sampleNegatives ?? Number.POSITIVE_INFINITY))
  const sources = await openSources(context)
  checkSettings(context, sources.length)
  for (const source of sources) {
    const read = await readSource(context, source)
    if (!read) continue
    context.onSurvey?.(index, read)
    const documents = documentsOf(read, pool, most)
    checkSource(context, read, documents)
    found.push({ survey: read, documents, measured: featurizer && (await measureTexts(read, featurizer, most)) })
  }
  const guideBytes = await checkGuide(context)
  const whole = found.length === sources.length && found.length > 0
  const stepsPerEpoch = whole ? await checkPlan(context, found) : null
  const steps = phase.steps ?? (stepsPerEpoch && Math.max(1, Math.floor(phase.epochs! * stepsPerEpoch)))
  const keyOf = ({ details }: LateforgeError) => ('scheduleSteps' in details ? 'scheduleSteps' : 'warmup')
  if (steps !== null) await context.faults.try(index, keyOf, () => horizonOf(phase, steps))
  return {
    name: phase.name,
    rows: found.reduce((sum, { survey }) => sum + survey.rows, 0),
    batch: phase.batch,
    stepsPerEpoch,
    steps,
    sources: found.map((source) => sourceCheck(phase, source)),
    recipe: model && featurizer ? changesOf(model, featurizer) : [],
    memory: checkMemory(context, found, guideBytes),
    samples: featurizer ? samplesOf(featurizer, found, most) : [],
  }
}

/** A source that could be read. */
interface Found {
  survey: Survey
  documents: SourceCheck['documents']
  measured: Measured | null
}

/** What becomes of the documents of a source where a row gives `most` of its first `pool` at most. */
function documentsOf({ documents, dropped }: Survey, pool: number, most: number): SourceCheck['documents'] {
  const sum = (of: (row: Survey['documents'][number]) => number) => documents.reduce((total, row) => total + of(row), 0)
  return {
    fewest: documents[0]!.count,
    most: documents.at(-1)!.count,
    used: sum(({ count, rows }) => rows * Math.min(count, most)),
    unused: sum(({ count, rows }) => rows * Math.max(0, count - pool)),
    dropped: dropped.negatives,
    shortRows: Number.isFinite(most) ? sum(({ count, rows }) => (count < most ? rows : 0)) : 0,
  }
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

/** What is worth knowing of a model's recipe. */
export const recipeNote = (message: string): WarningEvent => ({ type: 'warning', code: 'recipe', message, details: {} })

export function noEffect(what: string, because: string, details: { phase?: string; key: string }): WarningEvent {
  return { type: 'warning', code: 'no-effect', message: `${what} has no effect here: ${because}`, details }
}

/** The sources of a phase; none where one of them is not to be had. */
async function openSources({ config, index, faults, onDownload, signal }: PhaseContext): Promise<Source[]> {
  const { data } = config.phases[index]!
  const options = { cacheDir: config.cacheDir, onDownload, signal }
  const files = data.filter(isFiles)
  const before = faults.list.length
  for (const item of files) await faults.try(index, 'data', () => fileSources(item, options))
  if (faults.list.length > before) return []
  const all = await faults.try(index, 'data', async () => {
    const sources = [...data.filter(isSource), ...(await fileSources(files, options))]
    requireDistinctNames(sources)
    return sources
  })
  return all ?? []
}

async function readSource(context: PhaseContext, source: Source): Promise<Survey | undefined> {
  const { config, index, faults, rows = 1000, signal, onProgress } = context
  const { name: phase, dropAbove } = config.phases[index]!
  return faults.try(index, 'data', () =>
    survey(source, {
      sample: rows,
      dropAbove,
      signal,
      onProgress: (read) => onProgress?.({ type: 'check', phase, source: source.name, rows: read }),
    }),
  )
}

function checkSource(
  { config, index, faults, warnings }: PhaseContext,
  read: Survey,
  { fewest, used, unused, shortRows }: SourceCheck['documents'],
): void {
  const phase = config.phases[index]!
  const { name, rows } = read
  const fault = (message: string): void =>
    faults.add(index, 'data', 'ERR_DATA', `source "${name}"${message}`, { source: name })
  const taught = includes(phase.loss, 'distillation', 'margin-mse')
  const loss = partsOf(phase.loss)
    .flatMap(([name]) => (name === 'contrastive' ? [] : [name]))
    .join(' and ')
  if (taught && !read.scores) fault(` has no teacher scores, which ${loss} needs: rows with "scores"`)
  else if (taught && used === rows)
    fault(`: one document in each of its ${rows} rows, and ${loss} compares at least two`)
  const place = `phase "${phase.name}", source "${name}"`
  const warn = (code: WarningEvent['code'], message: string, details: Record<string, unknown>): void => {
    warnings.push({
      type: 'warning',
      code,
      message: `${place}: ${message}`,
      details: { phase: phase.name, source: name, ...details },
    })
  }
  const { firstAt: row, rows: alike } = read.documents[0]!
  const all = read.documents.reduce((sum, { count, rows }) => sum + count * rows, 0)
  const { negatives, sampleNegatives, dropAbove } = phase
  const asked = sampleNegatives ?? negatives
  const key = sampleNegatives === undefined ? 'negatives' : 'sampleNegatives'
  const { dropped } = read
  if (dropped.negatives > 0)
    warn(
      'dropped-negatives',
      `dropAbove: ${dropAbove} drops ${dropped.negatives} of ${dropped.of} negatives, in ${dropped.rows} of ${rows} rows, of ` +
        `which ${dropped.emptied} have none left`,
      { dropAbove, ...dropped },
    )
  else if (dropAbove !== undefined)
    warnings.push(
      noEffect(`${place}: dropAbove: ${dropAbove}`, 'no negative scores as high', {
        phase: phase.name,
        key: 'dropAbove',
      }),
    )
  if (shortRows > 0)
    warn(
      'short-rows',
      `fewer than ${key}: ${asked} in ${shortRows} of ${rows} rows (row ${row} has ${fewest - 1}), which are used as ` +
        'they are',
      { negatives: asked, rows: shortRows, fewest: fewest - 1, row },
    )
  if (unused > 0)
    warn(
      'unused-documents',
      `negatives: ${negatives} leaves out ${unused} of ${all} documents, from the end of the rows that have more`,
      { negatives, documents: unused },
    )
  if (sampleNegatives !== undefined && read.documents.at(-1)!.count <= 1 + sampleNegatives)
    warnings.push(
      noEffect(`${place}: sampleNegatives: ${sampleNegatives}`, 'no row has more negatives', {
        phase: phase.name,
        key: 'sampleNegatives',
      }),
    )
  if (taught && fewest === 1 && used > rows)
    warn(
      'single-documents',
      `one document in ${alike} of ${rows} rows (row ${row} is the first): ${loss} has nothing to compare it with, so ` +
        'they add 0 to the loss',
      { rows: alike, row },
    )
  for (const [column, rows] of Object.entries(unusedColumns(phase, read)))
    warn(
      'unused-columns',
      `nothing reads column "${column}", which ${rows} of ${read.rows} rows have${hintFor(column)}`,
      {
        column,
        rows,
      },
    )
  for (const said of read.incomplete) warn('incomplete-set', said, {})
  if (read.unusedFiles.length > 0)
    warn(
      'unused-files',
      `${read.unusedFiles.length} files of the data set are of a kind that is not read, as ${read.unusedFiles[0]}`,
      { files: read.unusedFiles },
    )
  if (read.missing > 0)
    warn('missing-negatives', `${read.missing} negatives are null or empty and are left out`, { missing: read.missing })
}

/** Columns that the phase does not read, and how many rows have them. */
function unusedColumns({ loss, dropAbove }: ResolvedPhase, { unused, scores, rows }: Survey): Record<string, number> {
  return { ...unused, ...(loss === 'contrastive' && dropAbove === undefined && scores && { scores: rows }) }
}

const hintFor = (column: string): string =>
  /scores?$|^labels?$/.test(column)
    ? `. If they are a teacher's scores, one for each document: columns: { scores: '${column}' }`
    : ''

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
  const { config, index, model, faults, warnings, onDownload: onProgress, signal } = context
  const phase = config.phases[index]!
  if (!phase.guide) return 0
  const onNote = (message: string) => warnings.push(recipeNote(`phase "${phase.name}", guide: ${message}`))
  const guide = await faults.try(index, 'guide', () => openGuide(config, phase, model, { onNote, onProgress, signal }))
  guide?.close()
  return guide && typeof phase.guide.model === 'string' ? 2 * guide.model.parameters.values.bytes : 0
}

function checkMemory(
  { config, index, model, graphBytes, faults, warnings, ranks = 1 }: PhaseContext,
  found: readonly Found[],
  guideBytes: number,
): PhaseCheck['memory'] {
  const phase = config.phases[index]!
  if (!model || !graphBytes) return null
  const { limit } = model.device.memory()
  const estimates = found.flatMap(({ survey, measured }) => {
    if (!measured) return []
    const sizes = batchSizes(measured, phase.batch, survey.rows)
    const of = (which: keyof typeof sizes) =>
      estimateMemory(model, config, phase, { sizes: sizes[which], graphBytes, guideBytes, ranks })
    return [{ worst: of('worst'), usual: of('usual') }]
  })
  if (estimates.length === 0) return null
  const most = (which: 'worst' | 'usual') =>
    estimates.map((e) => e[which]).reduce((a, b) => (b.bytes > a.bytes ? b : a))
  const memory = { worst: most('worst'), usual: most('usual'), limit }
  const details = { ...memory }
  if (memory.usual.bytes > CERTAIN * limit)
    faults.add(index, 'batch', 'ERR_OUT_OF_MEMORY', needs(memory.usual, limit, 'a step', phase), details)
  else if (memory.worst.bytes > limit)
    warnings.push({
      type: 'warning',
      code: 'memory',
      message: `phase "${phase.name}": ${needs(memory.worst, limit, 'a step of the longest rows', phase)}`,
      details: { phase: phase.name, ...details },
    })
  return memory
}

function needs(
  { bytes, base, embeddings, graphs, loss }: MemoryEstimate,
  limit: number,
  what: string,
  phase: ResolvedPhase,
): string {
  const parts = [
    { name: 'parameters, gradients and moments', bytes: base, lower: 'a smaller model' },
    { name: 'graphs', bytes: graphs, lower: 'microBatchTokens, activationMemory' },
    {
      name: 'embeddings',
      bytes: embeddings,
      lower: `batch${phase.negatives === 0 ? '' : ', negatives'}, documentLength`,
    },
    { name: 'scores', bytes: loss, lower: 'batch, negatives' },
  ].sort((a, b) => b.bytes - a.bytes)
  return (
    `${what} needs about ${gibibytes(bytes)} GiB, the device has ${gibibytes(limit)} ` +
    `(${parts.map((part) => `${part.name} ${gibibytes(part.bytes)}`).join(', ')}). To lower it: ${parts[0]!.lower}`
  )
}

function sourceCheck(phase: ResolvedPhase, { survey, documents, measured }: Found): SourceCheck {
  const { name, rows, scores, sample } = survey
  return {
    name,
    rows,
    batches: Math.floor(rows / phase.batch) || Number(phase.smallSources === 'wrap'),
    documents,
    scores,
    missing: survey.missing,
    unusedColumns: unusedColumns(phase, survey),
    lengths: measured && { rows: sample.length, queries: measured.queries, documents: measured.documents },
  }
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
