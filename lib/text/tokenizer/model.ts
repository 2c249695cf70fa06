import { createHash } from 'node:crypto'
import { FormatError } from '../../errors.js'
import { Bpe, type BpeOptions, type PackedMerges, packMerges } from './bpe.js'
import { Unigram, type UnigramOptions } from './unigram.js'
import { type PackedTokens, quoted, Vocabulary } from './vocabulary.js'
import { WordLevel, WordPiece, type WordPieceOptions } from './words.js'

/** What makes tokens of a word. A word's tokens do not depend on other words. */
export interface Model {
  /** Id of the unknown token, where there is one. */
  readonly unk: number | undefined
  /** Characters above which a word is unknown whatever it is; undefined where length does not matter. */
  readonly longestWord?: number
  /** Ids of a word. */
  short(word: string): number[]
  /**
   * Appends a word's ids until there are `limit` or more, yielding between small steps. The work grows with the ids that
   * are asked for. With `open` the word goes on, nobody knows how or whether: only ids that are certain are appended.
   */
  long(word: string, ids: number[], limit: number, open: boolean): Generator<void, void>
}

type Json = Record<string, unknown>
type Kind = 'WordPiece' | 'WordLevel' | 'BPE' | 'Unigram'

/** The "model" of a tokenizer.json in flat arrays, which threads share, and its other fields. */
export interface PackedModel {
  readonly kind: Kind
  readonly tokens: PackedTokens
  /** Of BPE. `asText`: the file has them as "left right". */
  readonly merges: (PackedMerges & { asText: boolean }) | null
  /** Of Unigram: [ids] log-probabilities. */
  readonly scores: Float64Array | null
  readonly options: Json
  /** sha256 (hex) of tokens, ids, merges and scores. */
  readonly digest: string
}

/** @throws FormatError `ERR_FORMAT` for an unknown model, or one with damaged tokens, ids, merges or scores */
export function packModel(model: unknown): PackedModel {
  if (typeof model !== 'object' || model === null || Array.isArray(model))
    throw new FormatError('ERR_FORMAT', 'it has no "model"; expected a Hugging Face tokenizer.json.')
  const { vocab, merges, ...options } = model as Json
  const kind = kindOf({ vocab, merges, ...options })
  if (kind === 'Unigram') {
    const { entries, scores } = scoredTokens(vocab)
    return finished({ kind, tokens: Vocabulary.of(entries).packed, merges: null, scores, options })
  }
  if (typeof vocab !== 'object' || vocab === null || Array.isArray(vocab))
    throw new FormatError('ERR_FORMAT', `the model's "vocab" is no object of tokens and ids.`)
  const vocabulary = Vocabulary.of(Object.entries(vocab))
  if (kind !== 'BPE') return finished({ kind, tokens: vocabulary.packed, merges: null, scores: null, options })
  if (!Array.isArray(merges)) throw new FormatError('ERR_FORMAT', `the model's "merges" is no array.`)
  const packed = packMerges(vocabulary, merges, options as BpeOptions)
  const asText = typeof merges[0] === 'string'
  return finished({ kind, tokens: vocabulary.packed, merges: { ...packed, asText }, scores: null, options })
}

/** The model and its vocabulary. */
export function openModel({ kind, tokens, merges, scores, options }: PackedModel): {
  model: Model
  vocabulary: Vocabulary
} {
  const vocabulary = new Vocabulary(tokens)
  switch (kind) {
    case 'WordPiece':
      return { vocabulary, model: new WordPiece(vocabulary, options as WordPieceOptions) }
    case 'WordLevel':
      return { vocabulary, model: new WordLevel(vocabulary, options as WordPieceOptions) }
    case 'BPE':
      return { vocabulary, model: new Bpe(vocabulary, merges!, options as BpeOptions) }
    case 'Unigram':
      return { vocabulary, model: new Unigram(vocabulary, scores!, options as UnigramOptions) }
  }
}

/** Old files do not name the model. */
function kindOf({ type, vocab, merges, continuing_subword_prefix, max_input_chars_per_word }: Json): Kind {
  if (type === 'WordPiece' || type === 'WordLevel' || type === 'BPE' || type === 'Unigram') return type
  if (type === undefined && Array.isArray(vocab)) return 'Unigram'
  if (type === undefined && merges !== undefined) return 'BPE'
  if (type === undefined && (continuing_subword_prefix ?? max_input_chars_per_word) !== undefined) return 'WordPiece'
  throw new FormatError(
    'ERR_FORMAT',
    `the model's type is ${JSON.stringify(type)}; expected "WordPiece", "BPE", "Unigram" or "WordLevel".`,
    { type },
  )
}

function scoredTokens(vocab: unknown): { entries: [string, number][]; scores: Float64Array } {
  if (!Array.isArray(vocab))
    throw new FormatError('ERR_FORMAT', `the model's "vocab" is no array of tokens and scores.`)
  const scores = new Float64Array(new SharedArrayBuffer(8 * vocab.length))
  const entries = vocab.map((entry: unknown, id): [string, number] => {
    const [token, score] = Array.isArray(entry) ? entry : []
    if (typeof token !== 'string' || !Number.isFinite(score))
      throw new FormatError('ERR_FORMAT', `entry ${id} of the vocabulary is no token with a score.`, { id })
    scores[id] = score
    return [token, id]
  })
  return { entries, scores }
}

function finished(packed: Omit<PackedModel, 'digest'>): PackedModel {
  const { tokens, merges, scores, options } = packed
  const { unk_token: unk, unk_id: unkId } = options
  if (unk != null && typeof unk !== 'string')
    throw new FormatError('ERR_FORMAT', `the model's "unk_token" is ${JSON.stringify(unk)}, expected a token.`)
  if (
    unkId != null &&
    !(Number.isInteger(unkId) && (unkId as number) >= 0 && (unkId as number) < tokens.lengths.length)
  )
    throw new FormatError('ERR_FORMAT', `the model's "unk_id" is ${JSON.stringify(unkId)}, which no token has.`)
  if (packed.kind === 'WordPiece' && typeof unk === 'string' && new Vocabulary(tokens).idOf(unk) < 0)
    throw new FormatError('ERR_FORMAT', `the model's unknown token ${quoted(unk)} is not in its vocabulary.`)
  const hash = createHash('sha256').update(tokens.text)
  for (const array of [tokens.lengths, merges?.pairs, scores]) {
    if (array) hash.update(new Uint8Array(array.buffer))
  }
  return { ...packed, digest: hash.digest('hex') }
}
