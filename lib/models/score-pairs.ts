import type { Embeddings } from '../retrieval/embeddings.js'
import { maxsim } from '../retrieval/maxsim.js'
import type { Colbert } from './colbert.js'
import type { EncodeOptions } from './encode.js'

/** A document, and the queries that it is scored with: their positions among those that were encoded. */
export interface AskedDocument {
  text: string
  queries: readonly number[]
}

/** Scores of some documents. */
export interface PairScores {
  /** How many documents. */
  documents: number
  /** One score for each query of each document, in their order. */
  scores: Float32Array
  /** Documents that were cut. */
  truncated: number
}

/**
 * Scores of chosen pairs of queries and documents. Each document is encoded once, scored with the queries that ask for it, and
 * forgotten: memory does not grow with their number.
 */
export async function* scorePairs(
  model: Colbert,
  queries: Embeddings<'query'>,
  documents: Iterable<AskedDocument> | AsyncIterable<AskedDocument>,
  options: EncodeOptions,
): AsyncGenerator<PairScores> {
  const { device, storedAs: dtype, clampNegatives } = model
  const waiting: (readonly number[])[] = []
  async function* texts(): AsyncGenerator<string> {
    for await (const document of documents) {
      waiting.push(document.queries)
      yield document.text
    }
  }
  for await (const part of model.streamDocuments(texts(), options)) {
    const asking = waiting.splice(0, part.offsets.length - 1)
    const pairs = asking.flatMap((numbers, d) => numbers.flatMap((q) => [q, d]))
    const scores = await maxsim(queries, part, {
      ...{ layout: 'pairs', pairs, device, dtype, clampNegatives, signal: options.signal },
    })
    yield { documents: asking.length, scores, truncated: part.truncated! }
  }
}
