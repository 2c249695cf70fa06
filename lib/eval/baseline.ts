import { signal as aSignal, checkOptions, func, whole } from '../options.js'
import type { OnProgress } from '../progress.js'
import { analyze, Bm25, type Bm25Options, bm25Options } from '../retrieval/bm25.js'
import type { ScoredId, SystemRun } from '../retrieval/metrics.js'
import { abortIf, Turns } from '../turns.js'
import type { Collection } from './collections.js'
import { beside } from './self.js'

/**
 * BM25's run on a collection: the baseline that makes other numbers mean something. `topK` (default 1000) documents a
 * query beside the query itself; lets other work proceed meanwhile. `onProgress` is told how many documents are indexed, then
 * how many queries are answered.
 * Throws `AbortedError` (`ERR_ABORTED`) when `signal` fires.
 */
export async function bm25Run(
  collection: Collection,
  options: Bm25Options & {
    readonly topK?: number
    readonly signal?: AbortSignal
    readonly onProgress?: OnProgress
  } = {},
): Promise<SystemRun> {
  checkOptions('bm25Run', options, { ...bm25Options, topK: whole(1), signal: aSignal, onProgress: func })
  const { topK = 1000, signal, onProgress, ...formula } = options
  const { documents, queries } = collection
  const own = beside(collection, topK)
  const about = { name: collection.name, part: 'by BM25' }
  const index = await Bm25.build(documents.texts, {
    ...{ ...formula, signal },
    ...(onProgress && { onProgress: (found) => onProgress({ ...found, ...about, total: documents.ids.length }) }),
  })
  const run = new Map<string, ScoredId[]>()
  const turns = new Turns()
  let queriesWithoutTerms = 0
  for (const [q, id] of queries.ids.entries()) {
    if (turns.due) {
      abortIf(signal)
      onProgress?.({ ...{ ...about, stage: 'evaluating', done: q }, total: queries.ids.length, unit: 'queries' })
      await turns.take()
    }
    const terms = analyze(queries.texts[q]!)
    if (terms.length === 0) queriesWithoutTerms++
    const hits = index.searchTerms(terms, own.retrieved)
    run.set(id, own.kept(id, hits))
  }
  return { run, depth: own.depth, counts: { queriesWithoutTerms, documentsWithoutTerms: index.withoutTerms } }
}
