/** The documents of a snapshot one after the other, as they are stored: for whoever takes them elsewhere. */

import { rangesOf } from '../ragged.js'
import type { EmbeddingData, Embeddings } from '../retrieval/embeddings.js'
import { abortIf } from '../turns.js'
import { chosen } from './builder.js'
import type { Kept } from './segment.js'
import type { Snapshot } from './snapshot.js'

/** Some documents of an index. */
export interface StoredDocuments {
  /** As they were added. */
  ids: readonly string[]
  /** What was given beside each. */
  kept: readonly Kept[]
  /** Their token vectors, as the index stores them; float32 where these are residual codes. */
  embeddings: Embeddings<'document', EmbeddingData>
}

/** Token rows, and documents, at a time: 16 MiB of float32 at 128 dimensions. */
const block = { rows: 1 << 15, texts: 1 << 12 }

/** All that are not deleted, in the order in which they were added. */
export async function* storedDocuments(
  { segments }: Snapshot,
  signal: AbortSignal | undefined,
): AsyncGenerator<StoredDocuments> {
  for (const segment of segments)
    for (const range of rangesOf(segment.embeddings.offsets, block)) {
      abortIf(signal)
      const numbers = Array.from({ length: range.last - range.first }, (_, i) => range.first + i)
      const left = numbers.filter((number) => !segment.isDeleted(number))
      if (left.length === 0) continue
      const stored = await segment.embeddings.download(range)
      const kept: Kept[] = []
      for (const number of left) kept.push(await segment.kept(number))
      yield {
        ids: left.map((number) => segment.id(number)),
        kept,
        embeddings:
          left.length === numbers.length
            ? stored
            : chosen(
                stored,
                left.map((number) => number - range.first),
              ),
      }
    }
}
