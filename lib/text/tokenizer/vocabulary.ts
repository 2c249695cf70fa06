import { FormatError } from '../../errors.js'

/** A vocabulary as flat arrays, which other threads get without a walk over its tokens. */
export interface PackedTokens {
  /** All tokens, one after another by id. */
  readonly text: string
  /** [ids] where a token begins, and its UTF-16 units; -1 for an id that no token has. */
  readonly starts: Int32Array
  readonly lengths: Int32Array
  /** Hash table with linear probing: id + 1, or 0. Its size is a power of two. */
  readonly slots: Int32Array
}

/** Ids above this are a damaged file: an embedding table has a row for each. */
export const MOST_IDS = 1 << 24
export const HASH_SEED = 0x811c9dc5

/** FNV-1a, one UTF-16 unit further. */
export function hashStep(hash: number, unit: number): number {
  return Math.imul(hash ^ unit, 0x01000193)
}

export function hashRange(text: string, from: number, to: number, seed = HASH_SEED): number {
  let hash = seed
  for (let i = from; i < to; i++) hash = hashStep(hash, text.charCodeAt(i))
  return hash
}

/** Spreads a hash over all bits: tables use the lower ones. */
export function spread(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
  return (mixed ^ (mixed >>> 13)) >>> 0
}

/** Typed arrays that all threads may share. */
export function sharedInts(length: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4 * length))
}

/** Slots of a hash table that is at most half full. */
export function tableSize(entries: number): number {
  return 2 ** Math.ceil(Math.log2(2 * Math.max(entries, 1)))
}

/** Tokens and ids, each found by the other; ranges of a text are looked up without cutting strings from it. */
export class Vocabulary {
  /** One more than the largest id. */
  readonly size: number
  /** UTF-16 units of the longest token. */
  readonly longest: number
  readonly packed: PackedTokens
  private readonly mask: number

  constructor(packed: PackedTokens) {
    this.packed = packed
    this.size = packed.lengths.length
    this.mask = packed.slots.length - 1
    let longest = 0
    for (let id = 0; id < this.size; id++) longest = Math.max(longest, packed.lengths[id]!)
    this.longest = longest
  }

  /**
   * Of tokens and their ids in any order; a token that comes again keeps its last id.
   * @throws FormatError `ERR_FORMAT` for an id that is no whole number from 0, too large, or given to two tokens
   */
  static of(entries: readonly (readonly [string, unknown])[]): Vocabulary {
    let size = 0
    for (const [token, id] of entries) {
      if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= MOST_IDS) throw badId(token, id)
      size = Math.max(size, (id as number) + 1)
    }
    const byId = new Array<string | undefined>(size)
    for (const [token, id] of entries as readonly (readonly [string, number])[]) {
      const other = byId[id]
      if (other !== undefined)
        throw new FormatError(
          'ERR_FORMAT',
          `the tokens ${quoted(other)} and ${quoted(token)} both have the id ${id}.`,
          {
            id,
          },
        )
      byId[id] = token
    }
    const starts = sharedInts(size)
    const lengths = sharedInts(size)
    const slots = sharedInts(tableSize(entries.length))
    let at = 0
    for (let id = 0; id < size; id++) {
      starts[id] = at
      lengths[id] = byId[id]?.length ?? -1
      at += byId[id]?.length ?? 0
    }
    const made = new Vocabulary({ text: byId.join(''), starts, lengths, slots })
    for (let id = 0; id < size; id++) if (byId[id] !== undefined) made.insert(byId[id]!, id)
    return made
  }

  /** The token's id, or -1. */
  idOf(token: string): number {
    return this.find(hashRange(token, 0, token.length), token, 0, token.length)
  }

  /**
   * The id of `prefix` + text[from, to), or -1.
   * @param hash of all of it
   */
  find(hash: number, text: string, from: number, to: number, prefix = ''): number {
    const { slots, starts, lengths, text: all } = this.packed
    const length = prefix.length + to - from
    for (let slot = spread(hash) & this.mask; ; slot = (slot + 1) & this.mask) {
      const id = slots[slot]! - 1
      if (id < 0) return -1
      if (lengths[id] !== length) continue
      let at = starts[id]!
      let same = true
      for (let i = 0; same && i < prefix.length; i++) same = prefix.charCodeAt(i) === all.charCodeAt(at++)
      for (let i = from; same && i < to; i++) same = text.charCodeAt(i) === all.charCodeAt(at++)
      if (same) return id
    }
  }

  token(id: number): string | undefined {
    const length = this.packed.lengths[id] ?? -1
    if (length < 0) return undefined
    const start = this.packed.starts[id]!
    return this.packed.text.slice(start, start + length)
  }

  private insert(token: string, id: number): void {
    const { slots } = this.packed
    let slot = spread(hashRange(token, 0, token.length)) & this.mask
    for (; slots[slot] !== 0; slot = (slot + 1) & this.mask) {
      if (this.token(slots[slot]! - 1) === token) break
    }
    slots[slot] = id + 1
  }
}

export function badId(token: string, id: unknown): FormatError {
  return new FormatError(
    'ERR_FORMAT',
    `the token ${quoted(token)} has the id ${JSON.stringify(id)}; expected a whole number from 0 to ${MOST_IDS - 1}.`,
    { token, id },
  )
}

export function quoted(token: string): string {
  return JSON.stringify(token.length > 60 ? `${token.slice(0, 60)}…` : token)
}
