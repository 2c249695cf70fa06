/** When two texts count as the same: in a batch, among the rows of a source, in training data and a test. */
import { createHash } from 'node:crypto'
import { tamed } from '../text/tokenizer/marks.js'
import { startsUnit } from '../text/tokenizer/pieces.js'
import { atOnce } from '../turns.js'

/** UTF-16 units of a text that are hashed at a time. */
const STRETCH = 1 << 16

/** 64 bits of the MD5 of the text, composed (NFC) and with runs of white space made one blank; yields between small steps. */
export function* contentHash(text: string): Generator<void, [number, number]> {
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

/** 53 bits of the same, as a number. */
export function contentKey(text: string): number {
  const [low, high] = atOnce(contentHash(text))
  return low + (high % 2 ** 21) * 2 ** 32
}

/** Keys of a row's query and of its positive. */
export interface RowKeys {
  query: number
  positive: number
}
