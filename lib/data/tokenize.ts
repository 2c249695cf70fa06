import type { Featurizer } from '../text/featurizer.js'
import { contentHash } from './content-hash.js'

/** Rows as tokens, ready for a shard. Items are row by row: the query, then its documents. */
export interface EncodedRows {
  ids: Int32Array<ArrayBuffer>
  /** Tokens of each item. */
  lengths: Int32Array<ArrayBuffer>
  /** Two words per item: a hash of its text, for telling equal content. */
  hashes: Uint32Array<ArrayBuffer>
  /** Documents of each row. */
  documents: Int32Array<ArrayBuffer>
}

/** The texts of a row: query first. */
export type RowTexts = readonly string[]

/** Yields between small steps. */
export function* encodeRows(featurizer: Featurizer, rows: readonly RowTexts[]): Generator<void, EncodedRows> {
  const items = rows.reduce((sum, row) => sum + row.length, 0)
  const lengths = new Int32Array(items)
  const hashes = new Uint32Array(2 * items)
  const documents = new Int32Array(rows.length)
  const parts: Int32Array[] = []
  let item = 0
  let total = 0
  for (const [r, row] of rows.entries()) {
    documents[r] = row.length - 1
    for (const [i, text] of row.entries()) {
      const { ids } = yield* featurizer.featuresInSteps(text, i === 0 ? 'query' : 'document')
      parts.push(ids)
      total += ids.length
      lengths[item] = ids.length
      hashes.set(yield* contentHash(text), 2 * item)
      item++
    }
  }
  const ids = new Int32Array(total)
  let at = 0
  for (const part of parts) {
    ids.set(part, at)
    at += part.length
  }
  return { ids, lengths, hashes, documents }
}
