import { ArgumentError } from '../errors.js'
import { porterStem } from './porter.js'

export interface Bm25Options {
  /** How fast repeated terms saturate. Default 1.2. */
  readonly k1?: number
  /** How much long documents are discounted, 0 to 1. Default 0.75. */
  readonly b?: number
}

export interface Bm25Hit {
  /** Position of the document in the texts given to the constructor. */
  readonly index: number
  readonly score: number
}

/** Lucene's English stop words. */
const stopWords = new Set(
  'a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was will with'.split(
    ' ',
  ),
)

/** Lower-cased runs of letters and digits (with their combining marks), without stop words, stemmed. */
export function analyze(text: string): string[] {
  const terms: string[] = []
  for (const token of tokens(text)) if (!stopWords.has(token)) terms.push(porterStem(token))
  return terms
}

function tokens(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}][\p{L}\p{N}\p{M}]*/gu) ?? []
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
  readonly #terms: Map<string, number>
  /** Postings of term t: documents and score contributions from `#offsets[t]` up to `#offsets[t + 1]`. */
  readonly #offsets: Uint32Array
  readonly #documents: Uint32Array
  readonly #impacts: Float32Array
  readonly #sums: Float64Array

  /** Throws `ArgumentError` (`ERR_ARGUMENT`) for k1 or b out of range. */
  constructor(texts: readonly string[], options: Bm25Options = {}) {
    const { k1 = 1.2, b = 0.75 } = options
    if (!(k1 >= 0 && k1 < Number.POSITIVE_INFINITY))
      throw new ArgumentError('ERR_ARGUMENT', `k1 is ${k1}, expected a number from 0, as 1.2.`)
    if (!(b >= 0 && b <= 1)) throw new ArgumentError('ERR_ARGUMENT', `b is ${b}, expected a number from 0 to 1.`)
    this.size = texts.length
    const counts = countTerms(texts)
    this.#terms = counts.terms
    const termCount = counts.terms.size

    // Counting sort of the (document, term, count) triples by term; documents stay in rising order.
    const offsets = new Uint32Array(termCount + 1)
    for (let i = 0; i < counts.term.length; i++) offsets[counts.term[i] + 1]++
    const idf = new Float64Array(termCount)
    for (let t = 0; t < termCount; t++) {
      const df = offsets[t + 1]
      idf[t] = Math.log(1 + (texts.length - df + 0.5) / (df + 0.5))
      offsets[t + 1] += offsets[t]
    }
    let total = 0
    for (const length of counts.lengths) total += length
    const meanLength = total / texts.length
    const next = offsets.slice()
    this.#documents = new Uint32Array(counts.term.length)
    this.#impacts = new Float32Array(counts.term.length)
    for (let d = 0, i = 0; d < texts.length; d++) {
      const norm = k1 * (1 - b + (b * counts.lengths[d]) / meanLength)
      for (; i < counts.ends[d]; i++) {
        const t = counts.term[i]
        const slot = next[t]++
        this.#documents[slot] = d
        this.#impacts[slot] = (idf[t] * counts.frequency[i]) / (counts.frequency[i] + norm)
      }
    }
    this.#offsets = offsets
    this.#sums = new Float64Array(texts.length)
  }

  /** The query's score for every document: `[size]`, 0 where no term is shared. */
  scores(query: string): Float64Array {
    const sums = new Float64Array(this.size)
    this.#accumulate(query, sums)
    return sums
  }

  /**
   * The `topK` best documents with a score above 0, best first, equal scores by rising index.
   * Throws `ArgumentError` (`ERR_ARGUMENT`) unless `topK` is a positive integer.
   */
  search(query: string, topK: number): Bm25Hit[] {
    if (!Number.isInteger(topK) || topK < 1)
      throw new ArgumentError('ERR_ARGUMENT', `topK is ${topK}, expected a positive integer.`)
    const sums = this.#sums.fill(0)
    this.#accumulate(query, sums)
    return best(sums, topK)
  }

  #accumulate(query: string, sums: Float64Array): void {
    for (const term of analyze(query)) {
      const t = this.#terms.get(term)
      if (t === undefined) continue
      const end = this.#offsets[t + 1]
      for (let i = this.#offsets[t]; i < end; i++) sums[this.#documents[i]] += this.#impacts[i]
    }
  }
}

/**
 * The `topK` largest positive entries by falling score, rising index. A heap of indices with the worst kept entry at
 * its root: as documents come in rising order, an equal score never displaces an earlier one.
 */
function best(sums: Float64Array, topK: number): Bm25Hit[] {
  const capacity = Math.min(topK, sums.length)
  const heap = new Uint32Array(capacity)
  const worse = (x: number, y: number) => sums[x] < sums[y] || (sums[x] === sums[y] && x > y)
  const siftDown = (value: number, size: number) => {
    let hole = 0
    for (let child = 1; child < size; child = 2 * hole + 1) {
      if (child + 1 < size && worse(heap[child + 1], heap[child])) child++
      if (!worse(heap[child], value)) break
      heap[hole] = heap[child]
      hole = child
    }
    heap[hole] = value
  }
  let size = 0
  for (let d = 0; d < sums.length; d++) {
    if (sums[d] <= 0) continue
    if (size < capacity) {
      let hole = size++
      for (let parent = (hole - 1) >> 1; hole > 0 && worse(d, heap[parent]); parent = (hole - 1) >> 1) {
        heap[hole] = heap[parent]
        hole = parent
      }
      heap[hole] = d
    } else if (sums[d] > sums[heap[0]]) siftDown(d, size)
  }
  const hits = new Array<Bm25Hit>(size)
  while (size > 0) {
    const index = heap[0]
    siftDown(heap[--size], size)
    hits[size] = { index, score: sums[index] }
  }
  return hits
}

interface TermCounts {
  /** Term → number, in order of first appearance. */
  readonly terms: Map<string, number>
  /** Distinct terms of each document, documents one after another up to `ends[d]`, and how often each occurs. */
  readonly term: Uint32Array
  readonly frequency: Uint32Array
  readonly ends: Uint32Array
  /** Number of terms of each document. */
  readonly lengths: Uint32Array
}

function countTerms(texts: readonly string[]): TermCounts {
  const terms = new Map<string, number>()
  const known = new Map<string, number>() // token → term number, -1 for stop words: each word is stemmed once
  let term = new Uint32Array(1 << 16)
  let frequency = new Uint32Array(1 << 16)
  const ends = new Uint32Array(texts.length)
  const lengths = new Uint32Array(texts.length)
  const slots: number[] = [] // where the current document counts the term; stale below the document's start
  let used = 0
  for (let d = 0; d < texts.length; d++) {
    const start = used
    for (const token of tokens(texts[d])) {
      let id = known.get(token)
      if (id === undefined) {
        id = -1
        if (!stopWords.has(token)) {
          const stem = porterStem(token)
          id = terms.get(stem) ?? terms.size
          if (id === terms.size) {
            terms.set(stem, id)
            slots.push(-1)
          }
        }
        known.set(token, id)
      }
      if (id < 0) continue
      lengths[d]++
      const slot = slots[id]
      if (slot >= start) {
        frequency[slot]++
        continue
      }
      if (used === term.length) {
        term = grown(term)
        frequency = grown(frequency)
      }
      slots[id] = used
      term[used] = id
      frequency[used++] = 1
    }
    ends[d] = used
  }
  return { terms, term: term.subarray(0, used), frequency: frequency.subarray(0, used), ends, lengths }
}

function grown(array: Uint32Array): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(2 * array.length)
  larger.set(array)
  return larger
}
