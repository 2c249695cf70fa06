import { checkOptions, type Kinds, required, whole } from '../../options.js'
import { inTurns } from '../../turns.js'
import { BERT_SPECIAL_TOKENS } from './bert.js'
import { bertNormalizer, bertWords } from './pretokenize.js'
import { Tokenizer } from './tokenizer.js'

/** Options of `trainWordPiece`. */
export interface WordPieceOptions {
  /** Upper bound on the vocabulary, special tokens included; small corpora yield fewer. */
  vocabSize: number
  /** Pairs rarer than this are not merged. Default 2. */
  minFrequency?: number
  /** Characters beyond the most frequent so many are unknown. Default 1000. */
  alphabet?: number
}

const wordPieceOptions: Kinds<WordPieceOptions> = {
  vocabSize: whole(BERT_SPECIAL_TOKENS.length + 1),
  minFrequency: whole(1),
  alphabet: whole(1),
}

interface Candidate {
  key: string
  count: number
}

const MAX_WORD = 100

/**
 * Trains an uncased BERT WordPiece vocabulary as Hugging Face's trainer does: characters first, then the most frequent
 * pair of neighbouring pieces is merged until the vocabulary is full. Equal counts go to the first pair in code-unit
 * order, so the same texts in any order give the same tokenizer. The event loop keeps its turns meanwhile.
 * @throws ArgumentError `ERR_ARGUMENT` when vocabSize leaves no room beyond the special tokens.
 */
export async function trainWordPiece(texts: Iterable<string>, options: WordPieceOptions): Promise<Tokenizer> {
  checkOptions('trainWordPiece', options, wordPieceOptions)
  required('trainWordPiece', 'vocabSize', options?.vocabSize, wordPieceOptions.vocabSize)
  return Tokenizer.fromVocabulary(await inTurns(vocabularyInSteps(texts, options)))
}

/** The vocabulary; yields between small steps. */
function* vocabularyInSteps(texts: Iterable<string>, options: WordPieceOptions): Generator<void, string[]> {
  const { vocabSize, minFrequency = 2, alphabet = 1000 } = options
  const { words, counts } = yield* countWords(texts)
  const vocab = new Set<string>(BERT_SPECIAL_TOKENS)
  const pieces = yield* splitIntoCharacters(words, counts, Math.min(alphabet, vocabSize - vocab.size), vocab)

  const pairs = new Map<string, { count: number; words: Set<number> }>()
  const heap: Candidate[] = []
  const count = (word: number, sign: 1 | -1, touched: Set<string>): void => {
    const list = pieces[word]!
    for (let i = 0; i + 1 < list.length; i++) {
      const key = `${list[i]} ${list[i + 1]}`
      let pair = pairs.get(key)
      if (pair === undefined) pairs.set(key, (pair = { count: 0, words: new Set() }))
      pair.count += sign * counts[word]!
      pair.words.add(word)
      touched.add(key)
    }
  }
  const all = new Set<string>()
  for (let word = 0; word < pieces.length; word++) {
    count(word, 1, all)
    yield
  }
  for (const key of all) push(heap, { key, count: pairs.get(key)!.count })

  while (vocab.size < vocabSize && heap.length > 0) {
    const best = pop(heap)
    const pair = pairs.get(best.key)
    if (pair?.count !== best.count) continue // a stale entry: the pair was pushed again when its count changed
    if (pair.count < minFrequency) break
    const [left, right] = best.key.split(' ') as [string, string]
    const merged = left + right.slice(2)
    vocab.add(merged)
    const touched = new Set<string>()
    for (const word of pair.words) {
      count(word, -1, touched)
      pieces[word] = mergePair(pieces[word]!, left, right, merged)
      count(word, 1, touched)
      yield
    }
    pairs.delete(best.key)
    touched.delete(best.key)
    for (const key of touched) {
      const { count: now } = pairs.get(key)!
      if (now >= minFrequency) push(heap, { key, count: now })
    }
  }
  return [...vocab]
}

function* countWords(texts: Iterable<string>): Generator<void, { words: string[]; counts: number[] }> {
  const normalize = bertNormalizer({})
  const frequency = new Map<string, number>()
  for (const text of texts) {
    for (const word of bertWords(normalize(text))) {
      if (word.length <= MAX_WORD) frequency.set(word, (frequency.get(word) ?? 0) + 1)
    }
    yield
  }
  return { words: [...frequency.keys()], counts: [...frequency.values()] }
}

/** Words as characters, the later ones marked `##`; adds the most frequent characters in both forms to `vocab`. */
function* splitIntoCharacters(
  words: string[],
  counts: number[],
  size: number,
  vocab: Set<string>,
): Generator<void, string[][]> {
  const frequency = new Map<string, number>()
  const pieces: string[][] = []
  for (const [i, word] of words.entries()) {
    const list = Array.from(word, (char, at) => (at === 0 ? char : `##${char}`))
    for (const piece of list) frequency.set(piece, (frequency.get(piece) ?? 0) + counts[i]!)
    pieces.push(list)
    yield
  }
  const kept = [...frequency].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, size)
  const known = new Set(kept.map(([piece]) => piece))
  for (const piece of [...known].sort()) vocab.add(piece)
  for (const [i, list] of pieces.entries()) {
    if (!list.every((piece) => known.has(piece))) pieces[i] = []
    yield
  }
  return pieces
}

function mergePair(list: readonly string[], left: string, right: string, merged: string): string[] {
  const out: string[] = []
  for (let i = 0; i < list.length; i++) {
    if (list[i] === left && list[i + 1] === right) {
      out.push(merged)
      i++
    } else {
      out.push(list[i]!)
    }
  }
  return out
}

function before(a: Candidate, b: Candidate): boolean {
  return a.count !== b.count ? a.count > b.count : a.key < b.key
}

function push(heap: Candidate[], item: Candidate): void {
  let at = heap.push(item) - 1
  while (at > 0) {
    const parent = (at - 1) >> 1
    if (!before(item, heap[parent]!)) break
    heap[at] = heap[parent]!
    at = parent
  }
  heap[at] = item
}

function pop(heap: Candidate[]): Candidate {
  const top = heap[0]!
  const item = heap.pop()!
  if (heap.length === 0) return top
  let at = 0
  for (;;) {
    let child = 2 * at + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
    if (!before(heap[child]!, item)) break
    heap[at] = heap[child]!
    at = child
  }
  heap[at] = item
  return top
}
