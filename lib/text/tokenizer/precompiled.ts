/** SentencePiece's "Precompiled" normaliser, with the table of the file and as Hugging Face's Rust tokenizers read it. */
import { FormatError } from '../../errors.js'

/** Bytes from which a grapheme is looked up character by character. */
const LONG_GRAPHEME = 6
/** Graphemes kept in the cache before it is emptied. */
const CACHED = 1 << 14
const PRINTABLE = /^[ -~]*$/
const encoder = new TextEncoder()

export class Precompiled {
  /** Every printable ASCII character stays as it is. */
  readonly keepsAscii: boolean
  /** A double-array trie (Aoe 1989) from UTF-8 bytes to a place in `texts`, where each text ends with a zero byte. */
  private readonly trie: Uint32Array
  private readonly texts: Uint8Array
  private readonly graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' })
  private readonly known = new Map<string, string>()
  private readonly decoder = new TextDecoder('utf-8', { ignoreBOM: true })

  /** @throws FormatError `ERR_FORMAT` for a damaged table */
  constructor(charsmap: unknown) {
    const bytes = Buffer.from(typeof charsmap === 'string' ? charsmap : '', 'base64')
    const size = bytes.length >= 4 ? bytes.readUInt32LE(0) : 0
    if (size < 4 || size % 4 !== 0 || 4 + size > bytes.length)
      throw new FormatError('ERR_FORMAT', `the "precompiled_charsmap" of a Precompiled normalizer is damaged.`)
    this.trie = Uint32Array.from({ length: size / 4 }, (_, i) => bytes.readUInt32LE(4 + 4 * i))
    this.texts = bytes.subarray(4 + size)
    const ascii = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i))
    this.keepsAscii = ascii.every((character) => (this.find(character) ?? character) === character)
  }

  apply(text: string): string {
    if (this.keepsAscii && PRINTABLE.test(text)) return text
    let out = ''
    for (const { segment } of this.graphemes.segment(text)) {
      let image = this.known.get(segment)
      if (image === undefined) {
        const whole = encoder.encode(segment).length < LONG_GRAPHEME ? this.find(segment) : undefined
        image = whole ?? Array.from(segment, (character) => this.find(character) ?? character).join('')
        if (this.known.size >= CACHED) this.known.clear()
        this.known.set(segment, image)
      }
      out += image
    }
    return out
  }

  /** What the shortest beginning of `key` that the table has becomes: the reference gives it for all of `key`. */
  private find(key: string): string | undefined {
    const { trie, texts } = this
    let at = offset(trie[0]!)
    for (const byte of encoder.encode(key)) {
      if (byte === 0) return undefined
      at ^= byte
      const unit = trie[at] ?? 0
      if ((unit & 0x800000ff) >>> 0 !== byte) return undefined
      at ^= offset(unit)
      if (((unit >>> 8) & 1) === 1) {
        const start = (trie[at] ?? 0) & 0x7fffffff
        const end = texts.indexOf(0, start)
        return this.decoder.decode(texts.subarray(start, end < 0 ? texts.length : end))
      }
    }
    return undefined
  }
}

/** From a trie's unit to its children. */
function offset(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6)
}
