import type { AddedTokens } from './added.js'
import type { Model } from './model.js'
import type { Normalizer } from './normalize.js'
import type { Splitter } from './pretokenize.js'

const LETTER = /[\p{L}\p{Nd}]/u
const WHITE_PAIR = /[ \t\n\r]{2}/
/** What makes up words, Chinese aside. */
const IN_WORD = /[0-9A-Za-z]|(?![\u2e80-\u9fff\uf900-\ufaff])[\p{L}\p{M}\p{Nd}]/u
const ONLY_WORD = /^[\p{L}\p{M}\p{N}]+$/u
const BLANK_BORDER = /[\p{L}\p{Nd}] /u
/** Letters that are one character in every normal form, and punctuation that no normal form or lower-casing looks past. */
const PLAIN = '0-9A-Za-z\\u4e00-\\u9fff\\uac00-\\ud7a3'
const PUNCTUATION = ',;!?、。，；！？'
const PUNCTUATION_BORDER = new RegExp(`[${PLAIN}][${PUNCTUATION}]`, 'u')
const CHINESE_BORDER = /[\u4e00-\u9fff]{2}/u
const STARTER =
  /[ -~\u0400-\u0482\u048a-\u052f\u05d0-\u05ea\u0620-\u064a\u0904-\u0939\u0e01-\u0e30\u3001\u3002\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uff01-\uff60]/

/** Whether a character is known to begin a new unit in all four normal forms: none before it changes through it. */
export function startsUnit(character: string): boolean {
  return STARTER.test(character)
}

/**
 * Where a text can be cut so that its parts, tokenized one after another, give the tokens of the whole. At a border
 * neither the normaliser nor the splitter nor an added token looks across:
 *
 * - before a blank between two letters or digits (a single blank, so that nothing that looks at runs of them is met);
 * - before a comma or the like after a plain letter, where the splitter makes punctuation words of its own;
 * - between two Chinese characters, where the normaliser puts blanks between them and the splitter drops those;
 * - between two blanks, where the splitter drops those.
 *
 * A border that an added token's content spans is none; a tokenizer with such a token does without that kind.
 */
export class Cuts {
  private readonly blanks: boolean
  private readonly punctuation: boolean
  private readonly chinese: boolean
  private readonly white: boolean
  /** Letters that make a word unknown however it goes on, and characters around a cut that no added token crosses. */
  private readonly tooMany: number
  private readonly around: number
  /** Whether a text may also be cut inside a word: see `Tokenizer`. */
  readonly anywhere: boolean

  constructor(normalizer: Normalizer, splitter: Splitter, added: AddedTokens, model: Model) {
    const spans = (border: RegExp): boolean => added.contents.some((content) => border.test(content))
    const some = !added.looksAround && normalizer.cuts !== 'nowhere'
    const borders = some && normalizer.keeps !== 'nothing' && splitter.borders !== 'none'
    this.blanks = borders && !spans(BLANK_BORDER)
    this.punctuation =
      borders && normalizer.keeps === 'punctuation' && splitter.borders === 'words' && !spans(PUNCTUATION_BORDER)
    this.chinese = borders && normalizer.spacesChinese && splitter.dropsBlanks && !spans(CHINESE_BORDER)
    this.white = borders && splitter.dropsBlanks && !spans(WHITE_PAIR)
    this.around = Math.max(added.longest.raw, added.longest.normalized)
    // Of BERT's normaliser it is known that a letter stays one or more.
    const unknown = this.chinese && !added.contents.some((content) => ONLY_WORD.test(content))
    this.tooMany = unknown ? (model.longestWord ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY
    this.anywhere = some && normalizer.cuts === 'anywhere' && splitter.tail !== null
  }

  /** The last border in text(from, to], or `from` where there is none. */
  lastBorder(text: string, from: number, to: number): number {
    for (let at = Math.min(to, text.length - 2); at > from; at--) if (this.isBorder(text, at)) return at
    return from
  }

  /** The last place in text(from, to] between two characters that are no blanks and do not combine, or `from`. */
  lastStart(text: string, from: number, to: number): number {
    for (let at = Math.min(to, text.length - 1); at > from; at--) {
      const unit = text[at]!
      if (startsUnit(unit) && unit !== ' ' && !isWhite(text.charCodeAt(at - 1))) return at
    }
    return from
  }

  /**
   * Where text[from, to) is inside a word of so many letters that it is unknown: the text up to `stop` gives the unknown
   * token, what follows up to `resume` gives nothing, and the first word from there on is its end. Null where it is not.
   */
  *unknownWord(text: string, from: number, to: number): Generator<void, { stop: number; resume: number } | null> {
    if (this.tooMany === Number.POSITIVE_INFINITY) return null
    const stop = this.lastStart(text, Math.max(from, to - 64), to)
    let letters = 0
    let at = stop + this.around
    if (at >= text.length) return null
    for (; at >= from && letters <= this.tooMany + this.around; at--) {
      if (!IN_WORD.test(text[at]!)) return null
      if (at < stop && LETTER.test(text[at]!)) letters++
    }
    if (letters <= this.tooMany + this.around) return null
    let end = stop
    for (; end < text.length && IN_WORD.test(text[end]!); end++) if (end % 65536 === 0) yield
    const resume = this.lastStart(text, Math.max(stop, end - this.around - 64), end - this.around)
    return { stop, resume: Math.max(stop, resume) }
  }

  private isBorder(text: string, at: number): boolean {
    const unit = text.charCodeAt(at)
    if (isWhite(unit) && isWhite(text.charCodeAt(at - 1))) return this.white
    if (unit === 0x20) return this.blanks && LETTER.test(text[at + 1]!) && LETTER.test(text[at - 1]!)
    if (unit >= 0x4e00 && unit <= 0x9fff) return this.chinese && isChinese(text.charCodeAt(at - 1))
    return this.punctuation && PUNCTUATION.includes(text[at]!) && PUNCTUATION_BORDER.test(text.slice(at - 1, at + 1))
  }
}

/** The ASCII white space that all normalisers and splitters take for it. */
function isWhite(unit: number): boolean {
  return unit === 0x20 || unit === 0x0a || unit === 0x0d || unit === 0x09
}

function isChinese(unit: number): boolean {
  return unit >= 0x4e00 && unit <= 0x9fff
}
