import { byteTokens } from './bpe.js'
import type { Model } from './model.js'
import { HASH_SEED, hashStep, type Vocabulary } from './vocabulary.js'

export interface UnigramOptions {
  unk_id?: number | null
  byte_fallback?: boolean
}

/** Log-probability of an unknown character below that of the rarest token. */
const PENALTY = 10
/** Characters between two looks at which tokens are certain. */
const STEP = 512
const encoder = new TextEncoder()

/**
 * SentencePiece's unigram model (Kudo 2018): the most probable tokens of a word, by Viterbi's algorithm, unknown characters
 * that follow each other as one token.
 *
 * Tokens are given out before the word's end is seen: whatever follows place n, the best path goes through one of the
 * places after n - (length of the longest token), and up to that place it is the best path to it. Where all of these paths
 * agree, they are certain.
 */
export class Unigram implements Model {
  readonly unk: number | undefined
  private readonly vocabulary: Vocabulary
  private readonly scores: Float64Array
  private readonly unkScore: number
  private readonly bytes: readonly number[] | null

  constructor(vocabulary: Vocabulary, scores: Float64Array, options: UnigramOptions) {
    this.vocabulary = vocabulary
    this.scores = scores
    this.unk = options.unk_id ?? undefined
    this.unkScore = scores.reduce((least, score) => Math.min(least, score), Number.POSITIVE_INFINITY) - PENALTY
    this.bytes = byteTokens(vocabulary, options)
  }

  short(word: string): number[] {
    const ids: number[] = []
    const work = this.long(word, ids, Number.POSITIVE_INFINITY, false)
    while (!work.next().done);
    return ids
  }

  *long(word: string, ids: number[], limit: number, open: boolean): Generator<void, void> {
    const { longest } = this.vocabulary
    // The best path to place base + i: its last token begins `back[i]` units before, and is `token[i]` (-1: unknown).
    let base = 0
    let best: number[] = [0]
    let back: number[] = [0]
    let token: number[] = [-1]
    const emit = new Emit(this.unk, this.bytes, ids)
    const give = (path: readonly number[]): void => {
      for (const place of path) emit.add(token[place]!, word, base + place - back[place]!, base + place)
    }
    let look = STEP // as far from the last certain place as the next look at them; twice as far after one in vain
    for (let at = 0; at < word.length; ) {
      this.extend(word, at, base, best, back, token)
      const next = at + (word.codePointAt(at)! > 0xffff ? 2 : 1)
      if (next - base >= look && next < word.length) {
        const path = certainPath(back, next - longest - base, next - base)
        const end = path.at(-1)
        if (end !== undefined) {
          give(path)
          base += end
          best = best.slice(end)
          back = back.slice(end)
          token = token.slice(end)
          if (ids.length >= limit) return
        }
        look = end === undefined ? 2 * look : STEP + longest
      }
      if (next % STEP === 0) yield
      at = next
    }
    const end = word.length - base
    give(open ? certainPath(back, end - longest + 1, end) : pathTo(back, end))
  }

  /** The paths that go on from place `at` by one token. */
  private extend(word: string, at: number, base: number, best: number[], back: number[], token: number[]): void {
    const { vocabulary, scores } = this
    const from = best[at - base]!
    const single = at + (word.codePointAt(at)! > 0xffff ? 2 : 1)
    const offer = (end: number, score: number, id: number): void => {
      const place = end - base
      while (best.length <= place) {
        best.push(Number.NEGATIVE_INFINITY)
        back.push(0)
        token.push(-1)
      }
      if (back[place] === 0 || score > best[place]!) {
        best[place] = score
        back[place] = end - at
        token[place] = id
      }
    }
    const furthest = Math.min(word.length, at + vocabulary.longest)
    let hash = HASH_SEED
    let hasSingle = false
    for (let end = at + 1; end <= furthest; end++) {
      hash = hashStep(hash, word.charCodeAt(end - 1))
      if (end < single) continue
      const id = vocabulary.find(hash, word, at, end)
      if (id < 0) continue
      offer(end, scores[id]! + from, id)
      if (end === single) hasSingle = true
    }
    if (!hasSingle) offer(single, this.unkScore + from, -1)
  }
}

/** Places of the path to `end`, the start left out. */
function pathTo(back: readonly number[], end: number): number[] {
  const path: number[] = []
  for (let place = end; place > 0; place -= back[place]!) path.push(place)
  return path.reverse()
}

/** What the paths to all places from `first` to `last` have in common; places inside a character are on no path. */
function certainPath(back: readonly number[], first: number, last: number): number[] {
  const live = new Set<number>()
  for (let place = Math.max(0, first); place <= last; place++)
    if (place === 0 || (back[place] ?? 0) > 0) live.add(place)
  // The latest place steps back until all are one.
  while (live.size > 1) {
    let latest = -1
    for (const place of live) if (place > latest) latest = place
    live.delete(latest)
    live.add(latest - back[latest]!)
  }
  const [common = 0] = live
  return pathTo(back, common)
}

/** Ids of tokens one after another; unknown ones that follow each other are one. */
class Emit {
  private readonly unk: number | undefined
  private readonly bytes: readonly number[] | null
  private readonly ids: number[]
  private unknown = false

  constructor(unk: number | undefined, bytes: readonly number[] | null, ids: number[]) {
    this.unk = unk
    this.bytes = bytes
    this.ids = ids
  }

  add(id: number, word: string, from: number, to: number): void {
    if (id < 0 && this.bytes !== null) {
      for (const byte of encoder.encode(word.slice(from, to))) this.ids.push(this.bytes[byte]!)
    } else if (id < 0) {
      if (!this.unknown && this.unk !== undefined) this.ids.push(this.unk)
      this.unknown = true
    } else {
      this.ids.push(id)
      this.unknown = false
    }
  }
}
