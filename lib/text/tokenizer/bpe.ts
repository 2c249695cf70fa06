import { FormatError } from '../../errors.js'
import type { Model } from './model.js'
import { HASH_SEED, hashRange, quoted, sharedInts, spread, tableSize, type Vocabulary } from './vocabulary.js'

/** Merges as flat arrays; a merge's number is its rank. */
export interface PackedMerges {
  /** [2 · merges] ids of left and right. */
  readonly pairs: Int32Array
  /** [merges] id of what they become. */
  readonly products: Int32Array
  /** Hash table of pairs, with linear probing: rank + 1, or 0. */
  readonly slots: Int32Array
  /** [ids] at a symbol: how many symbols the longest token that begins with it has, at most. */
  readonly reach: Int32Array
}

export interface BpeOptions {
  unk_token?: string | null
  fuse_unk?: boolean
  byte_fallback?: boolean
  ignore_merges?: boolean
  continuing_subword_prefix?: string | null
  end_of_word_suffix?: string | null
}

/** UTF-16 units that are read at a time. */
const STRETCH = 1 << 16
/** A heap entry is rank · PLACES + place in one number. */
const PLACES = 2 ** 26
const encoder = new TextEncoder()

/** Tokens of a stretch of symbols, and how many symbols each has. */
interface Merged {
  ids: number[]
  lengths: number[]
}

/**
 * Byte-pair encoding (Sennrich et al. 2016), as Hugging Face computes it: the neighbours of the lowest rank are merged,
 * the leftmost first, until no two neighbours have a rank.
 *
 * A long word is encoded block by block, with the same result, because a merge looks at nothing but the two tokens that
 * it joins:
 *
 * 1. Where the whole word's encoding has a border, each side is encoded as if it stood alone: no merge crossed the
 *    border, so each side saw the same merges in the same order.
 * 2. Two encodings can be put together if the tokens that meet, encoded as a text of their own, stay apart: until a first
 *    merge across the border, both sides go on as they do alone, and that merge would be made in the small text too.
 * 3. Whatever follows a block of n symbols, the whole word has a border at n, or at a symbol before n from which a token
 *    can reach beyond n. Call these places ends.
 *
 * So a border x of the block's encoding is certain if, for every end e, the encoding of the symbols from x to e can be put
 * together with what stands before x: then the word up to e has the border x by 2, and so has the whole word by 1. The
 * tokens up to x are given out, and the rest begins at x. Where no border is certain the block is doubled; the last block
 * of a word needs no proof.
 */
export class Bpe implements Model {
  private readonly vocabulary: Vocabulary
  private readonly merges: PackedMerges
  private readonly mask: number
  private readonly options: BpeOptions
  readonly unk: number | undefined
  /** Ids of `<0x00>` … `<0xFF>`, where a character without a token becomes its bytes. */
  private readonly bytes: readonly number[] | null
  /** Whether the character before became the unknown token. */
  private unknown = false
  /** Symbols of a word that are merged at a time, where it goes on for longer. */
  private readonly block = 512

  constructor(vocabulary: Vocabulary, merges: PackedMerges, options: BpeOptions) {
    this.vocabulary = vocabulary
    this.merges = merges
    this.mask = merges.slots.length - 1
    this.options = options
    this.unk = unknownId(vocabulary, options)
    this.bytes = byteTokens(vocabulary, options)
  }

  short(word: string): number[] {
    const whole = this.wholeWord(word)
    if (whole >= 0) return [whole]
    const symbols: number[] = []
    this.unknown = false
    this.read(word, 0, Number.POSITIVE_INFINITY, symbols, false)
    return this.merge(symbols, 0, symbols.length).ids
  }

  *long(word: string, ids: number[], limit: number, open: boolean): Generator<void, void> {
    // A word's end may decide its last token, or all of it.
    if (open && (this.options.end_of_word_suffix || word.length <= this.vocabulary.longest)) return
    const whole = this.wholeWord(word)
    if (whole >= 0) {
      ids.push(whole)
      return
    }
    let symbols: number[] = [] // read, and not given out
    let at = 0
    let unknown = false
    for (let block = this.block; ids.length < limit; ) {
      this.unknown = unknown
      at = this.read(word, at, block + 1, symbols, open)
      unknown = this.unknown
      if (symbols.length <= block && at < word.length) {
        yield
        continue
      }
      if (symbols.length <= block) {
        if (!open) for (const id of this.merge(symbols, 0, symbols.length).ids) ids.push(id)
        return
      }
      const merged = this.merge(symbols, 0, block)
      const border = this.certainBorder(symbols, block, merged)
      if (border === null) {
        block *= 2
      } else {
        for (let i = 0; i < border.tokens; i++) ids.push(merged.ids[i]!)
        symbols = symbols.slice(border.symbols)
        block = this.block
      }
      yield
    }
  }

  /** The id of a word that is a token, where that comes before all merges. */
  private wholeWord(word: string): number {
    return this.options.ignore_merges ? this.vocabulary.idOf(word) : -1
  }

  /** Symbols of the word from `at`, of one stretch of it or until there are `count`; returns where it stopped. */
  private read(word: string, at: number, count: number, symbols: number[], open: boolean): number {
    const { vocabulary, bytes, unk } = this
    const { continuing_subword_prefix: prefix, end_of_word_suffix: suffix, fuse_unk: fuse } = this.options
    const furthest = count === Number.POSITIVE_INFINITY ? word.length : Math.min(word.length, at + STRETCH)
    while (at < furthest && symbols.length < count) {
      const end = at + (word.codePointAt(at)! > 0xffff ? 2 : 1)
      let id: number
      if (prefix || suffix) {
        const last = !open && end === word.length
        id = vocabulary.idOf(`${at > 0 ? (prefix ?? '') : ''}${word.slice(at, end)}${last ? (suffix ?? '') : ''}`)
      } else {
        id = vocabulary.find(hashRange(word, at, end), word, at, end)
      }
      if (id >= 0) {
        symbols.push(id)
        this.unknown = false
      } else if (bytes !== null) {
        for (const byte of encoder.encode(word.slice(at, end))) symbols.push(bytes[byte]!)
      } else if (unk !== undefined) {
        if (!(fuse && this.unknown)) symbols.push(unk)
        this.unknown = true
      }
      at = end
    }
    return at
  }

  /** A border (tokens and symbols before it) that stays, whatever follows the first `block` symbols. */
  private certainBorder(
    symbols: readonly number[],
    block: number,
    { ids, lengths }: Merged,
  ): { tokens: number; symbols: number } | null {
    const ends = [block]
    const { reach } = this.merges
    for (let at = block - 1; at >= 0; at--) if (at + reach[symbols[at]!]! > block) ends.push(at)
    const first = ends.reduce((least, end) => Math.min(least, end), block)
    // Borders well before the first end, nearest first. Mostly the first one is certain.
    const distance = block - first + 8
    let tokens = ids.length
    let at = block
    for (let back = first - distance; back > 0 && tokens > 0; back = at - distance) {
      while (tokens > 0 && at > back) at -= lengths[--tokens]!
      if (tokens === 0) break
      const before = at - lengths[tokens - 1]!
      const meets = new Map<number, boolean>()
      const certain = ends.every((end) => {
        const length = this.merge(symbols, at, end).lengths[0]!
        if (!meets.has(length)) {
          const joint = this.merge(symbols, before, at + length).lengths
          meets.set(length, joint.length === 2 && joint[0] === at - before)
        }
        return meets.get(length)!
      })
      if (certain) return { tokens, symbols: at }
    }
    return null
  }

  /** The encoding of symbols[from, to): O(n log n). */
  private merge(symbols: readonly number[], from: number, to: number): Merged {
    const n = to - from
    const token = symbols.slice(from, to)
    const next = new Int32Array(n)
    const previous = new Int32Array(n)
    const ranks = new Int32Array(n) // of a token and its right neighbour, or -1
    const heap: number[] = []
    for (let i = 0; i < n; i++) {
      next[i] = i + 1
      previous[i] = i - 1
      ranks[i] = i + 1 < n ? this.rank(token[i]!, token[i + 1]!) : -1
      if (ranks[i]! >= 0) push(heap, ranks[i]! * PLACES + i)
    }
    const look = (place: number): void => {
      const right = next[place]!
      ranks[place] = right < n ? this.rank(token[place]!, token[right]!) : -1
      if (ranks[place]! >= 0) push(heap, ranks[place]! * PLACES + place)
    }
    while (heap.length > 0) {
      const entry = pop(heap)
      const place = entry % PLACES
      const rank = (entry - place) / PLACES
      if (ranks[place] !== rank) continue // one of the two was merged since
      const right = next[place]!
      token[place] = this.merges.products[rank]!
      ranks[right] = -1
      next[place] = next[right]!
      if (next[place]! < n) previous[next[place]!] = place
      look(place)
      if (previous[place]! >= 0) look(previous[place]!)
    }
    const merged: Merged = { ids: [], lengths: [] }
    for (let i = 0; i < n; i = next[i]!) {
      merged.ids.push(token[i]!)
      merged.lengths.push(next[i]! - i)
    }
    return merged
  }

  private rank(left: number, right: number): number {
    const { slots, pairs } = this.merges
    for (let slot = hashPair(left, right) & this.mask; ; slot = (slot + 1) & this.mask) {
      const rank = slots[slot]! - 1
      if (rank < 0 || (pairs[2 * rank] === left && pairs[2 * rank + 1] === right)) return rank
    }
  }
}

/**
 * Merges of a tokenizer.json, as "left right" or [left, right]; a pair that comes again keeps its last rank.
 * @throws FormatError `ERR_FORMAT` for a merge that is none, or of tokens outside the vocabulary
 */
export function packMerges(vocabulary: Vocabulary, merges: readonly unknown[], options: BpeOptions): PackedMerges {
  const pairs = sharedInts(2 * merges.length)
  const products = sharedInts(merges.length)
  const slots = sharedInts(tableSize(merges.length))
  const mask = slots.length - 1
  const skipped = options.continuing_subword_prefix?.length ?? 0
  for (const [rank, merge] of merges.entries()) {
    const sides: unknown = typeof merge === 'string' ? merge.split(' ') : merge
    const fail = (problem: string): FormatError =>
      new FormatError('ERR_FORMAT', `merge ${rank}, ${JSON.stringify(merge)}, ${problem}.`, { rank })
    if (!Array.isArray(sides) || sides.length !== 2 || sides.some((side) => typeof side !== 'string'))
      throw fail('is no pair of tokens')
    const [left, right] = sides as [string, string]
    const added = right.slice(skipped)
    if (left === '' || added === '') throw fail('joins a token with nothing')
    const [leftId, rightId, product] = [left, right, left + added].map((token) => {
      const id = vocabulary.idOf(token)
      if (id < 0) throw fail(`needs the token ${quoted(token)}, which is not in the vocabulary`)
      return id
    }) as [number, number, number]
    pairs[2 * rank] = leftId
    pairs[2 * rank + 1] = rightId
    products[rank] = product
    let slot = hashPair(leftId, rightId) & mask
    for (; slots[slot] !== 0; slot = (slot + 1) & mask) {
      const other = slots[slot]! - 1
      if (pairs[2 * other] === leftId && pairs[2 * other + 1] === rightId) break
    }
    slots[slot] = rank + 1
  }
  return { pairs, products, slots, reach: reachOf(vocabulary, pairs, products, options) }
}

function reachOf(vocabulary: Vocabulary, pairs: Int32Array, products: Int32Array, options: BpeOptions): Int32Array {
  const reach = sharedInts(vocabulary.size).fill(1)
  const leftOf = new Int32Array(vocabulary.size).fill(-1)
  for (const [rank, product] of products.entries()) leftOf[product] = pairs[2 * rank]!
  // A symbol is a character; bytes and the unknown token are more, and their names say nothing of how many follow.
  const odd = new Set([...(byteTokens(vocabulary, options) ?? []), unknownId(vocabulary, options) ?? -1])
  if (pairs.some((id) => odd.has(id))) return reach.fill(vocabulary.longest)
  for (const product of products) {
    let symbol = product
    while (leftOf[symbol]! >= 0) symbol = leftOf[symbol]!
    reach[symbol] = Math.max(reach[symbol]!, vocabulary.packed.lengths[product]!)
  }
  return reach
}

/** Ids of the 256 byte tokens, where the model falls back to them and has them all. */
export function byteTokens(vocabulary: Vocabulary, options: { byte_fallback?: boolean }): readonly number[] | null {
  if (!options.byte_fallback) return null
  const ids = Array.from({ length: 256 }, (_, byte) =>
    vocabulary.idOf(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`),
  )
  return ids.includes(-1) ? null : ids
}

/** The id of the model's unknown token, where it has one. */
export function unknownId(vocabulary: Vocabulary, options: { unk_token?: string | null }): number | undefined {
  const id = options.unk_token == null ? -1 : vocabulary.idOf(options.unk_token)
  return id < 0 ? undefined : id
}

function hashPair(left: number, right: number): number {
  return spread(Math.imul(left ^ HASH_SEED, 0x9e3779b1) ^ right)
}

function push(heap: number[], entry: number): void {
  let at = heap.push(entry) - 1
  while (at > 0) {
    const parent = (at - 1) >> 1
    if (heap[parent]! <= entry) break
    heap[at] = heap[parent]!
    at = parent
  }
  heap[at] = entry
}

function pop(heap: number[]): number {
  const top = heap[0]!
  const entry = heap.pop()!
  const size = heap.length
  if (size === 0) return top
  let at = 0
  for (let child = 1; child < size; child = 2 * at + 1) {
    if (child + 1 < size && heap[child + 1]! < heap[child]!) child++
    if (heap[child]! >= entry) break
    heap[at] = heap[child]!
    at = child
  }
  heap[at] = entry
  return top
}
