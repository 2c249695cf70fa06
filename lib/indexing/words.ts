/** Which terms the documents of a segment have, for BM25: one file for each segment whose documents all have texts. */
import { FormatError } from '../errors.js'
import { type SafetensorsFile, writeSafetensors } from '../io/safetensors.js'
import { areOffsets } from '../ragged.js'
import { type Postings, postingsOf } from '../retrieval/bm25.js'
import { inTurns, Turns } from '../turns.js'

/** Writes the postings of texts, terms sorted by their bytes, so that one is found without reading all of them. */
export async function writeWords(file: string, texts: readonly string[]): Promise<void> {
  const { terms, offsets, documents, frequencies, lengths } = await inTurns(postingsOf(texts))
  const sorted = Array.from(terms, ([term, number]) => ({ bytes: Buffer.from(term), number }))
  sorted.sort((a, b) => Buffer.compare(a.bytes, b.bytes))
  const termOffsets = new Float64Array(sorted.length + 1)
  const ends = new Float64Array(sorted.length + 1)
  const byTerm = { documents: new Int32Array(documents.length), frequencies: new Int32Array(documents.length) }
  const turns = new Turns()
  for (const [i, { bytes, number }] of sorted.entries()) {
    const [from, to] = [offsets[number]!, offsets[number + 1]!]
    byTerm.documents.set(documents.subarray(from, to), ends[i])
    byTerm.frequencies.set(frequencies.subarray(from, to), ends[i])
    termOffsets[i + 1] = termOffsets[i]! + bytes.length
    ends[i + 1] = ends[i]! + to - from
    if (turns.due) await turns.take()
  }
  const tensor = (name: string, data: Float64Array | Int32Array | Buffer) => ({ name, shape: [data.length], data })
  await writeSafetensors(file, [
    tensor('terms', Buffer.concat(sorted.map(({ bytes }) => bytes))),
    tensor('termOffsets', termOffsets),
    tensor('offsets', ends),
    tensor('documents', byTerm.documents),
    tensor('frequencies', byTerm.frequencies),
    tensor('lengths', lengths),
  ])
}

/** The postings of an open file. */
export class Words implements Postings {
  readonly size: number
  readonly offsets: Float64Array
  readonly documents: Int32Array
  readonly frequencies: Int32Array
  readonly lengths: Int32Array
  private readonly terms: Buffer
  private readonly termOffsets: Float64Array

  private constructor(terms: Buffer, termOffsets: Float64Array, postings: Omit<Postings, 'find' | 'size'>) {
    this.size = postings.lengths.length
    this.offsets = postings.offsets as Float64Array
    this.documents = postings.documents
    this.frequencies = postings.frequencies
    this.lengths = postings.lengths
    this.terms = terms
    this.termOffsets = termOffsets
  }

  /** @throws FormatError ERR_FORMAT for a file that holds no postings of so many documents */
  static async read(file: SafetensorsFile, size: number): Promise<Words> {
    const types = { termOffsets: 'F64', offsets: 'F64', terms: 'U8' }
    const typed = Object.entries(types).every(([name, type]) => file.tensor(name).dtype === type)
    const bad = () =>
      new FormatError('ERR_FORMAT', `${file.path} holds no words of ${size} documents`, { file: file.path })
    if (!typed) throw bad()
    const terms = await file.bytes('terms')
    const [termOffsets, offsets] = [await file.numbers('termOffsets'), await file.numbers('offsets')]
    const [documents, frequencies] = [await file.integers('documents'), await file.integers('frequencies')]
    const lengths = await file.integers('lengths')
    const sound =
      lengths.length === size &&
      termOffsets.length === offsets.length &&
      areOffsets(termOffsets, terms.length) &&
      areOffsets(offsets, documents.length) &&
      frequencies.length === documents.length &&
      documents.every((document) => document >= 0 && document < size)
    if (!sound) throw bad()
    return new Words(terms, termOffsets, { offsets, documents, frequencies, lengths })
  }

  find(term: string): number {
    const wanted = Buffer.from(term)
    const { terms, termOffsets } = this
    let [low, high] = [0, termOffsets.length - 1]
    while (low < high) {
      const middle = (low + high) >> 1
      const order = terms.compare(wanted, 0, wanted.length, termOffsets[middle], termOffsets[middle + 1])
      if (order === 0) return middle
      if (order < 0) low = middle + 1
      else high = middle
    }
    return -1
  }
}
