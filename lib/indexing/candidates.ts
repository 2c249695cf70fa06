import { type Range, rangesOf } from '../ragged.js'
import {
  type AnyEmbeddings,
  type EmbeddingData,
  type Embeddings,
  slice,
  uploadQueries,
} from '../retrieval/embeddings.js'
import { Best } from '../retrieval/top-k.js'
import { nearest, nearestWithin } from '../tensor/ops.gen.js'
import { scope } from '../tensor/scope.js'
import { withoutTape } from '../tensor/tape.js'
import { abortIf, Turns } from '../turns.js'
import type { Segment } from './segment.js'

/** Query tokens whose centroids are found at a time. */
const rows = 256

/**
 * Cells that nearly always hold so many of the nearest centroids of a token: twice as many up to 32, then as many. More of them find
 * hardly more (docs/index-figures.md).
 */
const cellsFor = (centroids: number): number => Math.max(centroids, Math.min(2 * centroids, 32))

export interface CandidateOptions {
  /** Centroids that each query token looks behind. */
  probes: number
  /** Documents of each query, over all segments. */
  candidates: number
  /** Where a query finds fewer, it looks behind more centroids. */
  enough: number
  signal: AbortSignal | undefined
}

/** A segment with lists, the number of its first document, and which of its documents may be found (null: all). */
export interface Listed {
  segment: Segment
  start: number
  allowed: readonly number[] | null
}

/**
 * For each query the documents that its tokens find behind their nearest centroids, best first. A query that finds too few, as where
 * a filter lets only documents pass that are far from it, looks behind twice as many centroids, until it has enough or there are
 * no more.
 */
export async function candidatesOf(
  queries: Embeddings<'query', EmbeddingData>,
  listed: readonly Listed[],
  { probes, enough, ...options }: CandidateOptions,
): Promise<number[][]> {
  const found = await behindNearest(queries, listed, { probes, ...options })
  const most = Math.max(0, ...listed.map(({ segment }) => segment.lists!.count))
  for (const query of found.keys()) {
    const alone = slice(queries, { first: query, last: query + 1 })
    for (let wider = probes; found[query]!.length < enough && wider < most; ) {
      wider *= 2
      found[query] = (await behindNearest(alone, listed, { probes: wider, ...options }))[0]!
    }
  }
  return found
}

/**
 * A document's score is the sum over query tokens of the best centroid that leads to it, 0 for tokens that nothing leads from
 * (Santhanam et al. 2022, PLAID, without its later stages).
 */
async function behindNearest(
  queries: AnyEmbeddings,
  listed: readonly Listed[],
  { probes, candidates, signal }: Omit<CandidateOptions, 'enough'>,
): Promise<number[][]> {
  const best = Array.from({ length: queries.offsets.length - 1 }, () => new Best(candidates))
  const turns = new Turns()
  const largest = Math.max(0, ...listed.map(({ segment }) => segment.documents))
  const scores = new Float64Array(largest)
  // Which token has seen a document last, and which query has found it, both counted over all queries of all segments.
  const seen = new Uint32Array(largest)
  const found = new Uint32Array(largest)
  const touched: number[] = []
  let [token, asked] = [0, 0]
  for (const { segment, start, allowed } of listed) {
    const { count, offsets, documents } = segment.lists!
    const most = Math.min(probes, count)
    if (most === 0) continue // it has no tokens
    const may = allowed && new Uint8Array(segment.documents)
    for (const document of allowed ?? []) may![document] = 1
    for (const range of rangesOf(queries.offsets, { rows })) {
      abortIf(signal)
      const near = await nearestCentroids(segment, queries, range, most)
      const first = queries.offsets[range.first]!
      for (let query = range.first; query < range.last; query++) {
        asked++
        for (let row = queries.offsets[query]! - first; row < queries.offsets[query + 1]! - first; row++) {
          token++
          for (let i = row * most; i < (row + 1) * most; i++) {
            const [centroid, score] = [near.centroids[i]!, near.scores[i]!]
            if (centroid < 0) break // its cells have no more, or it is no number
            for (let at = offsets[centroid]!; at < offsets[centroid + 1]!; at++) {
              const document = documents[at]!
              if (seen[document] === token || may?.[document] === 0) continue
              seen[document] = token
              if (found[document] !== asked) {
                found[document] = asked
                scores[document] = 0
                touched.push(document)
              }
              scores[document]! += score
            }
          }
        }
        for (const document of touched) best[query]!.offer(start + document, scores[document]!)
        touched.length = 0
        if (turns.due) await turns.take()
      }
    }
  }
  return best.map((kept) => kept.sorted().map(({ index }) => index))
}

/**
 * For each token of some queries its `most` nearest centroids, nearest first, and their scores: [tokens, most] each. They are
 * looked for in its nearest cells alone.
 */
async function nearestCentroids(
  { embeddings, lists }: Segment,
  queries: AnyEmbeddings,
  range: Range,
  most: number,
): Promise<{ scores: ArrayLike<number>; centroids: ArrayLike<number> }> {
  const found = scope(() =>
    withoutTape(() => {
      const { tokens } = uploadQueries(embeddings.device, slice(queries, range), embeddings.device.real)
      const { centroids, scales, cells, cellOffsets } = lists!
      const [, chosen] = nearest(tokens, cells, { most: Math.min(cellsFor(most), cells.shape[0]!) })
      return nearestWithin(tokens, centroids, scales, cellOffsets, chosen, { most })
    }),
  )
  try {
    const [scores, centroids] = await Promise.all([found[0].values(), found[1].data()])
    return { scores, centroids: centroids as unknown as ArrayLike<number> }
  } finally {
    for (const tensor of found) tensor.dispose()
  }
}
