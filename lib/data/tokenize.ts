import { createHash } from 'node:crypto'
import type { Featurizer } from '../text/featurizer.js'
import { tamed } from '../text/tokenizer/marks.js'
import { startsUnit } from '../text/tokenizer/pieces.js'

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

/** UTF-16 units of a text that are hashed at a time. */
const STRETCH = 1 << 16

/** 64 bits of the MD5 of the text, composed (NFC) and with runs of white space made one blank. */
function* contentHash(text: string): Generator<void, [number, number]> {
  const hash = createHash('md5')
  const trimmed = text.trim()
  for (let at = 0, size = STRETCH; at < trimmed.length; size *= 2) {
    const end = at + size >= trimmed.length ? trimmed.length : lastCut(trimmed, at, at + size)
    if (end === at) continue
    hash.update(tamed(trimmed.slice(at, end)).normalize('NFC').replace(/\s+/g, ' '))
    at = end
    size = STRETCH / 2
    yield
  }
  const digest = hash.digest()
  return [digest.readUInt32LE(0), digest.readUInt32LE(4)]
}

/** The last place in text(from, to] that neither composing nor a run of white space goes across, or `from`. */
function lastCut(text: string, from: number, to: number): number {
  for (let at = to; at > from; at--) if (startsUnit(text[at]!) && !/\s/.test(text.slice(at - 1, at + 1))) return at
  return from
}
