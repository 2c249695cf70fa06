/** Ours and no package: Lucene's numbers, over texts that may be a stream, without holding the event loop. */
import { stemmer } from 'stemmer'
import { ArgumentError } from '../errors.js'
import { checkOptions, type Kinds, number } from '../options.js'
import { atOnce, inTurns } from '../turns.js'
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

/** Lower-cased runs of letters and digits (with their combining marks), without stop words, stemmed. */
export function analyze(text: string): string[] {
  const terms: string[] = []
  for (const token of tokens(text)) if (!stopWords.has(token)) terms.push(porterStem(token))
  return terms
}

function* tokens(text: string): Generator<string> {
  for (const [token] of text.toLowerCase().matchAll(/[\p{L}\p{N}][\p{L}\p{N}\p{M}]*/gu)) yield token
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
  readonly #index: Index
  readonly #sums: Float64Array

  /**
   * An index of all texts, built at once: `Bm25.build` leaves the event loop free.
   * @throws ArgumentError ERR_ARGUMENT for k1 or b out of range
   */
  constructor(texts: Iterable<string> | Index, options: Bm25Options = {}) {
    this.#index = 'impacts' in texts ? texts : atOnce(indexOf(texts, checked(options)))
    this.size = this.#index.size
    this.withoutTerms = this.#index.withoutTerms
    this.#sums = new Float64Array(this.size)
  }

  /**
   * The same without holding the event loop, of texts that may come one after another and are not kept.
   * @throws ArgumentError ERR_ARGUMENT for k1 or b out of range; AbortedError ERR_ABORTED
   */
  static async build(
    texts: Iterable<string> | AsyncIterable<string>,
    { signal, ...options }: Bm25Options & { readonly signal?: AbortSignal } = {},
  ): Promise<Bm25> {
    const settings = checked(options)
    if (Symbol.iterator in texts) return new Bm25(await inTurns(indexOf(texts, settings), signal))
    const counts = new TermCounts()
    for await (const text of texts) await inTurns(counts.add(text), signal)
    return new Bm25(await inTurns(arrange(counts, settings), signal))
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

  /** The same, of a query that was analyzed. */
  searchTerms(terms: readonly string[], topK: number): Bm25Hit[] {
    if (!Number.isInteger(topK) || topK < 1)
      throw new ArgumentError('ERR_ARGUMENT', `topK is ${topK}, expected a positive integer.`)
    const sums = this.#sums.fill(0)
    this.#accumulate(terms, sums)
    const best = new Best(topK)
    for (let d = 0; d < sums.length; d++) if (sums[d] > 0) best.offer(d, sums[d])
    return best.sorted()
  }

  #accumulate(query: readonly string[], sums: Float64Array): void {
    const { terms, offsets, documents, impacts } = this.#index
    for (const term of query) {
      const t = terms.get(term)
      if (t === undefined) continue
      const end = offsets[t + 1]
      for (let i = offsets[t]; i < end; i++) sums[documents[i]] += impacts[i]
    }
  }
}

function checked(options: Bm25Options): Required<Bm25Options> {
  checkOptions('Bm25', options, bm25Options)
  const { k1 = 1.2, b = 0.75 } = options
  return { k1, b }
}

interface Index {
  readonly size: number
  readonly withoutTerms: number
  /** Term → number, in order of first appearance. */
  readonly terms: ReadonlyMap<string, number>
  /** Postings of term t: documents and score contributions from `offsets[t]` up to `offsets[t + 1]`. */
  readonly offsets: Uint32Array
  readonly documents: Uint32Array
  readonly impacts: Float32Array
}

/** Yields between small pieces of work, as everything below does. */
function* indexOf(texts: Iterable<string>, settings: Required<Bm25Options>): Generator<void, Index> {
  const counts = new TermCounts()
  for (const text of texts) yield* counts.add(text)
  return yield* arrange(counts, settings)
}

/** Documents, terms or postings between two yields. */
const piece = 1 << 13

/** Counting sort of the (document, term, count) triples by term; documents stay in rising order. */
function* arrange(counts: TermCounts, { k1, b }: Required<Bm25Options>): Generator<void, Index> {
  const { terms, term, frequency, used, ends, lengths, size } = counts
  const offsets = new Uint32Array(terms.size + 1)
  for (let i = 0; i < used; i++) {
    if (i % piece === 0) yield
    offsets[term[i] + 1]++
  }
  const idf = new Float64Array(terms.size)
  for (let t = 0; t < terms.size; t++) {
    if (t % piece === 0) yield
    const df = offsets[t + 1]
    idf[t] = Math.log(1 + (size - df + 0.5) / (df + 0.5))
    offsets[t + 1] += offsets[t]
  }
  let [total, withoutTerms] = [0, 0]
  for (let d = 0; d < size; d++) {
    total += lengths[d]
    if (lengths[d] === 0) withoutTerms++
  }
  const meanLength = total / size
  const next = offsets.slice()
  const documents = new Uint32Array(used)
  const impacts = new Float32Array(used)
  for (let d = 0, i = 0; d < size; d++) {
    const norm = k1 * (1 - b + (b * lengths[d]) / meanLength)
    for (; i < ends[d]; i++) {
      if (i % piece === 0) yield
      const t = term[i]
      const slot = next[t]++
      documents[slot] = d
      impacts[slot] = (idf[t] * frequency[i]) / (frequency[i] + norm)
    }
  }
  return { size, withoutTerms, terms, offsets, documents, impacts }
}

/** Which terms documents have, and how often. */
class TermCounts {
  size = 0
  /** Term → number, in order of first appearance. */
  readonly terms = new Map<string, number>()
  /** Distinct terms of each document, documents one after another up to `ends[d]`, and how often each occurs. */
  term = new Uint32Array(1 << 16)
  frequency = new Uint32Array(1 << 16)
  used = 0
  ends = new Uint32Array(1 << 10)
  /** Number of terms of each document. */
  lengths = new Uint32Array(1 << 10)
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

function grown(array: Uint32Array): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(2 * array.length)
  larger.set(array)
  return larger
}
