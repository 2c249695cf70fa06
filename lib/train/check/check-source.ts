/** One source of a phase: its rows, what becomes of them, and what is wrong with them. */
import { contentKey } from '../../data/content-hash.js'
import type { TextRow } from '../../data/rows.js'
import { requireDistinctNames } from '../../data/shards.js'
import { fileSources, isFiles, isSource, type Source } from '../../data/sources.js'
import { type Survey, survey } from '../../data/survey.js'
import { gathers, includes, partsOf } from '../config/losses.js'
import type { ResolvedPhase } from '../config/types.js'
import type { WarningEvent } from '../events.js'
import type { PhaseContext } from './check-phase.js'
import { noEffect } from './notes.js'
import { RepeatCounter, type Repeats } from './repeats.js'
import { type Measured, measureTexts, type TextLengths } from './texts.js'

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
  /**
   * Documents that the positive of a query is compared with, on average: negatives of its own row, and documents of the
   * other rows of its batch.
   */
  compared: {
    /** Of its row. */
    own: number
    /** Of other rows; 0 where no loss of the phase compares with them. */
    others: number
  }
  /** What comes more than once in it; null where it was not counted, as in `train`. */
  repeats: Repeats | null
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

/** A source that could be read. */
export interface Found {
  survey: Survey
  documents: SourceCheck['documents']
  measured: Measured | null
  repeats: Repeats | null
}

/** Documents of a row that a phase takes: of its first `pool` at most `most`. */
export interface Taken {
  pool: number
  most: number
}

export function takenOf({ negatives, sampleNegatives }: ResolvedPhase): Taken {
  const pool = 1 + (negatives ?? Number.POSITIVE_INFINITY)
  return { pool, most: Math.min(pool, 1 + (sampleNegatives ?? Number.POSITIVE_INFINITY)) }
}

/** The sources of a phase; none where one of them is not to be had. */
export async function openSources({ config, index, faults, onProgress, signal }: PhaseContext): Promise<Source[]> {
  const { data } = config.phases[index]!
  const options = { cacheDir: config.cacheDir, onProgress, signal }
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

/** Reads a source and says what is wrong with it; undefined where it could not be read. */
export async function checkSource(context: PhaseContext, source: Source, taken: Taken): Promise<Found | undefined> {
  const { config, index, faults, featurizer, rows = 1000, signal, onProgress, leaks } = context
  const { name: phase, batch, dropAbove } = config.phases[index]!
  const repeats = context.thorough ? new RepeatCounter() : null
  const read = await faults.try(index, 'data', () =>
    survey(source, {
      sample: rows,
      dropAbove,
      signal,
      onProgress: (read) => onProgress?.({ phase, stage: 'checking', name: source.name, done: read, unit: 'rows' }),
      ...((repeats || leaks) && {
        onRow(row: TextRow, number: number) {
          const keys = { query: contentKey(row.query), positive: contentKey(row.documents[0]!) }
          repeats?.add(keys, row)
          leaks?.add(keys, { source: source.name, row: number, query: row.query })
        },
      }),
    }),
  )
  if (!read) return undefined
  context.onSurvey?.(index, read)
  const documents = documentsOf(read, taken)
  const repeated = repeats?.count(batch) ?? null
  checkRows(context, read, documents, repeated)
  const measured = featurizer && (await measureTexts(read, featurizer, taken.most))
  return { survey: read, documents, measured, repeats: repeated }
}

/** What becomes of the documents of a source where a row gives `most` of its first `pool` at most. */
function documentsOf({ documents, dropped }: Survey, { pool, most }: Taken): SourceCheck['documents'] {
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

function checkRows(
  { config, index, faults, warnings }: PhaseContext,
  read: Survey,
  { fewest, used, unused, shortRows }: SourceCheck['documents'],
  repeats: Repeats | null,
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
  const { falseNegatives = 0 } = repeats ?? {}
  if (falseNegatives > 0)
    warn('false-negatives', `${falseNegatives} negatives are the positive of their own row`, {
      negatives: falseNegatives,
    })
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

/** @param ranks that share a batch */
export function sourceCheck(
  phase: ResolvedPhase,
  { survey, documents, measured, repeats }: Found,
  ranks: number,
): SourceCheck {
  const { name, rows, scores, sample } = survey
  return {
    name,
    rows,
    batches: Math.floor(rows / phase.batch) || Number(phase.smallSources === 'wrap'),
    documents,
    compared: comparedOf(phase, documents.used / rows, ranks),
    repeats,
    scores,
    missing: survey.missing,
    unusedColumns: unusedColumns(phase, survey),
    lengths: measured && { rows: sample.length, queries: measured.queries, documents: measured.documents },
  }
}

function comparedOf(phase: ResolvedPhase, documents: number, ranks: number): SourceCheck['compared'] {
  const { batch, gather, loss } = phase
  const rows = gathers(loss) && gather === 'none' ? batch / ranks : batch
  return { own: documents - 1, others: includes(loss, 'contrastive') ? (rows - 1) * documents : 0 }
}
