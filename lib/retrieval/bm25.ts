/** Ours and no package: Lucene's numbers, over texts that may be a stream, without holding the event loop. */
import { stemmer } from 'stemmer'
import { ArgumentError } from '../errors.js'
import { checkOptions, type Kinds, number } from '../options.js'
import { counted, type OnProgress } from '../progress.js'
import { abortIf, atOnce, inTurns, Turns } from '../turns.js'
import { Best, type Scored } from './top-k.js'

/** Parameters of BM25. */
export interface Bm25Options {
  /** How fast repeated terms saturate. Default 1.2. */
  readonly k1?: number
  /** How much long documents are discounted, 0 to 1. Default 0.75. */
  readonly b?: number
}

export const bm25Options: Kinds<Bm25Options> = { k1: number(0), b: number(0, 1) }

/** `index` is the position of the document among the texts. */
export type Bm25Hit = Readonly<Scored>

/** Lucene's English stop words. */
const stopWords = new Set(
  'a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was will with'.split(
    ' ',
  ),
)

/**
 * Words that are a suffix and nothing else, where `stemmer` is not of one mind with Lucene and NLTK. (It also keeps both
 * y of "byyed"; no word has them.)
 */
const bareSuffixes: ReadonlyMap<string, string> = new Map([
  ['ies', 'i'],
  ['sses', 'ss'],
  ['eed', 'eed'],
])

/** Porter's stem of a lower-case word, as Lucene's PorterStemFilter has it. */
export function porterStem(word: string): string {
  return bareSuffixes.get(word) ?? stemmer(word)
}

/** Words of a text, lower-cased, without stop words, stemmed. */
export function analyze(text: string): string[] {
  const terms: string[] = []
  for (const token of tokens(text)) if (!stopWords.has(token)) terms.push(porterStem(token))
  return terms
}

/** Scripts that are written without spaces between words; ICU has a dictionary for each. */
const unspaced = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}]/u
/** Made when a text needs it. Its borders are those of the scripts' dictionaries, whatever the locale. */
let segmenter: Intl.Segmenter | undefined

/** Runs of letters and digits with their combining marks; those of scripts without spaces are cut into words. */
function* tokens(text: string): Generator<string> {
  const cut = unspaced.test(text)
  for (const [token] of text.toLowerCase().matchAll(/[\p{L}\p{N}][\p{L}\p{N}\p{M}]*/gu))
    if (cut && unspaced.test(token)) {
      segmenter ??= new Intl.Segmenter('en', { granularity: 'word' })
      for (const { segment } of segmenter.segment(token)) yield segment
    } else yield token
}

/** Which terms documents have, and how often: what BM25 scores by. */
export interface Postings {
  /** Number of documents. */
  readonly size: number
  /** Number of a term, or -1 where no document has it. */
  find(term: string): number
  /** Postings of term t lie from `offsets[t]` up to `offsets[t + 1]`. */
  readonly offsets: ArrayLike<number>
  /** Of each posting, the document, rising within a term. */
  readonly documents: Int32Array
  /** Of each posting, how often the document has the term. */
  readonly frequencies: Int32Array
  /** Of each document, how many terms it has, repeated ones as often as they occur. */
  readonly lengths: Int32Array
}

/** Postings of some of the documents, and which of these no longer count; null: all do. */
export interface PostingsPart {
  readonly postings: Postings
  readonly isDeleted: ((document: number) => boolean) | null
}

/**
 * BM25 over an inverted index held in typed arrays, with Lucene's formula
 * `idf · tf / (tf + k1 · (1 - b + b · length / mean length))`, `idf = ln(1 + (N - df + 0.5) / (df + 0.5))`, summed over
 * the query's terms, repeated ones as often as they occur (Robertson and Zaragoza 2009; Lucene's BM25Similarity, which
 * also leaves out the constant factor k1 + 1). Lengths are exact where Lucene rounds them to a byte.
 */
export class Bm25 {
  /** Number of documents. */
  readonly size: number
  /** Documents in which there is no term: no query finds them. */
  readonly withoutTerms: number
  readonly #parts: readonly Placed[]
  /** Documents that count. */
  readonly #count: number
  /** Of each document what its length adds below the fraction bar. */
  readonly #norms: Float64Array
  readonly #sums: Float64Array

  /**
   * An index of all texts, built at once: `Bm25.build` leaves the event loop free. Of postings it numbers documents through
   * the parts, in order.
   * @throws ArgumentError ERR_ARGUMENT for k1 or b out of range
   */
  constructor(documents: Iterable<string> | { readonly parts: readonly PostingsPart[] }, options: Bm25Options = {}) {
    const { k1, b } = checked(options)
    const parts =
      'parts' in documents ? documents.parts : [{ postings: atOnce(postingsOf(documents)), isDeleted: null }]
    let start = 0
    this.#parts = parts.map((part) => {
      const placed = { ...part, start }
      start += part.postings.size
      return placed
    })
    this.size = start
    let [count, total, withoutTerms] = [0, 0, 0]
    for (const { postings, isDeleted } of parts)
      for (let d = 0; d < postings.size; d++) {
        if (isDeleted?.(d)) continue
        count++
        total += postings.lengths[d]
        if (postings.lengths[d] === 0) withoutTerms++
      }
    this.#count = count
    this.withoutTerms = withoutTerms
    const mean = total / count
    this.#norms = new Float64Array(start)
    for (const { postings, start } of this.#parts)
      for (let d = 0; d < postings.size; d++) this.#norms[start + d] = k1 * (1 - b + (b * postings.lengths[d]) / mean)
    this.#sums = new Float64Array(start)
  }

  /**
   * The same without holding the event loop, of texts that may come one after another and are not kept.
   * @throws ArgumentError ERR_ARGUMENT for k1 or b out of range; AbortedError ERR_ABORTED
   */
  static async build(
    texts: Iterable<string> | AsyncIterable<string>,
    {
      signal,
      onProgress,
      ...options
    }: Bm25Options & { readonly signal?: AbortSignal; readonly onProgress?: OnProgress } = {},
  ): Promise<Bm25> {
    checked(options)
    const counts = new TermCounts()
    const turns = new Turns()
    for await (const text of counted(texts, { stage: 'indexing', part: 'words', unit: 'documents' }, onProgress))
      for (const _ of counts.add(text)) {
        if (!turns.due) continue
        abortIf(signal)
        await turns.take()
      }
    const postings = await inTurns(arrange(counts), signal)
    return new Bm25({ parts: [{ postings, isDeleted: null }] }, options)
  }

  /** The query's score for every document: `[size]`, 0 where no term is shared. */
  scores(query: string): Float64Array {
    const sums = new Float64Array(this.size)
    this.#accumulate(analyze(query), sums)
    return sums
  }

  /**
   * The `topK` best documents with a score above 0, best first, equal scores by rising index.
   * Throws `ArgumentError` (`ERR_ARGUMENT`) unless `topK` is a positive integer.
   */
  search(query: string, topK: number): Bm25Hit[] {
    return this.searchTerms(analyze(query), topK)
  }

  /** The same, of a query that was analyzed. @param allowed of each document 0 where it may not be found; null: all may */
  searchTerms(terms: readonly string[], topK: number, allowed: Uint8Array | null = null): Bm25Hit[] {
    if (!Number.isInteger(topK) || topK < 1)
      throw new ArgumentError('ERR_ARGUMENT', `topK is ${topK}, expected a positive integer.`)
    const sums = this.#sums.fill(0)
    this.#accumulate(terms, sums)
    if (allowed) for (let d = 0; d < sums.length; d++) if (allowed[d] === 0) sums[d] = 0
    const best = new Best(topK)
    best.offerRow(0, sums, 0, sums.length, Number.MIN_VALUE)
    return best.sorted()
  }

  #accumulate(query: readonly string[], sums: Float64Array): void {
    const norms = this.#norms
    for (const term of query) {
      const found = this.#parts.map((part) => ({ ...part, term: part.postings.find(term) })).filter((p) => p.term >= 0)
      let df = 0
      for (const { postings, isDeleted, term } of found) df += countOf(postings, term, isDeleted)
      const idf = Math.log(1 + (this.#count - df + 0.5) / (df + 0.5))
      for (const { postings, start, term } of found) {
        const { offsets, documents, frequencies } = postings
        for (let i = offsets[term], end = offsets[term + 1]; i < end; i++) {
          const d = start + documents[i]
          const tf = frequencies[i]
          sums[d] += Math.fround((idf * tf) / (tf + norms[d]))
        }
      }
    }
  }
}

/** With the number of its first document. */
interface Placed extends PostingsPart {
  readonly start: number
}

/** Documents that have a term, and count. */
function countOf({ offsets, documents }: Postings, term: number, isDeleted: PostingsPart['isDeleted']): number {
  let count = offsets[term + 1] - offsets[term]
  if (isDeleted) for (let i = offsets[term]; i < offsets[term + 1]; i++) if (isDeleted(documents[i])) count--
  return count
}

function checked(options: Bm25Options): Required<Bm25Options> {
  checkOptions('Bm25', options, bm25Options)
  const { k1 = 1.2, b = 0.75 } = options
  return { k1, b }
}

/** Postings whose terms are numbered in order of first appearance. */
export interface BuiltPostings extends Postings {
  readonly terms: ReadonlyMap<string, number>
}

/** Postings of texts. Yields between small pieces of work, as everything below does. */
export function* postingsOf(texts: Iterable<string>): Generator<void, BuiltPostings> {
  const counts = new TermCounts()
  for (const text of texts) yield* counts.add(text)
  return yield* arrange(counts)
}

/** Documents, terms or postings between two yields. */
const piece = 1 << 13

/** Counting sort of the (document, term, count) triples by term; documents stay in rising order. */
function* arrange({ terms, term, frequency, used, ends, lengths, size }: TermCounts): Generator<void, BuiltPostings> {
  const offsets = new Float64Array(terms.size + 1)
  for (let i = 0; i < used; i++) {
    if (i % piece === 0) yield
    offsets[term[i] + 1]++
  }
  for (let t = 0; t < terms.size; t++) offsets[t + 1] += offsets[t]
  const next = offsets.slice()
  const documents = new Int32Array(used)
  const frequencies = new Int32Array(used)
  for (let d = 0, i = 0; d < size; d++)
    for (; i < ends[d]; i++) {
      if (i % piece === 0) yield
      const slot = next[term[i]]++
      documents[slot] = d
      frequencies[slot] = frequency[i]
    }
  const find = (word: string) => terms.get(word) ?? -1
  return { size, terms, find, offsets, documents, frequencies, lengths: lengths.slice(0, size) }
}

/** Which terms documents have, and how often. */
class TermCounts {
  size = 0
  /** Term → number, in order of first appearance. */
  readonly terms = new Map<string, number>()
  /** Distinct terms of each document, documents one after another up to `ends[d]`, and how often each occurs. */
  term = new Int32Array(1 << 16)
  frequency = new Int32Array(1 << 16)
  used = 0
  ends = new Int32Array(1 << 10)
  /** Number of terms of each document. */
  lengths = new Int32Array(1 << 10)
  /** Token → term number, -1 for stop words: each word is stemmed once. */
  readonly #known = new Map<string, number>()
  /** Where the current document counts the term; stale below the document's start. */
  readonly #slots: number[] = []

  #learn(token: string): number {
    let id = -1
    if (!stopWords.has(token)) {
      const stem = porterStem(token)
      id = this.terms.get(stem) ?? this.terms.size
      if (id === this.terms.size) {
        this.terms.set(stem, id)
        this.#slots.push(-1)
      }
    }
    this.#known.set(token, id)
    return id
  }

  *add(text: string): Generator<void, void> {
    const start = this.used
    let count = 0
    let seen = 0
    for (const token of tokens(text)) {
      if (++seen % piece === 0) yield
      const id = this.#known.get(token) ?? this.#learn(token)
      if (id < 0) continue
      count++
      const slot = this.#slots[id]
      if (slot >= start) {
        this.frequency[slot]++
        continue
      }
      if (this.used === this.term.length) {
        this.term = grown(this.term)
        this.frequency = grown(this.frequency)
      }
      this.#slots[id] = this.used
      this.term[this.used] = id
      this.frequency[this.used++] = 1
    }
    if (this.size === this.ends.length) {
      this.ends = grown(this.ends)
      this.lengths = grown(this.lengths)
    }
    this.ends[this.size] = this.used
    this.lengths[this.size++] = count
    yield
  }
}

function grown(array: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(2 * array.length)
  larger.set(array)
  return larger
}
