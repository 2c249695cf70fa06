import { ArgumentError, nearest } from '../errors.js'
import { checkOptions, either, type Kinds, object, strings, text } from '../options.js'
import { type Collection, type CollectionCounts, collectionNotes, listed } from './collections.js'
import {
  type Depth,
  type EvaluationCounts,
  evaluate,
  type Metric,
  parseMetric,
  type Qrels,
  type RankOptions,
  type RunCounts,
  rankOptions,
  type SystemRun,
  type TrecRun,
} from './metrics.js'
import {
  bootstrapInterval,
  holm,
  type Interval,
  type ResampleOptions,
  randomizationTest,
  resampleOptions,
} from './significance.js'

/** Options of `compareRuns`. */
export interface CompareOptions extends RankOptions, ResampleOptions {
  /** Shown in this order; the first is the one tested. Default nDCG@10, MRR@10, recall@100. */
  readonly metrics?: readonly Metric[]
  /** Name of the row the others are compared with. Default: none, no test. */
  readonly baseline?: string
  /**
   * Name of the row whose test against the baseline was decided on beforehand: its p is not corrected. All other rows
   * are corrected together (Holm); without a primary row every row is.
   */
  readonly primary?: string
  /** The collection, for the title and its counts, or its name. */
  readonly collection?: string | Pick<Collection, 'name' | 'counts'>
}

const compareOptions: Kinds<CompareOptions> = {
  ...rankOptions,
  ...resampleOptions,
  metrics: strings,
  baseline: text,
  primary: text,
  collection: either(text, object),
}

/** Plain data: `JSON.stringify` gives the report's JSON form. */
export interface Comparison {
  /** Name of the collection. */
  readonly collection?: string
  /** What the collection holds, where it was given. */
  readonly collectionCounts?: CollectionCounts
  /** Columns, in order. */
  readonly metrics: readonly Metric[]
  /** Name of the row the others are compared with. */
  readonly baseline?: string
  /** Name of the row whose test was decided on beforehand. */
  readonly primary?: string
  /** Judged queries. */
  readonly queries: number
  /** Of the bootstrap and of the tests. */
  readonly resamples: number
  /** Of the resampling. */
  readonly seed: number
  /** One per run, in the order given. */
  readonly rows: readonly ComparisonRow[]
}

/** One run of a comparison. */
export interface ComparisonRow {
  /** The run's name. */
  readonly name: string
  /** Mean and 95 % bootstrap interval over queries of each metric. */
  readonly scores: Readonly<Record<string, Interval>>
  /** Against the baseline, on the first metric: row minus baseline. Absent for the baseline itself. */
  readonly test?: {
    /** Mean of the row minus that of the baseline. */
    readonly difference: number
    /** Two-sided paired randomization test, not corrected. */
    readonly p: number
    /** Holm-corrected over the rows that are not primary; equal to `p` for the primary row. */
    readonly adjusted: number
  }
  /** Documents a query for which the run had room, where that is known. */
  readonly depth?: Depth
  /** What was missing, cut or ignored. */
  readonly counts: EvaluationCounts & RunCounts
}

/**
 * Compares runs on one set of judgments: those of `modelRun` and `bm25Run` with all they say of themselves, as
 * `{ name: 'BM25', ...await bm25Run(collection) }`, and any other. A run that is shallower than a metric looks is scored
 * as it is, and the notes say so. Throws `ArgumentError` (`ERR_ARGUMENT`) for no rows, repeated names and a
 * baseline or primary row that does not exist, and what `evaluate` throws.
 */
export function compareRuns(
  runs: readonly ({ readonly name: string; readonly run: TrecRun } & Partial<SystemRun>)[],
  qrels: Qrels,
  options: CompareOptions = {},
): Comparison {
  checkOptions('compareRuns', options, compareOptions)
  const { metrics = ['ndcg@10', 'mrr@10', 'recall@100'], baseline, primary, resamples = 10_000, seed = 0 } = options
  const { scorePrecision, ignoreIdenticalIds } = options
  const ranking = { scorePrecision, ignoreIdenticalIds }
  checkNames(
    runs.map((row) => row.name),
    baseline,
    primary,
  )
  const main = metrics[0]
  const evaluations = runs.map(({ run, ...row }) => ({ ...row, evaluation: evaluate(run, qrels, metrics, ranking) }))
  const reference = evaluations.find((row) => row.name === baseline)?.evaluation.perQuery[main]
  const tests = new Map<string, { difference: number; p: number }>()
  if (reference)
    for (const { name, evaluation } of evaluations)
      if (name !== baseline)
        tests.set(name, randomizationTest(evaluation.perQuery[main], reference, { resamples, seed }))
  const family = [...tests].filter(([name]) => name !== primary)
  const corrected = holm(family.map(([, test]) => test.p))
  const adjusted = new Map(family.map(([name], i) => [name, corrected[i]]))

  const rows = evaluations.map(({ name, depth, counts, evaluation }): ComparisonRow => {
    const scores = Object.fromEntries(
      metrics.map((metric) => [metric, bootstrapInterval(evaluation.perQuery[metric], { resamples, seed })]),
    )
    const test = tests.get(name)
    return {
      name,
      scores,
      ...(test && { test: { ...test, adjusted: adjusted.get(name) ?? test.p } }),
      ...(depth !== undefined && { depth }),
      counts: { ...evaluation.counts, ...counts },
    }
  })
  const { collection } = options
  const named = typeof collection === 'string' ? { collection } : {}
  const counted = typeof collection === 'object' && { collection: collection.name, collectionCounts: collection.counts }
  return { ...named, ...counted, metrics, baseline, primary, queries: qrels.size, resamples, seed, rows }
}

/** The comparison as an aligned text table with notes, for a terminal. */
export function formatText(comparison: Comparison): string {
  const { header, body } = cells(comparison)
  const widths = header.map((title, c) => Math.max(title.length, ...body.map((row) => row[c].length)))
  const lines = [header, ...body].map((row) =>
    row
      .map((cell, c) => (c === 0 ? cell.padEnd(widths[c]) : cell.padStart(widths[c])))
      .join('  ')
      .trimEnd(),
  )
  return `${[title(comparison), '', ...lines, '', ...notes(comparison)].join('\n')}\n`
}

/** The comparison as a Markdown table with notes. */
export function formatMarkdown(comparison: Comparison): string {
  const { header, body } = cells(comparison)
  const line = (row: readonly string[]) => `| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  const rule = header.map((_, c) => (c === 0 ? '---' : '---:'))
  const list = notes(comparison).map((note) => `- ${note}`)
  return `${[`**${title(comparison)}**`, '', line(header), line(rule), ...body.map(line), '', ...list].join('\n')}\n`
}

function cells({ metrics, baseline, primary, rows }: Comparison): { header: string[]; body: string[][] } {
  const header = ['run', ...metrics.map((metric, m) => (m === 0 ? `${label(metric)} [95 %]` : label(metric)))]
  if (baseline !== undefined) header.push(`Δ ${label(metrics[0])}`, 'p')
  const body = rows.map(({ name, scores, test }) => {
    const row = [name]
    metrics.forEach((metric, m) => {
      const { mean, low, high } = scores[metric]
      row.push(m === 0 ? `${mean.toFixed(4)} [${low.toFixed(4)}, ${high.toFixed(4)}]` : mean.toFixed(4))
    })
    if (test) row.push(signed(test.difference), `${test.adjusted.toFixed(4)}${name === primary ? ' *' : ''}`)
    else if (baseline !== undefined) row.push('baseline', '')
    return row
  })
  return { header, body }
}

function title({ collection, queries }: Comparison): string {
  return `${collection ? `${collection}: ` : ''}${queries} judged ${queries === 1 ? 'query' : 'queries'}`
}

function notes({ baseline, primary, resamples, seed, rows, metrics, collectionCounts }: Comparison): string[] {
  const lines = [`Means over all judged queries; 95 % bootstrap intervals (${resamples} resamples, seed ${seed}).`]
  if (baseline !== undefined) {
    const star = primary === undefined ? 'Holm-corrected.' : '* primary test, not corrected; the others Holm-corrected.'
    lines.push(`p: two-sided paired randomization test against ${baseline} (${resamples} resamples). ${star}`)
  }
  const judged = rows[0]!.counts // of the judgments, so the same in all rows
  const judgments = listed([
    ['judgments below 0 (as 0)', judged.negativeGrades],
    ['queries with nothing relevant (count 0)', judged.withoutRelevant],
  ])
  for (const note of [...collectionNotes(collectionCounts ?? {}), ...judgments]) lines.push(`Collection: ${note}.`)
  for (const row of rows) lines.push(...rowNotes(row, metrics))
  return lines
}

function rowNotes({ name, counts, depth = counts.depth }: ComparisonRow, metrics: readonly Metric[]): string[] {
  const lines = listed([
    ['judged queries without results (count 0)', counts.withoutResults],
    ['queries without judgments (ignored)', counts.withoutJudgments],
    ['relevant documents that were not retrieved', counts.unretrieved],
    ['queries that lost a document with their own id', counts.droppedIdentical],
    ['queries longer than the model takes (cut)', counts.truncatedQueries],
    ['documents longer than the model takes (cut)', counts.truncatedDocuments],
    ['queries in which it finds no term', counts.queriesWithoutTerms],
    ['documents in which it finds no term (never found)', counts.documentsWithoutTerms],
  ])
  const deeper = metrics.filter((metric) => depth !== 'all' && parseMetric(metric).cut > depth).map(label)
  if (deeper.length > 0)
    lines.push(
      `it holds at most ${depth} documents a query, and ${deeper.join(', ')} ` +
        `${deeper.length === 1 ? 'looks' : 'look'} no deeper`,
    )
  else if (depth !== 'all' && counts.shallow > counts.withoutResults)
    lines.push(`queries with fewer documents than the deepest cut: ${counts.shallow}`)
  return lines.map((line) => `${name}: ${line}.`)
}

/** `ndcg@10` as readers know it: nDCG@10. */
function label(metric: Metric): string {
  const names: Record<string, string> = { ndcg: 'nDCG', map: 'MAP', mrr: 'MRR', precision: 'P' }
  const { kind } = parseMetric(metric)
  return metric.replace(kind, names[kind] ?? kind)
}

function signed(value: number): string {
  const text = value.toFixed(4)
  return value > 0 ? `+${text}` : text
}

function checkNames(names: readonly string[], baseline?: string, primary?: string): void {
  if (names.length === 0) throw new ArgumentError('ERR_ARGUMENT', 'No runs were given, expected at least one.')
  const repeated = names.find((name, i) => names.indexOf(name) < i)
  if (repeated !== undefined)
    throw new ArgumentError('ERR_ARGUMENT', `Two runs are named "${repeated}", expected different names.`)
  for (const [role, name] of Object.entries({ baseline, primary })) {
    if (name === undefined || names.includes(name)) continue
    const near = nearest(name, names)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `The ${role} "${name}" is none of the runs ${names.join(', ')}.${near ? ` Did you mean "${near}"?` : ''}`,
    )
  }
  if (primary !== undefined && (baseline === undefined || primary === baseline))
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `The primary run "${primary}" needs a baseline other than itself, found ${baseline ?? 'none'}.`,
    )
}
