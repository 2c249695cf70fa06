import { ArgumentError } from '../errors.js'
import { offsetsOf, type Range, rangesOf } from '../ragged.js'
import { countOf, type EmbeddingData, type Embeddings, rowsOf, typeOf } from '../retrieval/embeddings.js'
import { quantizeEmbeddings, widenEmbeddings } from '../retrieval/quantize.js'
import { type Manifest, rowsOfType, type StoredEmbeddings } from './manifest.js'
import type { Kept, NewSegment } from './segment.js'

/** Bytes of the token embeddings of a segment, about: what adding holds in memory, twice while it is written. */
const segmentBytes = 1 << 27

const widths = { int8: 1, float16: 2, float32: 4 } as const
const arrays = { int8: Int8Array, float16: Uint16Array, float32: Float32Array } as const

type Stored = Embeddings<'document', EmbeddingData>

/** Most tokens of a segment; a document with more is alone in one. */
export const segmentTokens = ({ type, dim }: Pick<Manifest, 'type' | 'dim'>): number =>
  Math.max(1, Math.floor(segmentBytes / (dim * widths[rowsOfType(type)])))

/** Embeddings as an index stores them. @throws ArgumentError ERR_ARGUMENT for what cannot become that */
export async function storedAs(embeddings: Stored, type: StoredEmbeddings): Promise<Stored> {
  const found = typeOf(embeddings)
  if (found === type) return embeddings
  if (found === 'int8')
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `the embeddings are int8 and would be stored as ${type}; give float32 or float16`,
    )
  const wide = await widenEmbeddings(embeddings as Embeddings<'document', Float32Array | Uint16Array>)
  return type === 'float32' ? wide : quantizeEmbeddings(wide, type)
}

/** Some of the documents, by their numbers. */
export function chosen(embeddings: Stored, documents: readonly number[]): Stored {
  if (documents.length === countOf(embeddings)) return embeddings
  const { data, scales, offsets, dim } = embeddings
  const rows = documents.flatMap((i) =>
    Array.from({ length: offsets[i + 1]! - offsets[i]! }, (_, n) => offsets[i]! + n),
  )
  const kept = data.slice(0, rows.length * dim)
  for (const [n, row] of rows.entries()) kept.set(data.subarray(row * dim, (row + 1) * dim), n * dim)
  return {
    ...{ ...embeddings, data: kept, offsets: offsetsOf(documents.map((i) => offsets[i + 1]! - offsets[i]!)) },
    ...(scales && { scales: Float32Array.from(rows, (row) => scales[row]!) }),
  }
}

/** Documents that become a segment together. */
export class Builder {
  tokens = 0
  private parts: Stored[] = []
  private ids: string[] = []
  private kept: Kept[] = []
  private readonly manifest: Pick<Manifest, 'type' | 'dim'>

  /** @param manifest what the documents are stored as */
  constructor(manifest: Pick<Manifest, 'type' | 'dim'>) {
    this.manifest = manifest
  }

  get documents(): number {
    return this.ids.length
  }

  get isFull(): boolean {
    return this.tokens >= segmentTokens(this.manifest)
  }

  /** Ranges of documents that each fit into a segment. */
  ranges({ offsets }: Stored): Generator<Range> {
    return rangesOf(offsets, { rows: segmentTokens(this.manifest) })
  }

  append(part: Stored, ids: readonly string[], kept: readonly Kept[]): void {
    this.parts.push(part)
    this.tokens += rowsOf(part)
    for (const [i, id] of ids.entries()) {
      const { text, metadata } = kept[i] ?? {}
      this.ids.push(id)
      this.kept.push({ ...(text !== undefined && { text }), ...(metadata !== undefined && { metadata }) })
    }
  }

  /** All of it in one piece; the builder is empty then. */
  take(): NewSegment {
    const { parts, ids, kept, tokens } = this
    const { dim } = this.manifest
    const type = rowsOfType(this.manifest.type)
    const data = new arrays[type](tokens * dim)
    const scales = type === 'int8' ? new Float32Array(tokens) : undefined
    const offsets = new Float64Array(ids.length + 1)
    let [document, row] = [0, 0]
    for (const part of parts) {
      data.set(part.data, row * dim)
      scales?.set(part.scales!, row)
      for (let i = 1; i <= countOf(part); i++) offsets[++document] = row + part.offsets[i]!
      row += rowsOf(part)
    }
    this.parts = []
    this.ids = []
    this.kept = []
    this.tokens = 0
    return { embeddings: { data, ...(scales && { scales }), offsets, dim, role: 'document' }, ids, kept }
  }
}
