export interface AddedTokenRecord {
  id: number
  content: string
  single_word: boolean
  lstrip: boolean
  rstrip: boolean
  normalized: boolean
  special: boolean
}

interface Matcher {
  pattern: RegExp
  byContent: Map<string, AddedTokenRecord>
}

const WORD_BEFORE = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]$/u
const WORD_AFTER = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]/u

/**
 * Finds a tokenizer's added tokens in text, leftmost and longest first: those marked `normalized` in normalised text
 * (by their own normalised spelling), the others in the raw text.
 */
export class AddedTokens {
  readonly maxId: number
  private readonly raw: Matcher | null
  private readonly normalized: Matcher | null
  private readonly ids: ReadonlyMap<string, AddedTokenRecord>

  constructor(records: readonly AddedTokenRecord[], normalize: (text: string) => string) {
    this.maxId = records.reduce((max, { id }) => Math.max(max, id), -1)
    this.ids = new Map(records.map((record) => [record.content, record]))
    this.raw = matcher(records.filter((record) => !record.normalized).map((record) => [record.content, record]))
    this.normalized = matcher(
      records.filter((record) => record.normalized).map((record) => [normalize(record.content), record]),
    )
  }

  idOf(token: string): number | undefined {
    return this.ids.get(token)?.id
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

function matcher(entries: [string, AddedTokenRecord][]): Matcher | null {
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
    if (token.single_word && (WORD_BEFORE.test(text.slice(0, from)) || WORD_AFTER.test(text.slice(to)))) continue
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

function isSpace(char: string): boolean {
  return /\p{White_Space}/u.test(char)
}
