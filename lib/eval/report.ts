import { ArgumentError, nearest } from '../errors.js'
import { checkOptions, either, type Kinds, list, object, strings, text } from '../options.js'
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
} from '../retrieval/metrics.js'
import { type Collection, type CollectionCounts, collectionNotes, listed } from './collections.js'
import {
  differencesOf,
  holm,
  type Interval,
  macroInterval,
  macroTest,
  macroWeights,
  type ResampleOptions,
  resampleOptions,
  type TestResult,
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
  readonly collection?: string | ComparedCollection
}

/** What a comparison says of its collection. */
export interface ComparedCollection extends Pick<Collection, 'name' | 'counts'> {
  /** The split that was scored. */
  readonly split?: string
  /** A set of collections that count as one in a mean over several, as the forums of CQADupStack. */
  readonly set?: string
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
  /** The split that was scored. */
  readonly split?: string
  /** The set that it belongs to; collections of one set count as one in `macroMean`. */
  readonly set?: string
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
  /** Their ids, in the order of `perQuery`. */
  readonly queryIds: readonly string[]
  /** Of the bootstrap and of the tests. */
  readonly resamples: number
  /** Of the resampling. */
  readonly seed: number
  /** One per run, in the order given. */
  readonly rows: readonly ComparisonRow[]
}

/** Means of one run, and how they compare. */
export interface MeanRow {
  /** The run's name. */
  readonly name: string
  /** Mean and 95 % bootstrap interval over queries of each metric. */
  readonly scores: Readonly<Record<string, Interval>>
  /** Against the baseline, on the first metric: row minus baseline. Absent for the baseline itself. */
  readonly test?: {
    /** Mean of the row minus that of the baseline. */
    readonly difference: number
    /** Lower end of its 95 % bootstrap interval, paired by query. */
    readonly low: number
    /** Upper end. */
    readonly high: number
    /** Two-sided paired randomization test, not corrected. */
    readonly p: number
    /** Holm-corrected over the rows that are not primary; equal to `p` for the primary row. */
    readonly adjusted: number
  }
}

/** One run of a comparison. */
export interface ComparisonRow extends MeanRow {
  /** By metric, a value for each query, in the order of `queryIds`. */
  readonly perQuery: Readonly<Record<string, readonly number[]>>
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
  const evaluations = runs.map(({ run, ...row }) => ({ ...row, evaluation: evaluate(run, qrels, metrics, ranking) }))
  const measured = evaluations.map(({ name, evaluation: { perQuery } }) => ({
    name,
    values: (metric: string) => [perQuery[metric]!],
  }))
  const means = meanRows(measured, { metrics, baseline, primary, resamples, seed, weights: [1] })
  const rows = evaluations.map(
    ({ depth, counts, evaluation }, i): ComparisonRow => ({
      ...means[i]!,
      perQuery: Object.fromEntries(metrics.map((metric) => [metric, [...evaluation.perQuery[metric]!]])),
      ...(depth !== undefined && { depth }),
      counts: { ...evaluation.counts, ...counts },
    }),
  )
  const { collection } = options
  const about = typeof collection === 'string' ? { collection } : collection && describedBy(collection)
  const queryIds = [...qrels.keys()]
  return { ...about, metrics, baseline, primary, queries: qrels.size, queryIds, resamples, seed, rows }
}

const describedBy = ({ name, counts, split, set }: ComparedCollection) => ({
  collection: name,
  ...(split !== undefined && { split }),
  ...(set !== undefined && { set }),
  collectionCounts: counts,
})

/** Means over collections, by their shares, of what each run has of each collection. */
function meanRows(
  runs: readonly { name: string; values(metric: string): readonly ArrayLike<number>[] }[],
  options: Pick<Comparison, 'metrics' | 'baseline' | 'primary' | 'resamples' | 'seed'> & { weights: readonly number[] },
): MeanRow[] {
  const { metrics, baseline, primary, resamples, seed, weights } = options
  const resampling = { resamples, seed, weights }
  const main = metrics[0]!
  const reference = runs.find(({ name }) => name === baseline)?.values(main)
  const tests = new Map<string, TestResult & Pick<Interval, 'low' | 'high'>>()
  for (const { name, values } of reference ? runs : []) {
    if (name === baseline) continue
    const own = values(main)
    const { low, high } = macroInterval(
      own.map((value, c) => differencesOf(value, reference![c]!)),
      resampling,
    )
    tests.set(name, { ...macroTest(own, reference!, resampling), low, high })
  }
  const family = [...tests].filter(([name]) => name !== primary)
  const corrected = holm(family.map(([, test]) => test.p))
  const adjusted = new Map(family.map(([name], i) => [name, corrected[i]!]))
  return runs.map(({ name, values }): MeanRow => {
    const scores = Object.fromEntries(metrics.map((metric) => [metric, macroInterval(values(metric), resampling)]))
    const test = tests.get(name)
    return { name, scores, ...(test && { test: { ...test, adjusted: adjusted.get(name) ?? test.p } }) }
  })
}

/** Means over several collections. Plain data. */
export interface MacroComparison
  extends Pick<Comparison, 'metrics' | 'baseline' | 'primary' | 'queries' | 'resamples' | 'seed'> {
  /** What the mean is over, each with an equal share: collections, and sets of them, which are the mean of theirs. */
  readonly parts: readonly {
    /** Of the collection, or of the set. */
    readonly name: string
    /** Names of the collections of a set. */
    readonly collections?: readonly string[]
  }[]
  /** What should be in the mean and is not, and why. */
  readonly missing: readonly MissingCollection[]
  /** One per run, in their order. */
  readonly rows: readonly MeanRow[]
}

/** A collection that cannot be had. */
export interface MissingCollection {
  /** Its name. */
  readonly name: string
  /** Why, in words. */
  readonly reason: string
}

/**
 * The mean of runs over collections: the unweighted mean of their means (macro-mean), as benchmarks report it. Collections
 * of one set count as one. Intervals and tests are over queries, drawn and swapped within each collection; a run is compared
 * with the baseline query by query, as in each of the comparisons.
 * @param comparisons of the same runs, by the same metrics, one a collection
 * @param options `missing`: what should be in the mean and is not
 * Throws `ArgumentError` (`ERR_ARGUMENT`) for none, or ones of other runs, metrics or resampling.
 */
export function macroMean(
  comparisons: readonly Comparison[],
  options: { missing?: readonly MissingCollection[] } = {},
): MacroComparison {
  checkOptions('macroMean', options, { missing: list(object) })
  const [first] = comparisons
  if (!first) throw new ArgumentError('ERR_ARGUMENT', 'macroMean: no comparisons were given, expected one at least.')
  const { metrics, baseline, primary, resamples, seed } = first
  const shape = (c: Comparison): string =>
    JSON.stringify([c.rows.map(({ name }) => name), c.metrics, c.baseline, c.primary, c.resamples, c.seed])
  const other = comparisons.find((comparison) => shape(comparison) !== shape(first))
  if (other)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `macroMean: ${shape(other)} of ${other.collection} is not ${shape(first)} of ${first.collection}; expected the same ` +
        'runs, metrics, baseline and resampling on every collection.',
    )
  const bare = comparisons.find(({ rows }) => !rows.every(({ perQuery }) => perQuery))
  if (bare)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `macroMean: the rows of ${bare.collection} have no values by query (perQuery)`,
    )
  const names = comparisons.map(({ collection }, i) => collection ?? `collection ${i + 1}`)
  const weights = macroWeights(comparisons.map(({ set }) => set))
  const sets = new Map<string, string[]>()
  for (const [i, { set }] of comparisons.entries())
    if (set !== undefined) sets.set(set, [...(sets.get(set) ?? []), names[i]!])
  const runs = first.rows.map(({ name }, r) => ({
    name,
    values: (metric: string) => comparisons.map(({ rows }) => rows[r]!.perQuery[metric]!),
  }))
  return {
    parts: comparisons.flatMap(({ set }, i) => {
      if (set === undefined) return [{ name: names[i]! }]
      const own = sets.get(set)!
      return own[0] === names[i] ? [{ name: set, collections: own }] : []
    }),
    missing: options.missing ?? [],
    ...{ metrics, baseline, primary, resamples, seed },
    queries: comparisons.reduce((sum, { queries }) => sum + queries, 0),
    rows: meanRows(runs, { metrics, baseline, primary, resamples, seed, weights }),
  }
}

/** The comparison, or the mean, as an aligned text table with notes, for a terminal. */
export function formatText(comparison: Comparison | MacroComparison): string {
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

/** The comparison, or the mean, as a Markdown table with notes. */
export function formatMarkdown(comparison: Comparison | MacroComparison): string {
  const { header, body } = cells(comparison)
  const line = (row: readonly string[]) => `| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  const rule = header.map((_, c) => (c === 0 ? '---' : '---:'))
  const list = notes(comparison).map((note) => `- ${note}`)
  return `${[`**${title(comparison)}**`, '', line(header), line(rule), ...body.map(line), '', ...list].join('\n')}\n`
}

const isMean = (comparison: Comparison | MacroComparison): comparison is MacroComparison => 'parts' in comparison

function cells({
  metrics,
  baseline,
  primary,
  rows,
}: Pick<MacroComparison, 'metrics' | 'baseline' | 'primary' | 'rows'>): {
  header: string[]
  body: string[][]
} {
  const header = ['run', ...metrics.map((metric, m) => (m === 0 ? `${label(metric)} [95 %]` : label(metric)))]
  if (baseline !== undefined) header.push(`Δ ${label(metrics[0])} [95 %]`, 'p')
  const body = rows.map(({ name, scores, test }) => {
    const row = [name]
    metrics.forEach((metric, m) => {
      const { mean, low, high } = scores[metric]
      row.push(m === 0 ? `${mean.toFixed(4)} [${low.toFixed(4)}, ${high.toFixed(4)}]` : mean.toFixed(4))
    })
    if (test)
      row.push(
        `${signed(test.difference)} [${signed(test.low)}, ${signed(test.high)}]`,
        `${test.adjusted.toFixed(4)}${name === primary ? ' *' : ''}`,
      )
    else if (baseline !== undefined) row.push('baseline', '')
    return row
  })
  return { header, body }
}

function title(comparison: Comparison | MacroComparison): string {
  const { queries } = comparison
  const judged = `${queries} judged ${queries === 1 ? 'query' : 'queries'}`
  if (isMean(comparison)) return `Mean over ${comparison.parts.length} collections: ${judged}`
  const { collection, split = 'test' } = comparison
  return `${collection ? `${collection}${split === 'test' ? '' : `, ${split}`}: ` : ''}${judged}`
}

function notes(comparison: Comparison | MacroComparison): string[] {
  const { baseline, primary, resamples, seed } = comparison
  const how = `(${resamples} resamples, seed ${seed})`
  const lines = [
    isMean(comparison)
      ? `Unweighted mean of the means of the collections; 95 % bootstrap intervals over the queries of each ${how}.`
      : `Means over all judged queries; 95 % bootstrap intervals ${how}.`,
  ]
  if (baseline !== undefined) {
    const star = primary === undefined ? 'Holm-corrected.' : '* primary test, not corrected; the others Holm-corrected.'
    lines.push(`p: two-sided paired randomization test against ${baseline} (${resamples} resamples). ${star}`)
  }
  return [...lines, ...(isMean(comparison) ? partNotes(comparison) : collectionLines(comparison))]
}

function partNotes({ parts, missing }: MacroComparison): string[] {
  const reasons = new Map<string, string[]>()
  for (const { name, reason } of missing) reasons.set(reason, [...(reasons.get(reason) ?? []), name])
  return [
    ...parts.flatMap(({ name, collections }) =>
      collections ? [`${name}: the mean of its ${collections.length} collections counts as one.`] : [],
    ),
    ...[...reasons].map(([reason, names]) => `Missing: ${names.join(', ')} (${reason}).`),
  ]
}

function collectionLines({ rows, metrics, collectionCounts }: Comparison): string[] {
  const lines: string[] = []
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
