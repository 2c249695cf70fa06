/** What ranks a pool's documents for a block of queries, and scores pairs beside: BM25, and a model. */
import type { Colbert } from '../models/colbert.js'
import type { EncodeOptions } from '../models/encode.js'
import { type AskedDocument, scorePairs } from '../models/score-pairs.js'
import type { Progress } from '../progress.js'
import type { Range } from '../ragged.js'
import { Bm25 } from '../retrieval/bm25.js'
import type { Embeddings } from '../retrieval/embeddings.js'
import { Best, type Scored } from '../retrieval/top-k.js'
import { abortIf, Turns } from '../turns.js'
import type { Pool } from './pool.js'

/** A query and a document whose score is asked for, by number. */
export interface Pair {
  readonly query: number
  readonly document: number
}

/** What is asked for a block of queries, [first, last). */
export interface Asked {
  readonly block: Range
  /** Of each query, how many documents are ranked. */
  readonly limits: readonly number[]
  /** Scored beside, whether they rank or not. In the order of their queries. */
  readonly pairs: readonly Pair[]
}

/** What is found. */
export interface Ranked {
  /** Of each query the best documents to choose from, best first; equal scores by number. */
  readonly hits: readonly (readonly Scored[])[]
  /** Of each pair. */
  readonly scores: ArrayLike<number>
  /** Queries that were cut, and documents to choose from. */
  readonly truncated: { readonly queries: number; readonly documents: number }
}

/** Ranks documents for blocks of queries, which come one after another. */
export type Ranker = (asked: Asked) => Promise<Ranked>

/** Told how many of how many are through. */
export type Through = (done: number, total: number) => void

/** The same where nobody may know of how many. */
type Passing = (done: number, total?: number) => void

/** BM25 over all documents of the pool. What shares no term with a query has no rank. */
export async function bm25Ranker(
  pool: Pool,
  { indexing, searching }: { indexing: Passing; searching: Through },
  signal: AbortSignal | undefined,
): Promise<Ranker> {
  const onProgress = ({ done }: Progress) => indexing(done, pool.size)
  const index = await Bm25.build(pool.texts(0, pool.size), { signal, onProgress })
  const turns = new Turns()
  return async ({ block, limits, pairs }) => {
    const hits: Scored[][] = []
    const scores = new Float64Array(pairs.length)
    let pair = 0
    for (let query = block.first; query < block.last; query++) {
      const all = index.scores(pool.queries[query]!)
      const best = new Best(limits[query - block.first]!)
      for (let document = 0; document < pool.corpus; document++)
        if (all[document]! > 0) best.offer(document, all[document]!)
      hits.push(best.sorted())
      for (; pairs[pair]?.query === query; pair++) scores[pair] = all[pairs[pair]!.document]!
      if (!turns.due) continue
      abortIf(signal)
      searching(query + 1, pool.queries.length)
      await turns.take()
    }
    return { hits, scores, truncated: { queries: 0, documents: 0 } }
  }
}

/** A model's exhaustive search. Documents are encoded once for each block of queries, and not held. */
export function modelRanker(
  model: Colbert,
  pool: Pool,
  told: { encoding: Passing; searching: Through; scoring: Through },
  options: EncodeOptions,
): Ranker {
  return async ({ block: { first, last }, limits, pairs }) => {
    const onProgress = ({ stage, done, total }: Progress) => stage === 'encoding' && told.encoding(done, total)
    const queries = await model.encodeQueries(pool.queries.slice(first, last), { ...options, onProgress })
    const truncated = { queries: queries.truncated!, documents: 0 }
    async function* documents(): AsyncGenerator<Embeddings<'document'>> {
      let done = 0
      for await (const part of model.streamDocuments(pool.texts(0, pool.corpus), options)) {
        truncated.documents += part.truncated!
        done += part.offsets.length - 1
        yield part
        told.searching(done, pool.corpus)
      }
    }
    const hits = await model.search(queries, documents(), { topK: limits, signal: options.signal })
    // A pair whose document was found has its score.
    const found = pairs.map(
      ({ query, document }) => hits[query - first]!.find(({ index }) => index === document)?.score,
    )
    const others = pairs.filter((_, pair) => found[pair] === undefined)
    const { scores } = await scoresOf(model, queries, pool, { first, pairs: others }, told.scoring, options)
    let other = 0
    return { hits, scores: found.map((score) => score ?? scores[other++]!), truncated }
  }
}

/** A model's scores of pairs, and how many documents were cut for them. @param queries those from number `first` on */
export async function scoresOf(
  model: Colbert,
  queries: Embeddings<'query'>,
  pool: Pool,
  { first, pairs }: { first: number; pairs: readonly Pair[] },
  told: Through,
  options: EncodeOptions,
): Promise<{ scores: Float32Array; truncated: number }> {
  /** Of each document, the numbers of its pairs. */
  const pairsOf = new Map<number, number[]>()
  for (const [pair, { document }] of pairs.entries()) {
    const known = pairsOf.get(document)
    if (known) known.push(pair)
    else pairsOf.set(document, [pair])
  }
  const documents = [...pairsOf].sort(([a], [b]) => a - b)
  function* asked(): Generator<AskedDocument> {
    for (const [document, numbers] of documents)
      yield { text: pool.text(document), queries: numbers.map((pair) => pairs[pair]!.query - first) }
  }
  const scores = new Float32Array(pairs.length)
  let [done, truncated] = [0, 0]
  for await (const part of scorePairs(model, queries, asked(), options)) {
    truncated += part.truncated
    let at = 0
    for (const [, numbers] of documents.slice(done, (done += part.documents)))
      for (const pair of numbers) scores[pair] = part.scores[at++]!
    told(done, documents.length)
  }
  return { scores, truncated }
}
