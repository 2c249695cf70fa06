import { FormatError } from '../../errors.js'
import { tamed } from './marks.js'
import { huggingFace } from './package.js'
import { Precompiled } from './precompiled.js'
import { type BertNormalizerOptions, bertNormalizer } from './pretokenize.js'

type Json = Record<string, unknown>

/** Whether a stretch of text begins and ends where a section (all between two added tokens) does. */
export interface Edges {
  begins: boolean
  ends: boolean
}

/** The "normalizer" of a tokenizer.json. */
export interface Normalizer {
  apply(text: string, edges: Edges): string
  /**
   * Where a text may be cut so that its parts, normalised, are the whole normalised: `border` before a blank between two
   * letters or digits; `anywhere`: between two
   * characters that are no blanks and do not combine.
   */
  readonly cuts: (typeof CUTS)[number]
  /** What it leaves as it is: blanks and punctuation, only blanks (one between two letters), or neither. */
  readonly keeps: (typeof KEEPS)[number]
  /** Whether it puts blanks around Chinese characters. */
  readonly spacesChinese: boolean
}

/** From the worst to the best. */
const CUTS = ['nowhere', 'border', 'anywhere'] as const
const KEEPS = ['nothing', 'blanks', 'punctuation'] as const

const STRIP_START = /^\p{White_Space}+/u
const MARKS = /\p{M}/gu

/** @throws FormatError `ERR_FORMAT` for one that is not known */
export function normalizerOf(config: unknown): Normalizer {
  const { type, ...options } = (config ?? { type: 'None' }) as Json
  const plain = (apply: Normalizer['apply'], cuts: Normalizer['cuts'] = 'anywhere'): Normalizer => ({
    apply,
    cuts,
    keeps: 'punctuation',
    spacesChinese: false,
  })
  switch (type) {
    case 'None':
      return plain((text) => text)
    case 'BertNormalizer': {
      const bert = options as BertNormalizerOptions
      return { ...plain(bertNormalizer(bert)), spacesChinese: bert.handle_chinese_chars ?? true }
    }
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD':
      return plain((text) => tamed(text).normalize(type))
    case 'Lowercase':
      return plain(lowerCase)
    case 'StripAccents':
      return plain((text) => text.replace(MARKS, ''))
    case 'Strip': {
      const { strip_left: left, strip_right: right } = options
      return plain((text, { begins, ends }) => {
        const rest = left && begins ? text.replace(STRIP_START, '') : text
        return right && ends ? stripEnd(rest) : rest
      })
    }
    case 'Prepend':
      return plain((text, { begins }) => (begins ? String(options.prepend ?? '') + text : text))
    case 'Replace':
      return { ...plain(replacement(options)), ...cutsOfReplace(options) }
    case 'Precompiled': {
      const table = new Precompiled(options.precompiled_charsmap)
      const normalizer = plain((text) => table.apply(text))
      // What becomes of blanks and letters is not known then.
      return table.keepsAscii ? normalizer : { ...normalizer, cuts: 'nowhere', keeps: 'nothing' }
    }
    case 'Sequence':
      return sequence(((options.normalizers ?? []) as unknown[]).map(normalizerOf))
    default:
      throw new FormatError('ERR_FORMAT', `the normalizer ${JSON.stringify(type)} is not known.`, { type })
  }
}

function sequence(parts: readonly Normalizer[]): Normalizer {
  return {
    apply: (text, edges) => parts.reduce((done, part) => part.apply(done, edges), text),
    cuts: CUTS.find((cuts) => parts.some((part) => part.cuts === cuts)) ?? 'anywhere',
    keeps: KEEPS.find((keeps) => parts.some((part) => part.keeps === keeps)) ?? 'punctuation',
    spacesChinese: parts.some((part) => part.spacesChinese),
  }
}

/** Character by character, as Rust's `to_lowercase` of a char: a word-final capital sigma is σ too. */
export function lowerCase(text: string): string {
  return text.replace(/Σ/g, 'σ').toLowerCase()
}

function replacement(options: Json): (text: string) => string {
  const pattern = options.pattern as { String?: string; Regex?: string } | undefined
  const content = String(options.content ?? '')
  if (typeof pattern?.String === 'string') {
    const literal = pattern.String
    return (text) => text.split(literal).join(content)
  }
  if (typeof pattern?.Regex !== 'string')
    throw new FormatError('ERR_FORMAT', `the pattern ${JSON.stringify(pattern)} of a Replace is not known.`)
  const { ReplaceNormalizer } = huggingFace()
  const engine = new ReplaceNormalizer({ type: 'Replace', ...options })
  return (text) => engine.normalize(text)
}

/** A pattern that might match across a cut, or takes away what a cut is recognised by, forbids it. */
function cutsOfReplace({ pattern }: Json): Pick<Normalizer, 'cuts' | 'keeps'> {
  const { String: literal, Regex: regex } = (pattern ?? {}) as { String?: string; Regex?: string }
  // Runs of blanks, as SentencePiece has it: a single blank is none.
  if (regex === ' {2,}') return { cuts: 'anywhere', keeps: 'punctuation' }
  if (literal === undefined || literal === '' || /[\p{L}\p{Nd}]/u.test(literal))
    return { cuts: 'nowhere', keeps: 'nothing' }
  if (literal === ' ') return { cuts: 'anywhere', keeps: 'nothing' }
  if ([...literal].length === 1) return { cuts: 'anywhere', keeps: 'blanks' }
  return literal.slice(1).includes(' ') ? { cuts: 'nowhere', keeps: 'nothing' } : { cuts: 'border', keeps: 'blanks' }
}

function stripEnd(text: string): string {
  let end = text.length
  while (end > 0 && /\p{White_Space}/u.test(text[end - 1]!)) end--
  return text.slice(0, end)
}
