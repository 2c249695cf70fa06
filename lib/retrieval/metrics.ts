import { ArgumentError, DataError, nearest } from '../errors.js'
import { checkOptions, flag, type Kinds, oneOf } from '../options.js'
import { atOnce } from '../turns.js'

/** One retrieved document. Higher scores are better. */
export interface ScoredId {
  /** The document's id. */
  readonly id: string
  /** Its score. */
  readonly score: number
}
/** What a system retrieved: query id → documents, in any order (the scores order them). */
export type TrecRun = ReadonlyMap<string, readonly ScoredId[]>
/** Documents a query for which a run has room; `all`: any document may be in it. */
export type Depth = number | 'all'
/** A run and what is to be known of how it came about: a row of `compareRuns` takes all of it. */
export interface SystemRun {
  /** What was retrieved. */
  readonly run: TrecRun
  /** For how many documents per query it had room. */
  readonly depth: Depth
  /** Texts that the system did not read as a whole. */
  readonly counts: RunCounts
}
/** Texts whose ends, or all of whose words, a system did not read. */
export interface RunCounts {
  /** Texts longer than the model's recipe takes. */
  readonly truncatedQueries?: number
  /** As `truncatedQueries`, of documents. */
  readonly truncatedDocuments?: number
  /** Texts in which BM25 finds no term: no result for such a query, such a document is in no result. */
  readonly queriesWithoutTerms?: number
  /** As `queriesWithoutTerms`, of documents. */
  readonly documentsWithoutTerms?: number
}
/** Judgments: query id → document id → integer grade. 0 and below mean not relevant. */
export type Qrels = ReadonlyMap<string, ReadonlyMap<string, number>>

const kinds = ['ndcg', 'map', 'mrr', 'recall', 'precision', 'success'] as const
type Kind = (typeof kinds)[number]
/** `ndcg@10`, `map@100`, …; without `@k` the whole ranking counts (not for `precision` and `success`). */
export type Metric = `${Kind}@${number}` | 'ndcg' | 'map' | 'mrr' | 'recall'

/** How hits are ordered before they are judged. */
export interface RankOptions {
  /**
   * Precision at which scores are compared; equal scores are ties. `float32` (default) is what trec_eval up to 9.0.8,
   * pytrec_eval and so the public leaderboards do; `float64` is trec_eval 10.
   */
  readonly scorePrecision?: 'float32' | 'float64'
  /**
   * Drop a hit whose document id equals the query id, before any cut (BEIR's `ignore_identical_ids`; default true).
   * Needed for collections whose queries are documents: `modelRun` and `bm25Run` keep one document more of those.
   */
  readonly ignoreIdenticalIds?: boolean
}

export const rankOptions: Kinds<RankOptions> = { scorePrecision: oneOf('float32', 'float64'), ignoreIdenticalIds: flag }

/** Metrics of a run. */
export interface Evaluation {
  /** Query ids in the order of the judgments: the order of every `perQuery` array. */
  readonly queries: readonly string[]
  /** By metric, a value for each query, in the order of `queries`. */
  readonly perQuery: Readonly<Record<string, Float64Array>>
  /** Means over all judged queries. */
  readonly means: Readonly<Record<string, number>>
  /** What the means are over, and what was ignored. */
  readonly counts: EvaluationCounts
}

/** Counts of an evaluation. */
export interface EvaluationCounts {
  /** Judged queries: the denominator of every mean. */
  readonly queries: number
  /** Judged queries for which the run holds nothing. They count as 0. */
  readonly withoutResults: number
  /** Queries of the run that have no judgments. They are ignored. */
  readonly withoutJudgments: number
  /** Judged queries with no grade above 0. They count as 0. */
  readonly withoutRelevant: number
  /**
   * Queries that lost a hit to `ignoreIdenticalIds`. Where queries are no documents but both are numbered from 1
   * (Cranfield, CACM), such hits are accidents: set `ignoreIdenticalIds: false` there.
   */
  readonly droppedIdentical: number
  /** Judged pairs with a grade below 0. They count as not relevant. */
  readonly negativeGrades: number
  /** Relevant documents, over all judged queries, that the run does not hold. */
  readonly unretrieved: number
  /** Documents in the longest list of the run, hits with the query's id aside: no metric looks deeper. */
  readonly depth: number
  /** Judged queries with fewer documents than the deepest cut. */
  readonly shallow: number
}

/**
 * Scores a run as `trec_eval -c` does: means over all queries of the judgments, a missing query counting 0; unjudged
 * documents and grades below 0 gain nothing.
 *
 * - `ndcg@k`: gain is the grade itself, discount 1 / log2(rank + 1), ideal ranking cut at the same k (`ndcg_cut`).
 * - `map@k`: precision at each relevant rank ≤ k, summed, over the number of relevant documents (`map_cut`).
 * - `mrr@k`: 1 / rank of the first relevant document, 0 beyond k. `success@k`: 1 if there is one within k.
 * - `recall@k` over all relevant documents; `precision@k` over k, also when fewer were retrieved (`P`).
 *
 * Throws `DataError` (`ERR_DATA`) for a document listed twice for one query, a score that is no number, a grade that is
 * no integer and empty judgments; `ArgumentError` (`ERR_ARGUMENT`) for an unknown metric.
 */
export function evaluate(
  run: TrecRun,
  qrels: Qrels,
  metrics: readonly Metric[],
  options: RankOptions = {},
): Evaluation {
  return atOnce(evaluation(run, qrels, metrics, options))
}

/** The same, with a yield after each query. */
export function* evaluation(
  run: TrecRun,
  qrels: Qrels,
  metrics: readonly Metric[],
  options: RankOptions = {},
): Generator<void, Evaluation> {
  checkOptions('evaluate', options, rankOptions)
  const parsed = metrics.map(parseMetric)
  if (parsed.length === 0) throw new ArgumentError('ERR_ARGUMENT', 'No metric was given. Expected one as "ndcg@10".')
  if (qrels.size === 0)
    throw new DataError('ERR_DATA', 'The judgments hold no query, so there is nothing to average. Check the split.')
  const depth = Math.max(...parsed.map((metric) => metric.cut))
  const values = parsed.map(() => new Float64Array(qrels.size))
  const finite = Math.max(0, ...parsed.map(({ cut }) => cut).filter(Number.isFinite))
  const counts = { withoutResults: 0, withoutRelevant: 0, droppedIdentical: 0, negativeGrades: 0 }
  let [unretrieved, deepest, shallow, row] = [0, 0, 0, 0]
  for (const [query, judged] of qrels) {
    const ideal = idealGains(query, judged)
    const hits = run.get(query) ?? []
    const ranking = rankHits(query, hits, options)
    const gains = ranking.slice(0, depth).map((hit) => Math.max(0, judged.get(hit.id) ?? 0))
    if (hits.length === 0) counts.withoutResults++
    if (ideal.length === 0) counts.withoutRelevant++
    if (ranking.length < hits.length) counts.droppedIdentical++
    for (const grade of judged.values()) if (grade < 0) counts.negativeGrades++
    unretrieved += ideal.length - ranking.reduce((found, { id }) => found + Number((judged.get(id) ?? 0) > 0), 0)
    deepest = Math.max(deepest, ranking.length)
    if (ranking.length < finite) shallow++
    for (let m = 0; m < parsed.length; m++) values[m][row] = formulas[parsed[m].kind](gains, ideal, parsed[m].cut)
    row++
    yield
  }
  let withoutJudgments = 0
  for (const query of run.keys()) if (!qrels.has(query)) withoutJudgments++
  return {
    queries: [...qrels.keys()],
    perQuery: Object.fromEntries(metrics.map((metric, m) => [metric, values[m]])),
    means: Object.fromEntries(metrics.map((metric, m) => [metric, mean(values[m])])),
    counts: { queries: qrels.size, withoutJudgments, ...counts, unretrieved, depth: deepest, shallow },
  }
}

/**
 * A query's documents in trec_eval's order: score falling, equal scores by id falling in UTF-8 byte order.
 * Throws `DataError` (`ERR_DATA`) for a document listed twice or a score that is no number.
 */
export function rankHits(query: string, hits: readonly ScoredId[], options: RankOptions = {}): ScoredId[] {
  checkOptions('rankHits', options, rankOptions)
  const { scorePrecision = 'float32', ignoreIdenticalIds = true } = options
  const seen = new Set<string>()
  const ranking: { id: string; score: number; hit: ScoredId }[] = []
  for (const hit of hits) {
    if (typeof hit.score !== 'number' || Number.isNaN(hit.score))
      throw new DataError(
        'ERR_DATA',
        `Query "${query}", document "${hit.id}": the score is ${hit.score}, expected a number.`,
        { query, id: hit.id },
      )
    if (seen.size === seen.add(hit.id).size)
      throw new DataError(
        'ERR_DATA',
        `Query "${query}" lists document "${hit.id}" twice, expected once. Remove one of the two.`,
        { query, id: hit.id },
      )
    if (ignoreIdenticalIds && hit.id === query) continue
    ranking.push({ id: hit.id, score: scorePrecision === 'float32' ? Math.fround(hit.score) : hit.score, hit })
  }
  // Not b.score - a.score: that is NaN for two infinities.
  ranking.sort((a, b) => (a.score === b.score ? compareUtf8(b.id, a.id) : a.score > b.score ? -1 : 1))
  return ranking.map((entry) => entry.hit)
}

/** Order of two strings by their UTF-8 bytes (= by code point), negative if `a` comes first. */
export function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x === y) continue
    // UTF-16 puts surrogates (code points from 0x10000) before 0xE000-0xFFFF; UTF-8 puts them after.
    return isSurrogate(x) === isSurrogate(y) ? x - y : isSurrogate(x) ? 1 : -1
  }
  return a.length - b.length
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdfff
}

/** Splits `ndcg@10` into kind and cut (`Infinity` without `@k`). Throws `ArgumentError` (`ERR_ARGUMENT`). */
export function parseMetric(metric: string): {
  /** As `ndcg`. */
  kind: Kind
  /** k, or infinity without `@k`. */
  cut: number
} {
  const [, name, digits] = /^([a-z]+)(?:@([1-9]\d*))?$/.exec(metric) ?? []
  const kind = kinds.find((known) => known === name)
  const cut = digits === undefined ? Number.POSITIVE_INFINITY : Number(digits)
  if (kind === undefined || (cut === Number.POSITIVE_INFINITY && (kind === 'precision' || kind === 'success'))) {
    const [head, tail] = metric.split('@')
    const near = nearest(head.toLowerCase(), kinds)
    const hint = near ? ` Did you mean "${near}@${Number.parseInt(tail, 10) || 10}"?` : ''
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `Found the metric "${metric}", expected one of ${kinds.join(', ')} with a cut, as "ndcg@10".${hint}`,
      { metric },
    )
  }
  return { kind, cut }
}

/** Documents a query that metrics look at: their deepest cut, and no fewer than 1,000 for one without a cut. */
export function depthOf(metrics: readonly string[]): number {
  return Math.max(...metrics.map(parseMetric).map(({ cut }) => (Number.isFinite(cut) ? cut : 1000)))
}

/** All grades above 0, falling: the best ranking there could be. Its length is the number of relevant documents. */
function idealGains(query: string, judged: ReadonlyMap<string, number>): number[] {
  const gains: number[] = []
  for (const [id, grade] of judged) {
    if (!Number.isInteger(grade))
      throw new DataError(
        'ERR_DATA',
        `Query "${query}", document "${id}": the grade is ${grade}, expected an integer.`,
        {
          query,
          id,
        },
      )
    if (grade > 0) gains.push(grade)
  }
  return gains.sort((a, b) => b - a)
}

type Formula = (gains: readonly number[], ideal: readonly number[], cut: number) => number

const formulas: Record<Kind, Formula> = {
  ndcg: (gains, ideal, cut) => (ideal.length === 0 ? 0 : discounted(gains, cut) / discounted(ideal, cut)),
  map: (gains, ideal, cut) => {
    let found = 0
    let sum = 0
    for (let i = 0; i < gains.length && i < cut; i++) if (gains[i] > 0) sum += ++found / (i + 1)
    return ideal.length === 0 ? 0 : sum / ideal.length
  },
  mrr: (gains, _ideal, cut) => {
    const first = gains.findIndex((gain) => gain > 0)
    return first >= 0 && first < cut ? 1 / (first + 1) : 0
  },
  recall: (gains, ideal, cut) => (ideal.length === 0 ? 0 : relevantWithin(gains, cut) / ideal.length),
  precision: (gains, _ideal, cut) => relevantWithin(gains, cut) / cut,
  success: (gains, _ideal, cut) => (relevantWithin(gains, cut) > 0 ? 1 : 0),
}

function discounted(gains: readonly number[], cut: number): number {
  let sum = 0
  for (let i = 0; i < gains.length && i < cut; i++) sum += gains[i] / Math.log2(i + 2)
  return sum
}

function relevantWithin(gains: readonly number[], cut: number): number {
  let count = 0
  for (let i = 0; i < gains.length && i < cut; i++) if (gains[i] > 0) count++
  return count
}

export function mean(values: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]
  return sum / values.length
}
