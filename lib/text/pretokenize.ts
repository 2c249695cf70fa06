/**
 * The two text pipelines ColBERT checkpoints use, written so that they agree with Hugging Face's Rust tokenizers
 * (Unicode White_Space rather than JavaScript's `\s`, lower-casing code point by code point, CJK beyond the BMP) and
 * build no offsets: BERT's normaliser and splitter, and GPT-2's byte-level splitter.
 */

const PRINTABLE_ASCII = /^[\t\n\r -~]*$/
const ASCII_WORDS = /[0-9A-Za-z]+|[!-/:-@[-`{-~]/g
const CONTROL = /[\0\ufffd]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\p{Cs}]/gu
const WHITE_SPACE = /\p{White_Space}/gu
const CJK =
  /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu
const NONSPACING_MARK = /\p{Mn}/gu
const UNICODE_WORDS = /[^\p{White_Space}\p{P}!-/:-@[-`{-~]+|[\p{P}!-/:-@[-`{-~]/gu
const BYTE_LEVEL_WORDS =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu

export interface BertNormalizerOptions {
  clean_text?: boolean
  handle_chinese_chars?: boolean
  strip_accents?: boolean | null
  lowercase?: boolean
}

/** `BertNormalizer` of a tokenizer.json as a function. */
export function bertNormalizer(options: BertNormalizerOptions): (text: string) => string {
  const { clean_text: clean = true, handle_chinese_chars: cjk = true, lowercase = true } = options
  const stripAccents = options.strip_accents ?? lowercase
  return (text) => {
    if (PRINTABLE_ASCII.test(text)) {
      const spaced = clean ? text.replace(/[\t\n\r]/g, ' ') : text
      return lowercase ? spaced.toLowerCase() : spaced
    }
    if (clean) text = text.replace(CONTROL, '').replace(WHITE_SPACE, ' ')
    if (cjk) text = text.replace(CJK, ' $& ')
    if (stripAccents) text = text.normalize('NFD').replace(NONSPACING_MARK, '')
    // JavaScript lower-cases a word-final capital sigma to ς; the reference maps each code point alone.
    return lowercase ? text.replace(/Σ/g, 'σ').toLowerCase() : text
  }
}

/** `BertPreTokenizer`: splits at white space, and every punctuation mark is a word of its own. */
export function bertWords(text: string): string[] {
  return text.match(PRINTABLE_ASCII.test(text) ? ASCII_WORDS : UNICODE_WORDS) ?? []
}

/** The words of `ByteLevel` (GPT-2's expression), still as text: see {@link toByteLevel}. */
export function byteLevelWords(text: string): string[] {
  return text.match(BYTE_LEVEL_WORDS) ?? []
}

/** GPT-2's printable stand-in for each byte: printable Latin-1 is itself, the others count up from U+0100. */
const BYTE_TO_CHAR: readonly string[] = (() => {
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
    return String.fromCharCode(printable ? byte : next++)
  })
})()
const encoder = new TextEncoder()

/** A word's UTF-8 bytes in GPT-2's printable alphabet. */
export function toByteLevel(word: string): string {
  let out = ''
  for (const byte of encoder.encode(word)) out += BYTE_TO_CHAR[byte]
  return out
}
