import { setImmediate } from 'node:timers/promises'
import { Bm25, type Bm25Options } from '../retrieval/bm25.js'
import type { Collection } from './collections.js'
import type { Run, ScoredId } from './metrics.js'

/**
 * BM25's run on a collection: the baseline that makes other numbers mean something. `topK` (default 1000) documents a
 * query; lets other work proceed between queries. Rejects with `signal`'s reason when it fires.
 */
export async function bm25Run(
  collection: Collection,
  options: Bm25Options & { readonly topK?: number; readonly signal?: AbortSignal } = {},
): Promise<Run> {
  const { topK = 1000, signal } = options
  const { documents, queries } = collection
  const index = new Bm25(documents.texts, options)
  const run = new Map<string, ScoredId[]>()
  for (let q = 0; q < queries.ids.length; q++) {
    if (q % 32 === 0) await setImmediate(undefined, { signal })
    const hits = index.search(queries.texts[q], topK)
    run.set(
      queries.ids[q],
      hits.map((hit) => ({ id: documents.ids[hit.index], score: hit.score })),
    )
  }
  return run
}
