import { signal as aSignal, checkOptions, whole } from '../options.js'
import { analyze, Bm25, type Bm25Options, bm25Options } from '../retrieval/bm25.js'
import { abortIf, Turns } from '../turns.js'
import type { Collection } from './collections.js'
import type { ScoredId, SystemRun } from './metrics.js'
import { beside } from './self.js'

/**
 * BM25's run on a collection: the baseline that makes other numbers mean something. `topK` (default 1000) documents a
 * query beside the query itself; lets other work proceed meanwhile.
 * Throws `AbortedError` (`ERR_ABORTED`) when `signal` fires.
 */
export async function bm25Run(
  collection: Collection,
  options: Bm25Options & { readonly topK?: number; readonly signal?: AbortSignal } = {},
): Promise<SystemRun> {
  checkOptions('bm25Run', options, { ...bm25Options, topK: whole(1), signal: aSignal })
  const { topK = 1000, signal, ...formula } = options
  const { documents, queries } = collection
  const own = beside(collection, topK)
  const index = await Bm25.build(documents.texts, formula)
  const run = new Map<string, ScoredId[]>()
  const turns = new Turns()
  let queriesWithoutTerms = 0
  for (const [q, id] of queries.ids.entries()) {
    if (turns.due) {
      abortIf(signal)
      await turns.take()
    }
    const terms = analyze(queries.texts[q]!)
    if (terms.length === 0) queriesWithoutTerms++
    const hits = index.searchTerms(terms, own.retrieved)
    run.set(id, own.kept(id, hits))
  }
  return { run, depth: own.depth, counts: { queriesWithoutTerms, documentsWithoutTerms: index.withoutTerms } }
}
