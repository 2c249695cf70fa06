import { ArgumentError } from '../errors.js'
import type { OnProgress } from '../progress.js'
import { countOf, type EmbeddingData, type Embeddings, slice } from '../retrieval/embeddings.js'
import { bestMatches, type TokenMatch } from '../retrieval/matches.js'
import { maxsim, scoreBlocks } from '../retrieval/maxsim.js'
import { Best } from '../retrieval/top-k.js'
import { abortIf, Turns } from '../turns.js'
import { candidatesOf, type Listed } from './candidates.js'
import { allTokens } from './cluster.js'
import { type Filter, numbersOf, Selected, type Selection } from './filter.js'
import { candidatesByWords } from './first-stage.js'
import type { Metadata, Segment } from './segment.js'
import type { Snapshot } from './snapshot.js'

/** A document that an index found. */
export interface IndexHit {
  /** As it was added. */
  id: string
  /** Its MaxSim score: a sum over query tokens. Higher is better. */
  score: number
  /** As they were added; only where `withTexts` asks for them. */
  text?: string
  /** As `text`. */
  metadata?: Metadata
  /** For each token vector of the query; only where `explain` asks for them. */
  matches?: TokenMatch[]
}

/** Options of `Index.search`. */
export interface IndexSearchOptions {
  /** Hits for each query; default 10. */
  topK?: number
  /** Which documents may be found: a filter, or what `Index.select` made of one. Default: all. */
  filter?: Filter | Selection
  /** For each query the ids to rank, such as another engine's hits: these are scored exactly, and nothing else. Unknown ones find nothing. */
  among?: readonly (readonly string[])[]
  /**
   * Scores every document. Default false, or what `check` found necessary: large segments are searched by candidates, which are
   * then scored exactly. What of the exact hits that finds, `check` measures.
   */
  exact?: boolean
  /**
   * Centroids that each query token looks behind for candidates. More find more, and take longer; where too few documents are found
   * behind them, as with some filters, it looks behind more. Default as `check` set it, or
   * 16, of more than 262,144 documents a 32nd of the square root of their number.
   */
  probes?: number
  /**
   * Candidates of each query that are scored exactly. Default as `check` set it, or 500, of many documents ten times the square
   * root of their number; ten for each hit at least. Of `firstStage` 1000.
   */
  candidates?: number
  /**
   * `bm25`: candidates are the best documents by their words, in all segments, large or small; what shares no word with a query
   * is not found. Queries are texts then. Default: by token vectors.
   */
  firstStage?: 'bm25'
  /** Gives each hit its text and metadata. Default false. */
  withTexts?: boolean
  /** Says of each hit which token vectors matched. Default false. */
  explain?: boolean
  /** Told how many queries are encoded, then how many documents have been looked at for all of them. */
  onProgress?: OnProgress
  /** Ends the search, with ERR_ABORTED. */
  signal?: AbortSignal
}

type Queries = Embeddings<'query', EmbeddingData>

/** Queries as they are scored, and as they were written; null where only vectors were given. */
export interface Asked {
  embeddings: Queries
  texts: readonly string[] | null
}

/**
 * Probes where nobody has measured: 16, and of more than 262,144 documents a 32nd of the square root of their number. Of a
 * million documents 32 had .98 of the exact hits of a collection where 16 had .965 (docs/index-figures.md).
 */
export const probesFor = (documents: number): number => Math.max(16, Math.ceil(Math.sqrt(documents) / 32))

/**
 * Candidates where nobody has measured: 500, and of more than 2,500 documents ten times the square root of their number. Of 20,000
 * documents 500 had .96 of the exact hits of two collections, 1,000 had .985 or more of each (docs/index-figures.md).
 */
export const candidatesFor = (documents: number): number => Math.max(500, Math.ceil(10 * Math.sqrt(documents)))

/** Of candidates by words: of the exact hits of cacm 300 miss one in six, 1000 one in twenty (docs/guides/index.md). */
const wordCandidates = 1000

/** Where so much less of the documents pass, they are scored one by one: instead of all in blocks, and of looking for candidates. */
const sparse = { blocks: 2, lists: 8 }

/** Documents of a filter that are no more than so many times the candidates are scored one by one: little more work, and nothing is missed. */
const fewCandidates = 3

/** The best documents of each query, best first; equal scores in the order in which they were added. */
export async function searchSnapshot(
  snapshot: Snapshot,
  { embeddings: queries, texts }: Asked,
  options: IndexSearchOptions,
): Promise<IndexHit[][]> {
  const { manifest } = snapshot
  const { topK = 10, filter, among, firstStage, signal, onProgress } = options
  checkWay(countOf(queries), texts, options)
  const asked = options.probes !== undefined || options.candidates !== undefined
  const { search } = manifest
  const exact = options.exact ?? (!asked && search !== null && search.probes === null)
  const { documents } = snapshot.counts
  const { probes = search?.probes ?? probesFor(documents) } = options
  const most = search?.candidates ?? candidatesFor(documents)
  const { candidates = Math.max(most, 10 * topK) } = options
  const clampNegatives = manifest.recipe?.clampNegatives ?? queries.recipe?.clampNegatives ?? false
  const ranking: Ranking = {
    ...{ queries, clampNegatives, signal, turns: new Turns() },
    best: Array.from({ length: countOf(queries) }, () => new Best(topK)),
  }
  const total = snapshot.segments.reduce((sum, { documents }) => sum + documents, 0)
  const tell = (stage: 'searching' | 'scoring', done: number) => {
    abortIf(signal)
    onProgress?.({ stage, done, total, unit: 'documents' })
  }
  if (among) {
    for (const { segment, start } of placed(snapshot)) {
      tell('searching', start)
      await rankPairs(ranking, segment, start, await pairsOf(segment, among))
    }
    return hitsOf(snapshot, ranking, options)
  }
  const wanted = filter && Selected.of('search', filter)
  wanted?.keepOnly(snapshot.segments)
  const parts: Listed[] = []
  for (const { segment, start } of placed(snapshot))
    parts.push({ segment, start, allowed: wanted ? await wanted.within(segment, signal) : numbersOf(segment, null) })
  if (firstStage) {
    const most = options.candidates ?? Math.max(wordCandidates, topK)
    const chosen = await candidatesByWords(snapshot, texts!, { candidates: most, allowed: maskOf(parts), signal })
    await rankChosen(ranking, parts, chosen, tell)
    return hitsOf(snapshot, ranking, options)
  }
  const isFew = wanted !== undefined && passingOf(parts) <= fewCandidates * candidates
  const listed: Listed[] = []
  for (const part of parts) {
    const { segment, start, allowed } = part
    tell('searching', start)
    const hasLists = segment.lists !== null && !exact
    const share = sparse[hasLists ? 'lists' : 'blocks']
    if (allowed && (allowed.length * share <= segment.documents || (isFew && hasLists)))
      for (let query = 0; query < countOf(queries); query++)
        await rankPairs(
          ranking,
          segment,
          start,
          allowed.flatMap((n) => [query, n]),
        )
    else if (hasLists) listed.push(part)
    else await rankAll(ranking, segment, start, allowed)
  }
  if (listed.length > 0) {
    // What fills topK; of those that a filter lets pass as large a share as of all.
    const passing = passingOf(listed)
    const share = wanted ? passing / listed.reduce((sum, { segment }) => sum + segment.documents, 0) : 0
    const enough = Math.min(passing, candidates, Math.max(10 * topK, Math.ceil(candidates * share)))
    const chosen = await candidatesOf(queries, listed, { probes, candidates, enough, signal })
    await rankChosen(ranking, listed, chosen, tell)
  }
  return hitsOf(snapshot, ranking, options)
}

/** Options that a way to search has no use for. */
const idleBeside = {
  firstStage: ['among', 'exact', 'probes'],
  among: ['filter', 'exact', 'probes', 'candidates'],
  exact: ['probes', 'candidates'],
} as const

/** @throws ArgumentError ERR_ARGUMENT for options without effect, queries without words, and lists of other queries */
function checkWay(queries: number, texts: readonly string[] | null, options: IndexSearchOptions): void {
  const fail = (message: string) => new ArgumentError('ERR_ARGUMENT', `search: ${message}`)
  for (const way of ['firstStage', 'among', 'exact'] as const) {
    const idle = options[way] ? idleBeside[way].find((name) => options[name]) : undefined
    if (idle) throw fail(`${idle} has no effect beside ${way}; leave one of them out`)
  }
  if (options.firstStage && !texts) throw fail('firstStage "bm25" goes by words; give queries as texts, not embeddings')
  if (options.among && options.among.length !== queries)
    throw fail(`among has lists for ${options.among.length} of ${queries} queries`)
}

/** Documents that may be found. */
const passingOf = (parts: readonly Listed[]): number =>
  parts.reduce((sum, { segment, allowed }) => sum + (allowed?.length ?? segment.documents), 0)

/** Of each document of all segments whether it may be found; null: all may. */
function maskOf(segments: readonly Listed[]): Uint8Array | null {
  if (segments.every(({ allowed }) => allowed === null)) return null
  const mask = new Uint8Array(segments.reduce((sum, { segment }) => sum + segment.documents, 0))
  for (const { segment, start, allowed } of segments)
    if (allowed) for (const document of allowed) mask[start + document] = 1
    else mask.fill(1, start, start + segment.documents)
  return mask
}

/** The best of each query so far, by the numbers that documents have in the snapshot. */
interface Ranking {
  queries: Queries
  clampNegatives: boolean
  signal: AbortSignal | undefined
  best: readonly Best[]
  turns: Turns
}

/** Each segment with the number of its first document. */
function placed({ segments }: Snapshot): { segment: Segment; start: number }[] {
  let start = 0
  return segments.map((segment) => {
    const at = { segment, start }
    start += segment.documents
    return at
  })
}

/** Queries, and those of the documents that are asked for of each that are in the segment. */
async function pairsOf(segment: Segment, asked: readonly (readonly string[])[]): Promise<number[]> {
  const pairs: number[] = []
  for (const [query, ids] of asked.entries())
    for (const document of await segment.numbersOf(new Set(ids))) pairs.push(query, document)
  return pairs
}

/** Scores the candidates of each query, by their numbers in the snapshot. */
async function rankChosen(
  ranking: Ranking,
  parts: readonly Listed[],
  chosen: readonly (readonly number[])[],
  tell: (stage: 'scoring', done: number) => void,
): Promise<void> {
  for (const { segment, start } of parts) {
    tell('scoring', start)
    const end = start + segment.documents
    const pairs = chosen.flatMap((found, query) =>
      found.flatMap((n) => (n >= start && n < end ? [query, n - start] : [])),
    )
    await rankPairs(ranking, segment, start, pairs)
  }
}

/** Scores query pairs[2n] with document pairs[2n + 1] of the segment. */
async function rankPairs(ranking: Ranking, { embeddings }: Segment, start: number, pairs: number[]): Promise<void> {
  if (pairs.length === 0) return
  const { queries, best, clampNegatives, signal } = ranking
  const scores = await maxsim(queries, embeddings, { layout: 'pairs', pairs, clampNegatives, signal })
  for (const [n, score] of scores.entries()) best[pairs[2 * n]!]!.offer(start + pairs[2 * n + 1]!, score)
}

/** Scores all documents of the segment, and ranks those that are allowed. */
async function rankAll(
  { queries, best, clampNegatives, signal, turns }: Ranking,
  { embeddings }: Segment,
  start: number,
  allowed: readonly number[] | null,
): Promise<void> {
  const where = { device: embeddings.device, type: embeddings.dtype, clampNegatives, signal }
  for await (const block of scoreBlocks(queries, embeddings, where)) {
    const { firstDocument, lastDocument, scores } = block
    const width = lastDocument - firstDocument
    for (let q = block.firstQuery; q < block.lastQuery; q++) {
      const row = (q - block.firstQuery) * width
      if (!allowed) best[q]!.offerRow(start + firstDocument, scores, row, width)
      else
        for (let n = lowerBound(allowed, firstDocument); n < allowed.length && allowed[n]! < lastDocument; n++)
          best[q]!.offer(start + allowed[n]!, scores[row + allowed[n]! - firstDocument]!)
      if (turns.due) await turns.take()
    }
  }
}

async function hitsOf(
  snapshot: Snapshot,
  { queries, best, clampNegatives }: Ranking,
  { withTexts = false, explain = false }: IndexSearchOptions,
): Promise<IndexHit[][]> {
  const segments = placed(snapshot)
  const starts = segments.map(({ start }) => start)
  const hits: IndexHit[][] = []
  for (const [query, found] of best.entries()) {
    const list: IndexHit[] = []
    const tokens = explain ? allTokens(slice(queries, { first: query, last: query + 1 })) : null
    const matchesOf = async ({ embeddings }: Segment, first: number) => {
      const values = allTokens(await embeddings.download({ first, last: first + 1 }))
      return bestMatches(tokens!, values, embeddings.dim, clampNegatives)
    }
    for (const { index, score } of found.sorted()) {
      const { segment, start } = segments[lowerBound(starts, index + 1) - 1]!
      const document = index - start
      const { text, metadata } = withTexts ? await segment.kept(document) : {}
      list.push({
        ...{ id: segment.id(document), score },
        ...(text !== undefined && { text }),
        ...(metadata !== undefined && { metadata }),
        ...(tokens && { matches: await matchesOf(segment, document) }),
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
