/** Queries that documents can ask: the first token vectors of each. */
import type { Colbert } from '../models/colbert.js'
import { joined, offsetsOf } from '../ragged.js'
import type { EmbeddingData, Embeddings } from '../retrieval/embeddings.js'
import { widened } from './cluster.js'
import type { Judgments } from './options.js'
import type { Snapshot } from './snapshot.js'

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

/** Of a query made of a document. */
const ownWords = 8

/**
 * Queries that an index can ask itself: the first words of evenly spaced documents where it has texts and a model, else the
 * first token vectors of each. Of each query the document that it was made of is judged relevant.
 */
export async function ownQueries(
  { segments, manifest, counts }: Snapshot,
  model: Colbert | undefined,
  wanted: number,
): Promise<{ queries: string[] | Embeddings<'query', EmbeddingData>; judgments: Judgments }> {
  const step = Math.max(1, counts.documents / wanted)
  const texts: string[] = []
  const vectors: Float32Array[] = []
  const judgments: ReadonlyMap<string, number>[] = []
  let [number, next] = [0, 0]
  for (const segment of segments)
    for (let document = 0; document < segment.documents; document++) {
      if (segment.isDeleted(document) || number++ < Math.floor(next)) continue
      next += step
      judgments.push(new Map([[segment.id(document), 1]]))
      const { text } = await segment.kept(document)
      if (text !== undefined && model) texts.push(text.split(/\s+/).slice(0, ownWords).join(' '))
      else vectors.push(firstTokens(await segment.embeddings.download({ first: document, last: document + 1 })))
    }
  return { queries: model && vectors.length === 0 ? texts : queriesOf(vectors, manifest.dim), judgments }
}
