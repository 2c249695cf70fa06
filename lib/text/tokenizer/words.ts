import { unknownId } from './bpe.js'
import type { Model } from './model.js'
import { HASH_SEED, hashRange, hashStep, type Vocabulary } from './vocabulary.js'

export interface WordPieceOptions {
  unk_token?: string | null
  continuing_subword_prefix?: string
  max_input_chars_per_word?: number
}

/** BERT's greedy match: the longest token first, of every rest again; a word that does not come out even is unknown. */
export class WordPiece implements Model {
  readonly unk: number | undefined
  private readonly vocabulary: Vocabulary
  private readonly prefix: string
  private readonly prefixHash: number
  readonly longestWord: number

  constructor(vocabulary: Vocabulary, options: WordPieceOptions) {
    this.vocabulary = vocabulary
    this.unk = unknownId(vocabulary, options)
    this.prefix = options.continuing_subword_prefix ?? '##'
    this.prefixHash = hashRange(this.prefix, 0, this.prefix.length)
    this.longestWord = options.max_input_chars_per_word ?? 100
  }

  short(word: string): number[] {
    const ids: number[] = []
    if (this.tooLong(word)) return this.unknown()
    for (let at = 0; at < word.length; ) {
      const prefix = at === 0 ? '' : this.prefix
      const furthest = Math.min(word.length, at + this.vocabulary.longest - prefix.length)
      const hashes: number[] = []
      let hash = at === 0 ? HASH_SEED : this.prefixHash
      for (let i = at; i < furthest; i++) hashes.push((hash = hashStep(hash, word.charCodeAt(i))))
      let end = furthest
      let id = -1
      for (; end > at; end--) {
        if (splitsPair(word, end)) continue
        id = this.vocabulary.find(hashes[end - at - 1]!, word, at, end, prefix)
        if (id >= 0) break
      }
      if (id < 0) return this.unknown()
      ids.push(id)
      at = end
    }
    return ids
  }

  // biome-ignore lint/correctness/useYield: one step is enough, a word has a bounded length
  *long(word: string, ids: number[], _limit: number, open: boolean): Generator<void, void> {
    if (!open || this.tooLong(word)) ids.push(...this.short(word))
  }

  private unknown(): number[] {
    return this.unk === undefined ? [] : [this.unk]
  }

  private tooLong(word: string): boolean {
    if (word.length <= this.longestWord) return false
    if (word.length > 2 * this.longestWord) return true
    let count = 0
    for (const _ of word) count++
    return count > this.longestWord
  }
}

/** Every word is one token. */
export class WordLevel implements Model {
  readonly unk: number | undefined
  private readonly vocabulary: Vocabulary

  constructor(vocabulary: Vocabulary, options: { unk_token?: string | null }) {
    this.vocabulary = vocabulary
    this.unk = unknownId(vocabulary, options)
  }

  short(word: string): number[] {
    const id = word.length > this.vocabulary.longest ? -1 : this.vocabulary.idOf(word)
    if (id >= 0) return [id]
    return this.unk === undefined ? [] : [this.unk]
  }

  // biome-ignore lint/correctness/useYield: one step is enough, as a token has a bounded length
  *long(word: string, ids: number[], _limit: number, open: boolean): Generator<void, void> {
    if (!open || word.length > this.vocabulary.longest) ids.push(...this.short(word))
  }
}

function splitsPair(text: string, at: number): boolean {
  const unit = text.charCodeAt(at)
  return unit >= 0xdc00 && unit <= 0xdfff && (text.charCodeAt(at - 1) & 0xfc00) === 0xd800
}
