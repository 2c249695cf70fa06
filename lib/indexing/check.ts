import { ArgumentError } from '../errors.js'
import { slice } from '../retrieval/embeddings.js'
import { evaluate } from '../retrieval/metrics.js'
import { abortIf } from '../turns.js'
import { withoutWords } from './first-stage.js'
import type { SearchSetting } from './manifest.js'
import type { CheckOptions, Judgments } from './options.js'
import {
  type Asked,
  candidatesFor,
  type IndexHit,
  type IndexSearchOptions,
  probesFor,
  searchSnapshot,
} from './search.js'
import type { Snapshot } from './snapshot.js'

/** What a way to search found of what scoring every document finds. */
export interface CheckedSetting {
  /** Null: every document is scored. */
  probes: number | null
  /** Null as `probes`. */
  candidates: number | null
  /** Share of the exact hits. */
  recall: number
  /** nDCG@topK by the judgments; null where there are none. */
  ndcg: number | null
  /** Median of a query, searched alone. */
  milliseconds: number
}

/** What BM25's candidates have of the exact hits. */
export interface CheckedFirstStage {
  /** Of each query, that are scored exactly. */
  candidates: number
  /** Share of the exact hits. */
  recall: number
  /** nDCG@topK by the judgments; null where there are none. */
  ndcg: number | null
  /** Median of a query, searched alone. */
  milliseconds: number
}

/** What `Index.check` found. */
export interface CheckResult {
  /** That were tried. */
  queries: number
  /** Hits of each that were compared. */
  topK: number
  /** Share of the exact hits that was asked for. */
  target: number
  /** nDCG@topK where every document is scored: what `ndcg` of the settings is to be compared with. Null as theirs. */
  ndcg: number | null
  /** Judged documents that the index does not have; nothing finds them. */
  missingJudged: number
  /** In the order in which they were tried; the last is what the index is searched by from now on. */
  settings: CheckedSetting[]
  /**
   * What `firstStage: 'bm25'` finds; no search goes by it unless it asks. Empty where queries are no texts, or documents have
   * none.
   */
  bm25: CheckedFirstStage[]
  /** As of `IndexInfo`: what residual codes keep of it, before any way to search; recall is of what they find. */
  codesRecall: number | null
  /** Whether the hits of the index's large segments come from candidates; else every document is scored. */
  approximate: boolean
}

/**
 * Shares of the probes and candidates that searches have by default, from cheap to thorough: of few documents 8 and 200 to
 * 128 and 5000.
 */
const ladder = [
  [0.5, 0.4],
  [1, 1],
  [2, 2],
  [4, 4],
  [8, 10],
] as const

/** Candidates by words. */
const wordLadder = [100, 300, 1000] as const

interface SnapshotCheck
  extends Required<Pick<CheckOptions, 'topK' | 'target'>>,
    Pick<CheckOptions, 'judgments' | 'signal' | 'onProgress'> {}

/** Tries ways to search until one finds `target` of the exact hits; scoring every document is the last. */
export async function checkSnapshot(
  snapshot: Snapshot,
  { embeddings: queries, texts }: Asked,
  { topK, target, judgments, signal, onProgress }: SnapshotCheck,
): Promise<{ result: CheckResult; setting: SearchSetting }> {
  const count = queries.offsets.length - 1
  const each = Array.from({ length: count }, (_, query) => ({
    embeddings: {
      ...slice(queries, { first: query, last: query + 1 }),
      ...{ role: 'query' as const, ...(queries.recipe && { recipe: queries.recipe }) },
    },
    texts: texts && [texts[query]!],
  }))
  const run = async (part: string, way: IndexSearchOptions) => {
    const hits: IndexHit[][] = []
    const times: number[] = []
    for (const [done, query] of each.entries()) {
      onProgress?.({ stage: 'searching', part, done, total: count, unit: 'queries' })
      abortIf(signal)
      const started = performance.now()
      hits.push((await searchSnapshot(snapshot, query, { topK, ...way, ...(signal && { signal }) }))[0]!)
      times.push(performance.now() - started)
    }
    return { hits, milliseconds: times.sort((a, b) => a - b)[count >> 1]! }
  }
  if (judgments && judgments.length !== count)
    throw new ArgumentError('ERR_ARGUMENT', `check: judgments of ${judgments.length} queries for ${count}`)
  const exact = await run('every document', { exact: true })
  const measured = ({ hits, milliseconds }: typeof exact) => ({
    ...{ recall: recallOf(hits, exact.hits), ndcg: judgments ? ndcgOf(hits, judgments, topK) : null, milliseconds },
  })
  const all = measured(exact)
  const settings: CheckedSetting[] = []
  const hasLists = snapshot.segments.some(({ lists }) => lists !== null)
  const { documents } = snapshot.counts
  for (const [ofProbes, ofCandidates] of hasLists ? ladder : []) {
    const probes = Math.ceil(ofProbes * probesFor(documents))
    const candidates = Math.ceil(ofCandidates * candidatesFor(documents))
    const way = { probes, candidates }
    settings.push({ ...way, ...measured(await run(`${probes} probes, ${candidates} candidates`, way)) })
    if (settings.at(-1)!.recall >= target) break
  }
  const bm25: CheckedFirstStage[] = []
  for (const candidates of texts && withoutWords(snapshot) === 0 ? wordLadder : []) {
    const way = { firstStage: 'bm25', candidates } as const
    bm25.push({ candidates, ...measured(await run(`BM25, ${candidates} candidates`, way)) })
  }
  const approximate = settings.length > 0 && settings.at(-1)!.recall >= target
  if (!approximate) settings.push({ probes: null, candidates: null, ...all })
  const { probes, candidates, recall } = settings.at(-1)!
  const missingJudged = judgments ? await missingOf(snapshot, judgments) : 0
  return {
    result: {
      ...{ queries: count, topK, target, ndcg: all.ndcg, missingJudged, settings, bm25 },
      ...{ codesRecall: snapshot.codesRecall, approximate },
    },
    setting: { probes, candidates, recall, target, topK, queries: count, documents },
  }
}

/** Share of the exact hits that were found; of documents with equal scores any will do. */
function recallOf(found: readonly IndexHit[][], exact: readonly IndexHit[][]): number {
  let [same, all] = [0, 0]
  for (const [query, hits] of exact.entries()) {
    const least = hits.at(-1)?.score ?? 0
    all += hits.length
    same += found[query]!.filter(({ score }) => score >= least).length
  }
  return all > 0 ? same / all : 1
}

/** Mean over all queries. */
function ndcgOf(hits: readonly IndexHit[][], judgments: Judgments, topK: number): number {
  const run = new Map(hits.map((list, query) => [String(query), list]))
  const qrels = new Map(judgments.map((judged, query) => [String(query), judged]))
  const metric = `ndcg@${topK}` as const
  return evaluate(run, qrels, [metric]).means[metric]!
}

async function missingOf({ segments }: Snapshot, judgments: Judgments): Promise<number> {
  const missing = new Set(judgments.flatMap((judged) => [...judged.keys()]))
  for (const segment of segments)
    for (const document of await segment.numbersOf([...missing])) missing.delete(segment.id(document))
  return missing.size
}
