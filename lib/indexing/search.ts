import { countOf, type EmbeddingData, type Embeddings } from '../retrieval/embeddings.js'
import { maxsim, scoreBlocks } from '../retrieval/maxsim.js'
import { Best } from '../retrieval/top-k.js'
import { abortIf, Turns } from '../turns.js'
import { candidatesOf, type Listed } from './candidates.js'
import { allowedIn, type Filter, prepared } from './filter.js'
import type { Metadata } from './segment.js'
import type { Snapshot } from './snapshot.js'

/** A document that an index found. */
export interface IndexHit {
  id: string
  /** Its MaxSim score: a sum over query tokens. Higher is better. */
  score: number
  /** As they were added; only where `withTexts` asks for them. */
  text?: string
  metadata?: Metadata
}

export interface IndexSearchOptions {
  /** Hits for each query; default 10. */
  topK?: number
  /** Which documents may be found. Default: all. */
  filter?: Filter
  /**
   * Scores every document. Default false, or what `check` found necessary: large segments are searched by candidates, which are
   * then scored exactly. What of the exact hits that finds, `check` measures.
   */
  exact?: boolean
  /** Centroids that each query token looks behind for candidates. More find more, and take longer. Default as `check` set it, or 16. */
  probes?: number
  /** Candidates of each query that are scored exactly. Default as `check` set it, or 500; ten for each hit at least. */
  candidates?: number
  /** Gives each hit its text and metadata. Default false. */
  withTexts?: boolean
  /** Ends the search, with ERR_ABORTED. */
  signal?: AbortSignal
}

/** Where nobody has measured: .98 of the exact hits or more on the collections of docs/guides/index.md. */
const defaults = { probes: 16, candidates: 500 }

/** So much less of the documents makes it worth while to score them one by one, instead of all in blocks. */
const sparse = 8

/** The best documents of each query, best first; equal scores in the order in which they were added. */
export async function searchSnapshot(
  { segments, manifest }: Snapshot,
  queries: Embeddings<'query', EmbeddingData>,
  options: IndexSearchOptions,
): Promise<IndexHit[][]> {
  const { topK = 10, filter, withTexts = false, signal } = options
  const asked = options.probes !== undefined || options.candidates !== undefined
  const { search } = manifest
  const exact = options.exact ?? (!asked && search !== null && search.probes === null)
  const { probes = search?.probes ?? defaults.probes } = options
  const { candidates = Math.max(search?.candidates ?? defaults.candidates, 10 * topK) } = options
  const clampNegatives = manifest.recipe?.clampNegatives ?? queries.recipe?.clampNegatives ?? false
  const wanted = prepared(filter)
  const best = Array.from({ length: countOf(queries) }, () => new Best(topK))
  const turns = new Turns()
  const starts: number[] = []
  let start = 0
  const listed: Listed[] = []
  for (const segment of segments) {
    abortIf(signal)
    starts.push(start)
    const { embeddings } = segment
    const allowed = await allowedIn(segment, wanted)
    const first = start
    start += segment.documents
    if (allowed?.length === 0) continue
    if (allowed && allowed.length * sparse < segment.documents) {
      const pairs = new Float64Array(2 * allowed.length)
      for (let query = 0; query < best.length; query++) {
        for (const [n, document] of allowed.entries()) pairs.set([query, document], 2 * n)
        const scores = await maxsim(queries, embeddings, { layout: 'pairs', pairs, clampNegatives, signal })
        for (const [n, document] of allowed.entries()) best[query]!.offer(first + document, scores[n]!)
      }
      continue
    }
    if (segment.lists && !exact) {
      listed.push({ segment, start: first, allowed })
      continue
    }
    const where = { device: embeddings.device, type: embeddings.dtype, clampNegatives, signal }
    for await (const block of scoreBlocks(queries, embeddings, where)) {
      const { firstDocument, lastDocument, scores } = block
      const width = lastDocument - firstDocument
      for (let q = block.firstQuery; q < block.lastQuery; q++) {
        const row = (q - block.firstQuery) * width
        if (!allowed) best[q]!.offerRow(first + firstDocument, scores, row, width)
        else
          for (let n = lowerBound(allowed, firstDocument); n < allowed.length && allowed[n]! < lastDocument; n++)
            best[q]!.offer(first + allowed[n]!, scores[row + allowed[n]! - firstDocument]!)
        if (turns.due) await turns.take()
      }
    }
  }
  const chosen = listed.length > 0 ? await candidatesOf(queries, listed, { probes, candidates, signal }) : []
  for (const { segment, start } of listed) {
    const end = start + segment.documents
    const pairs = chosen.flatMap((found, query) =>
      found.filter((n) => n >= start && n < end).flatMap((n) => [query, n - start]),
    )
    if (pairs.length === 0) continue
    const scores = await maxsim(queries, segment.embeddings, { layout: 'pairs', pairs, clampNegatives, signal })
    for (const [i, score] of scores.entries()) best[pairs[2 * i]!]!.offer(start + pairs[2 * i + 1]!, score)
  }
  const hits: IndexHit[][] = []
  for (const found of best) {
    const list: IndexHit[] = []
    for (const { index, score } of found.sorted()) {
      const at = lowerBound(starts, index + 1) - 1
      const [segment, document] = [segments[at]!, index - starts[at]!]
      const { text, metadata } = withTexts ? await segment.kept(document) : {}
      list.push({
        ...{ id: segment.id(document), score },
        ...(text !== undefined && { text }),
        ...(metadata !== undefined && { metadata }),
      })
    }
    hits.push(list)
  }
  return hits
}

/** Where the first number ≥ `value` is in rising numbers. */
function lowerBound(numbers: readonly number[], value: number): number {
  let [low, high] = [0, numbers.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (numbers[middle]! < value) low = middle + 1
    else high = middle
  }
  return low
}
