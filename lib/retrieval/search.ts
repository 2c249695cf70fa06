import { ArgumentError, DataError } from '../errors.js'
import type { Device } from '../tensor/device.js'
import { checkSides, type Embeddings, ResidentDocuments } from './embeddings.js'
import { scoreBlocks } from './maxsim.js'
import { typeOn, type VectorType } from './vectors.js'

export interface SearchOptions {
  /** Hits per query. Default 10. */
  topK?: number
  /** PyLate's mask: every query token's maximum is at least 0. Default false. */
  floorZero?: boolean
  /** What vectors are multiplied as. Default: that of resident documents, else the type of the array. */
  dtype?: VectorType
  signal?: AbortSignal
}

export interface Hit {
  /** Number of the document in its collection. */
  index: number
  score: number
  /** Its name, where the collection has names. */
  id?: string
}

/**
 * Exhaustive MaxSim search: the best documents of each query, best first; equal scores by lowest index.
 * @throws ArgumentError ERR_ARGUMENT for swapped sides or a bad topK; RecipeError ERR_RECIPE for different recipes;
 *   DataError ERR_DATA when a score is NaN; AbortedError ERR_ABORTED
 */
export async function search(
  device: Device,
  queries: Embeddings<'queries'>,
  documents: Embeddings<'documents'> | ResidentDocuments,
  options: SearchOptions = {},
): Promise<Hit[][]> {
  const { topK = 10, floorZero, dtype, signal } = options
  checkSides(queries, documents)
  if (!Number.isInteger(topK) || topK < 1)
    throw new ArgumentError('ERR_ARGUMENT', `topK is ${topK}, expected a whole number ≥ 1`)
  const best = Array.from({ length: queries.offsets.length - 1 }, () => new Best(topK))
  const resident = documents instanceof ResidentDocuments ? documents.vectors : null
  const vectors = resident ?? (documents as Embeddings<'documents'>)
  const place = resident ?? { device, dtype: typeOn(device, dtype, queries) }
  const scoring = { device: place.device, type: place.dtype, dim: queries.dim, floorZero, signal }
  for await (const block of scoreBlocks(queries, vectors, scoring)) {
    const width = block.lastDocument - block.firstDocument
    for (let q = block.firstQuery; q < block.lastQuery; q++) {
      const row = (q - block.firstQuery) * width
      for (let j = 0; j < width; j++) best[q]!.offer(block.firstDocument + j, block.scores[row + j]!)
    }
  }
  return best.map(({ hits }) => hits.map((hit) => (documents.ids ? { ...hit, id: documents.ids[hit.index]! } : hit)))
}

/** The k best of what is offered, sorted; offers come in rising index order, so a later equal score stands behind. */
export class Best {
  readonly hits: Hit[] = []
  private readonly limit: number

  constructor(limit: number) {
    this.limit = limit
  }

  offer(index: number, score: number): void {
    if (Number.isNaN(score))
      throw new DataError('ERR_DATA', `the score of document ${index} is NaN: an embedding is not finite`, { index })
    const { hits, limit } = this
    if (hits.length === limit && score <= hits[limit - 1]!.score) return
    let [low, high] = [0, hits.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (hits[middle]!.score >= score) low = middle + 1
      else high = middle
    }
    hits.splice(low, 0, { index, score })
    if (hits.length > limit) hits.pop()
  }
}
