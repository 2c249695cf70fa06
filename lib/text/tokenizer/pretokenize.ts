/**
 * The "pre_tokenizer" of a tokenizer.json and BERT's normaliser, written so that they agree with Hugging Face's Rust
 * tokenizers (Unicode White_Space rather than JavaScript's `\s`, lower-casing code point by code point, CJK beyond the
 * BMP) and build no offsets.
 */
import { FormatError } from '../../errors.js'
import { tamed } from './marks.js'
import { huggingFace } from './package.js'

type Json = Record<string, unknown>

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
    if (stripAccents) text = tamed(text).normalize('NFD').replace(NONSPACING_MARK, '')
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

/** Where a stretch of text stands. */
export interface Place {
  /** At the very beginning of the text. */
  first: boolean
  /** Where a section begins: nothing but an added token is before it. */
  begins: boolean
}

/** Splits text into words. */
export interface Splitter {
  split(text: string, place: Place): string[]
  /** The form of a word that the model reads. */
  form?: (word: string) => string
  /**
   * Which borders of words are seen in the text itself: before a blank between two letters or digits (`blanks`), before
   * punctuation after a letter too (`words`), or none.
   */
  readonly borders: (typeof BORDERS)[number]
  /** Whether blanks are no part of words. */
  readonly dropsBlanks: boolean
  /**
   * If the text goes on, words that end so many characters before its end stay what they are, and the word after them
   * begins as it does, its last character aside. Null where that is not known.
   */
  readonly tail: number | null
}

/** From the worst to the best. */
const BORDERS = ['none', 'blanks', 'words'] as const
const WHITE = /\p{White_Space}+/u
const PUNCTUATION_CLASS = '\\p{P}!-/:-@\\[-`{-~'
const WORD_CLASS = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u200c\\u200d'
const WORDS_AND_SIGNS = new RegExp(`[${WORD_CLASS}]+|[^${WORD_CLASS}\\p{White_Space}]+`, 'gu')

/** Expressions of which every letter, digit and sign is a match's, and no match goes on from a letter or digit over a border. */
const KNOWN_WORDS: ReadonlySet<string> = (() => {
  const short = `'s|'t|'re|'ve|'m|'ll|'d`
  const signs = String.raw`[^\s\p{L}\p{N}]+`
  const blanks = String.raw`\s+(?!\S)|\s+`
  const lines = String.raw`\s*[\r\n]+|${blanks}`
  const before = String.raw`[^\r\n\p{L}\p{N}]?`
  const [upper, lower] = [String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`, String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`]
  const clip = String.raw`${short}|[\p{L}]+|[\p{N}]|${signs}`
  return new Set([
    String.raw`${short}| ?\p{L}+| ?\p{N}+| ?${signs}|${blanks}`, // GPT-2
    String.raw`(?i:${short})|${before}\p{L}+|\p{N}{1,3}| ?${signs}[\r\n]*|${lines}`, // GPT-4, Llama 3
    String.raw`(?i:${short})|${before}\p{L}+|\p{N}| ?${signs}[\r\n]*|${lines}`, // Qwen 2
    String.raw`${before}${upper}*${lower}+(?i:${short})?|${before}${upper}+${lower}*(?i:${short})?|\p{N}{1,3}| ?${signs}[\r\n/]*|${lines}`, // GPT-4o
    clip,
    String.raw`<\|startoftext\|>|<\|endoftext\|>|${clip}`,
  ])
})()

/** @throws FormatError `ERR_FORMAT` for one that is not known */
export function splitterOf(config: unknown): Splitter {
  const { type, ...options } = (config ?? { type: 'None' }) as Json
  const matches = (pattern: RegExp, borders: Splitter['borders'] = 'none', dropsBlanks = false): Splitter => ({
    split: (text) => text.match(pattern) ?? [],
    borders,
    dropsBlanks,
    tail: 1,
  })
  switch (type) {
    case 'None':
      return { split: (text) => [text], borders: 'none', dropsBlanks: false, tail: 1 }
    case 'BertPreTokenizer':
      return { split: bertWords, borders: 'words', dropsBlanks: true, tail: 1 }
    case 'WhitespaceSplit':
      // Splitting at blanks, as matching a word of some ten million characters overflows the expression's stack.
      return { ...matches(WHITE, 'blanks', true), split: (text) => text.split(WHITE).filter((word) => word !== '') }
    case 'Whitespace':
      return matches(WORDS_AND_SIGNS, 'words', true)
    case 'Digits':
      return matches(options.individual_digits ? /\p{N}|\P{N}+/gu : /\p{N}+|\P{N}+/gu)
    case 'Punctuation': {
      const pattern = new RegExp(`[${PUNCTUATION_CLASS}]`, 'gu')
      const behavior = String(options.behavior ?? 'Isolated')
      return {
        split: (text) => splitBy(text, pattern, behavior, false),
        borders: 'none',
        dropsBlanks: false,
        tail: null,
      }
    }
    case 'Split': {
      const { pattern } = new (huggingFace().SplitPreTokenizer)({ type, ...options })
      if (pattern === null) throw unknown('pattern of the pre-tokenizer Split', options.pattern)
      const global = new RegExp(pattern.source, 'gu')
      const behavior = String(options.behavior)
      const invert = options.invert === true
      // A single character is seen as soon as it is there; an expression may look anywhere.
      const { String: literal = '', Regex: expression = '' } = options.pattern as { String?: string; Regex?: string }
      const single = [...literal].length === 1
      const alone = behavior === 'Isolated' || (behavior === 'Removed' && invert)
      return {
        split: (text) => splitBy(text, global, behavior, invert),
        borders: alone && KNOWN_WORDS.has(expression) ? 'words' : 'none',
        dropsBlanks: false,
        tail: single ? 2 : null,
      }
    }
    case 'FixedLength': {
      const length = options.length
      if (!Number.isInteger(length) || (length as number) < 1)
        throw unknown('length of the pre-tokenizer FixedLength', length)
      return matches(new RegExp(`[^]{1,${length}}`, 'gu'))
    }
    case 'ByteLevel':
      return byteLevel(options)
    case 'Metaspace':
      return metaspace(options)
    case 'Sequence':
      return sequence(((options.pretokenizers ?? []) as unknown[]).map(splitterOf))
    default:
      throw unknown('pre-tokenizer', type)
  }
}

function unknown(what: string, value: unknown): FormatError {
  return new FormatError('ERR_FORMAT', `the ${what} ${JSON.stringify(value)} is not known.`, { value })
}

function byteLevel({ add_prefix_space: prefixed, use_regex: regex }: Json): Splitter {
  const spaced = (text: string, begins: boolean): string =>
    prefixed && begins && text !== '' && !text.startsWith(' ') ? ` ${text}` : text
  if (regex === false)
    return {
      split: (text, { begins }) => [spaced(text, begins)],
      form: toByteLevel,
      borders: 'none',
      dropsBlanks: false,
      tail: 1,
    }
  return {
    split: (text, { begins }) => byteLevelWords(spaced(text, begins)),
    form: toByteLevel,
    borders: 'words',
    dropsBlanks: false,
    // The longest look ahead is at 're; a run of white space leaves its last character to the word after it.
    tail: 3,
  }
}

/** SentencePiece's: a blank is a visible character, at which a word begins. */
function metaspace(options: Json): Splitter {
  const { replacement: blank = '\u2581', prepend_scheme, add_prefix_space, split = true } = options
  const scheme = prepend_scheme ?? (add_prefix_space === false ? 'never' : 'always')
  const words = new RegExp(`${escaped(String(blank))}[^${escaped(String(blank))}]*|[^${escaped(String(blank))}]+`, 'gu')
  return {
    split(text, { first, begins }) {
      let marked = text.replaceAll(' ', String(blank))
      if (begins && (scheme === 'always' || (scheme === 'first' && first)) && !marked.startsWith(String(blank)))
        marked = blank + marked
      return split === false ? [marked] : (marked.match(words) ?? [])
    },
    borders: split === false ? 'none' : 'blanks',
    dropsBlanks: false,
    tail: 1,
  }
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&')
}

/** Each splits the words of the one before. */
function sequence(parts: readonly Splitter[]): Splitter {
  const [head, ...rest] = parts
  if (head === undefined) return splitterOf(null)
  if (rest.length === 0) return head
  const last = rest.at(-1)!
  const tails = parts.map(({ tail }) => tail)
  return {
    split(text, place) {
      let words = head.split(text, place)
      let form = head.form
      for (const part of rest) {
        words = words.flatMap((word, i) => {
          const first = place.first && i === 0 && text.startsWith(word)
          return part.split(form ? form(word) : word, { first, begins: true })
        })
        form = part.form
      }
      return words
    },
    ...(last.form && { form: last.form }),
    borders: head.borders,
    dropsBlanks: head.dropsBlanks,
    tail: tails.includes(null) ? null : Math.max(...(tails as number[])),
  }
}

/** Rust's `split` of a text by a pattern; what happens with a match is its behaviour. */
function splitBy(text: string, pattern: RegExp, behavior: string, invert: boolean): string[] {
  const parts: { text: string; match: boolean }[] = []
  let at = 0
  const add = (part: string, match: boolean): void => {
    if (part !== '') parts.push({ text: part, match: match !== invert })
  }
  for (const { 0: found, index } of text.matchAll(pattern)) {
    add(text.slice(at, index), false)
    add(found, true)
    at = index + found.length
  }
  add(text.slice(at), false)
  const words: string[] = []
  const join = (here: (i: number) => boolean): string[] => {
    for (const [i, part] of parts.entries()) {
      if (here(i)) words[words.length - 1] += part.text
      else words.push(part.text)
    }
    return words
  }
  switch (behavior.toLowerCase().replaceAll('_', '')) {
    case 'removed':
      return parts.filter(({ match }) => !match).map((part) => part.text)
    case 'isolated':
      return parts.map((part) => part.text)
    case 'contiguous':
      return join((i) => i > 0 && parts[i]!.match === parts[i - 1]!.match)
    case 'mergedwithprevious':
      return join((i) => i > 0 && parts[i]!.match && !parts[i - 1]!.match)
    case 'mergedwithnext':
      return join((i) => i > 0 && parts[i - 1]!.match && !parts[i]!.match)
    default:
      throw unknown('behaviour', behavior)
  }
}
