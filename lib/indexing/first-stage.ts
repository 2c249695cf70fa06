/** Candidates by words: BM25 over the texts that the index keeps. What shares no term with a query is none. */
import { ArgumentError } from '../errors.js'
import { analyze, Bm25, type PostingsPart } from '../retrieval/bm25.js'
import { abortIf, Turns } from '../turns.js'
import type { Snapshot } from './snapshot.js'

/** BM25 of each state of an index that was asked for it. */
const known = new WeakMap<Snapshot, Promise<Bm25>>()

/** Documents that were added without a text, or together with one that was: words do not find them. */
export function withoutWords({ segments }: Snapshot): number {
  return segments.reduce((sum, { entry }) => sum + (entry.words ? 0 : entry.documents), 0)
}

/**
 * BM25 over a state of an index, with the statistics of the documents that are not deleted, whatever segments they are in.
 * @throws ArgumentError ERR_ARGUMENT where documents have no texts; FormatError ERR_FORMAT for a damaged file
 */
export function wordsOf(snapshot: Snapshot): Promise<Bm25> {
  const missing = withoutWords(snapshot)
  if (missing > 0)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `firstStage "bm25" goes by the texts that an index keeps; ${missing} documents of this one were added without, or ` +
        'together with some without',
      { missing },
    )
  const found = known.get(snapshot) ?? read(snapshot)
  known.set(snapshot, found)
  return found
}

async function read({ segments }: Snapshot): Promise<Bm25> {
  const parts: PostingsPart[] = []
  for (const segment of segments) {
    const postings = (await segment.words())!
    parts.push({ postings, isDeleted: segment.deleted && ((document) => segment.isDeleted(document)) })
  }
  return new Bm25({ parts })
}

/** The best documents of each query by their words, as their numbers in the snapshot, best first. @param allowed as `Bm25.searchTerms` */
export async function candidatesByWords(
  snapshot: Snapshot,
  texts: readonly string[],
  { candidates, allowed, signal }: { candidates: number; allowed: Uint8Array | null; signal: AbortSignal | undefined },
): Promise<number[][]> {
  const words = await wordsOf(snapshot)
  const turns = new Turns()
  const found: number[][] = []
  for (const text of texts) {
    abortIf(signal)
    found.push(words.searchTerms(analyze(text), candidates, allowed).map(({ index }) => index))
    if (turns.due) await turns.take()
  }
  return found
}
