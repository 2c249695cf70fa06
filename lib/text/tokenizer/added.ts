import { FormatError } from '../../errors.js'
import { badId, MOST_IDS, quoted, type Vocabulary } from './vocabulary.js'

export interface AddedTokenRecord {
  id: number
  content: string
  single_word: boolean
  lstrip: boolean
  rstrip: boolean
  normalized: boolean
  special: boolean
}

type Entry = [string, AddedTokenRecord]

interface Matcher {
  pattern: RegExp
  byContent: Map<string, AddedTokenRecord>
}

const WORD = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]/u

/**
 * Finds a tokenizer's added tokens in text, leftmost and longest first: those marked `normalized` in normalised text
 * (by their own normalised spelling), the others in the raw text.
 */
export class AddedTokens {
  readonly maxId: number
  /** UTF-16 units of the longest content, in raw and in normalised text. */
  readonly longest: { raw: number; normalized: number }
  /** As they are matched: all contents, normalised where that is what is matched. */
  readonly contents: readonly string[]
  /** Whether one takes the blanks before it. */
  readonly stripsBefore: boolean
  /** Whether one looks at, or takes, what stands around it (other than blanks before it). */
  readonly looksAround: boolean
  private readonly raw: Matcher | null
  private readonly normalized: Matcher | null
  private readonly ids: ReadonlyMap<string, AddedTokenRecord>
  private readonly byId: ReadonlyMap<number, string>

  constructor(records: readonly AddedTokenRecord[], normalize: (text: string) => string) {
    this.maxId = records.reduce((max, { id }) => Math.max(max, id), -1)
    this.ids = new Map(records.map((record) => [record.content, record]))
    this.byId = new Map(records.map(({ id, content }) => [id, content]))
    const raw = records.filter(({ normalized }) => !normalized).map((one): Entry => [one.content, one])
    const normalized = records.filter((one) => one.normalized).map((one): Entry => [normalize(one.content), one])
    this.raw = matcher(raw)
    this.normalized = matcher(normalized)
    this.longest = { raw: longestOf(raw), normalized: longestOf(normalized) }
    this.contents = [...raw, ...normalized].map(([content]) => content)
    this.stripsBefore = records.some(({ lstrip }) => lstrip)
    this.looksAround = records.some(({ single_word, rstrip }) => single_word || rstrip)
  }

  idOf(token: string): number | undefined {
    return this.ids.get(token)?.id
  }

  contentOf(id: number): string | undefined {
    return this.byId.get(id)
  }

  specialId(token: string): number | undefined {
    const record = this.ids.get(token)
    return record?.special ? record.id : undefined
  }

  /** Pieces of raw text: an id per added token, a non-empty string for what lies between. */
  splitRaw(text: string): (string | number)[] {
    return split(text, this.raw)
  }

  splitNormalized(text: string): (string | number)[] {
    return split(text, this.normalized)
  }
}

/**
 * The "added_tokens" of a tokenizer.json, copied and complete.
 * @throws FormatError `ERR_FORMAT` for an entry that is none, a bad id, or an id that belongs to another token
 */
export function checkedRecords(given: unknown, vocabulary: Vocabulary): AddedTokenRecord[] {
  if (!Array.isArray(given)) throw new FormatError('ERR_FORMAT', 'its "added_tokens" is no array.')
  const byId = new Map<number, string>()
  const byContent = new Map<string, number>()
  return given.map((entry: unknown, i) => {
    const { id, content, ...flags } = (entry ?? {}) as Partial<AddedTokenRecord>
    if (typeof content !== 'string') throw new FormatError('ERR_FORMAT', `added token ${i} has no "content".`, { i })
    if (!Number.isInteger(id) || id! < 0 || id! >= MOST_IDS) throw badId(content, id)
    const known = vocabulary.idOf(content)
    const other = byContent.get(content) ?? (known < 0 ? id! : known)
    const owner = byId.get(id!) ?? vocabulary.token(id!) ?? content
    if (other !== id || owner !== content)
      throw new FormatError(
        'ERR_FORMAT',
        other !== id
          ? `the added token ${quoted(content)} has the ids ${other} and ${id}.`
          : `the tokens ${quoted(owner)} and ${quoted(content)} both have the id ${id}.`,
        { content, id },
      )
    byId.set(id!, content)
    byContent.set(content, id!)
    const { single_word = false, lstrip = false, rstrip = false, special = false, normalized = !special } = flags
    return { id: id!, content, single_word, lstrip, rstrip, normalized, special }
  })
}

function longestOf(entries: readonly Entry[]): number {
  return entries.reduce((most, [content]) => Math.max(most, content.length), 0)
}

function matcher(entries: readonly Entry[]): Matcher | null {
  const byContent = new Map(entries.filter(([content]) => content !== ''))
  if (byContent.size === 0) return null
  const longestFirst = [...byContent.keys()].sort((a, b) => b.length - a.length)
  const pattern = longestFirst.map((content) => content.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&')).join('|')
  return { pattern: new RegExp(pattern, 'gu'), byContent }
}

function split(text: string, match: Matcher | null): (string | number)[] {
  if (text === '') return []
  if (match === null) return [text]
  const pieces: (string | number)[] = []
  let start = 0
  for (const found of text.matchAll(match.pattern)) {
    const token = match.byContent.get(found[0])!
    let from = found.index
    let to = from + found[0].length
    if (token.single_word && (isWord(characterBefore(text, from)) || isWord(text.slice(to, to + 2)))) continue
    if (from < start) continue
    if (token.lstrip) while (from > start && isSpace(text[from - 1]!)) from--
    if (token.rstrip) while (to < text.length && isSpace(text[to]!)) to++
    if (from > start) pieces.push(text.slice(start, from))
    pieces.push(token.id)
    start = to
  }
  if (start < text.length) pieces.push(text.slice(start))
  return pieces
}

function isWord(text: string): boolean {
  return WORD.test(text)
}

function characterBefore(text: string, at: number): string {
  const pair = (text.charCodeAt(at - 1) & 0xfc00) === 0xdc00 && at > 1
  return text.slice(at - (pair ? 2 : 1), at)
}

/** Unicode's White_Space. */
export function isSpace(char: string): boolean {
  return char === ' ' || /\p{White_Space}/u.test(char)
}
