/** Queries that documents can ask: the first token vectors of each. */
import { joined, offsetsOf } from '../ragged.js'
import type { EmbeddingData, Embeddings } from '../retrieval/embeddings.js'
import { widened } from './cluster.js'

/** Token vectors of a query that is made of a document. */
const most = 16

/** The first token vectors of a document. */
export function firstTokens({ data, scales, dim }: Embeddings<'document', EmbeddingData>): Float32Array {
  const rows = Uint32Array.from({ length: Math.min(most, data.length / dim) }, (_, i) => i)
  return widened({ data, dim, ...(scales && { scales }) }, rows)
}

/** Queries of token vectors [rows, dim] each. */
export function queriesOf(vectors: readonly Float32Array[], dim: number): Embeddings<'query'> {
  const offsets = offsetsOf(vectors.map((part) => part.length / dim))
  return { data: joined(Float32Array, vectors), offsets, dim, role: 'query' }
}
