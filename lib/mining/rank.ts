/** Rankings of a pool's documents, and scores of pairs, by BM25 and by a model. */
import type { Colbert } from '../models/colbert.js'
import { Bm25 } from '../retrieval/bm25.js'
import type { Embeddings } from '../retrieval/embeddings.js'
import { maxsim } from '../retrieval/maxsim.js'
import { Best } from '../retrieval/top-k.js'
import { abortIf, Turns } from '../turns.js'
import type { Candidate } from './choose.js'
import type { Pool } from './pool.js'

/** Queries of a pool, some at a time. */
export interface Block {
  /** Queries first … last - 1. */
  readonly first: number
  readonly last: number
}

/** A query and a document whose score is asked for, by number. */
export interface Pair {
  readonly query: number
  readonly document: number
}

/** What a ranker found for a block of queries. */
export interface Ranked {
  /** Of each query the best documents to choose from, best first. */
  readonly hits: readonly (readonly Candidate[])[]
  /** Scores of the pairs that were asked for. */
  readonly scores: ArrayLike<number>
}

/** How many documents of each query are ranked, and which pairs are scored beside. */
export interface Asked {
  readonly limits: readonly number[]
  readonly pairs: readonly Pair[]
}

/** Ranks documents. */
export type Ranker = (block: Block, asked: Asked) => Promise<Ranked>

/** Told how many of how many documents, or queries, are through. */
export type Through = (done: number, total: number) => void

/** Options of everything here. */
export interface RankOptions {
  readonly microBatchTokens?: number
  readonly signal?: AbortSignal
}

/** Texts that a model did not take whole. */
export interface Truncated {
  truncatedQueries: number
  truncatedDocuments: number
}

/** BM25 over all documents of the pool; of those to choose from, only such as share a term with the query are ranked. */
export async function bm25Ranker(pool: Pool, signal: AbortSignal | undefined, through: Through): Promise<Ranker> {
  const index = await Bm25.build(pool.texts(0, pool.size), signal ? { signal } : {})
  const turns = new Turns()
  return async ({ first, last }, { limits, pairs }) => {
    const hits: Candidate[][] = []
    const scores = new Float64Array(pairs.length)
    let pair = 0
    for (let query = first; query < last; query++) {
      const all = index.scores(pool.queries[query]!)
      const best = new Best(limits[query - first]!)
      for (let document = 0; document < pool.corpus; document++)
        if (all[document]! > 0) best.offer(document, all[document]!)
      hits.push(best.sorted())
      for (; pair < pairs.length && pairs[pair]!.query === query; pair++) scores[pair] = all[pairs[pair]!.document]!
      if (turns.due) {
        abortIf(signal)
        through(query + 1, pool.queries.length)
        await turns.take()
      }
    }
    return { hits, scores }
  }
}

/** Exhaustive search by a model. Documents are encoded once for each block of queries, and not held. */
export function modelRanker(
  model: Colbert,
  pool: Pool,
  options: RankOptions,
  through: { search: Through; pairs: Through },
  truncated: Truncated,
): Ranker {
  return async (block, { limits, pairs }) => {
    const { first, last } = block
    const queries = await model.encodeQueries(pool.queries.slice(first, last), options)
    truncated.truncatedQueries += queries.truncated!
    let cut = 0
    async function* documents(): AsyncGenerator<Embeddings<'document'>> {
      let done = 0
      for await (const part of model.streamDocuments(pool.texts(0, pool.corpus), options)) {
        cut += part.truncated!
        done += part.offsets.length - 1
        yield part
        through.search(done, pool.corpus)
      }
    }
    const { signal } = options
    const hits = await model.search(queries, documents(), { topK: limits, ...(signal && { signal }) })
    truncated.truncatedDocuments = cut
    return { hits, scores: await scorePairs(model, queries, pool, block, pairs, options, through.pairs) }
  }
}

/** Scores of pairs of a block's queries: each document is encoded once, whatever the number of queries that have it. */
export async function scorePairs(
  model: Colbert,
  queries: Embeddings<'query'>,
  pool: Pool,
  { first }: Block,
  pairs: readonly Pair[],
  options: RankOptions,
  through: Through,
): Promise<Float32Array> {
  /** Of each document, the numbers of its pairs. */
  const askers = new Map<number, number[]>()
  for (const [pair, { document }] of pairs.entries()) {
    const known = askers.get(document)
    if (known) known.push(pair)
    else askers.set(document, [pair])
  }
  const documents = [...askers.keys()].sort((a, b) => a - b)
  function* texts(): Generator<string> {
    for (const document of documents) yield pool.text(document)
  }
  const { device, clampNegatives } = model
  const scores = new Float32Array(pairs.length)
  let done = 0
  for await (const part of model.streamDocuments(texts(), options)) {
    const asking = documents.slice(done, (done += part.offsets.length - 1)).map((document) => askers.get(document)!)
    const layout = asking.flatMap((numbers, d) => numbers.flatMap((pair) => [pairs[pair]!.query - first, d]))
    const found = await maxsim(queries, part, {
      ...{ layout: 'pairs', pairs: layout, device, clampNegatives },
      ...(options.signal && { signal: options.signal }),
    })
    for (const [i, pair] of asking.flat().entries()) scores[pair] = found[i]!
    through(done, documents.length)
  }
  return scores
}
