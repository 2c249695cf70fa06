import { offsetsOf } from '../ragged.js'
import type { Featurizer, TextFeatures } from '../text/featurizer.js'
import type { Recipe } from '../text/recipe.js'
import { atOnce } from '../turns.js'

/** Packed sequences of token ids, with what attention and scoring need to know of them. */
export interface TokenColumn {
  /** int32 [T] */
  ids: Int32Array<ArrayBuffer>
  /** [n + 1] bounds of the sequences in `ids`. */
  offsets: Float64Array<ArrayBuffer>
  /** [n] tokens of each sequence, from its start, that may be attended to (expansion tokens may not, by default). */
  keyLengths: Int32Array<ArrayBuffer>
  /** Rows of `ids` that take part in scoring, without the skiplist's; null: all of them. */
  keep: Int32Array<ArrayBuffer> | null
  /** [n + 1] bounds of the sequences among the rows that score: the kept ones, or one a sequence in a dense model. */
  keptOffsets: Float64Array<ArrayBuffer>
  /** [n] a number per sequence that is unique within its source and column, for keying random draws. */
  rows: Float64Array<ArrayBuffer>
  /** 0: queries, 1: documents. */
  column: number
}

export interface TextColumn extends TokenColumn {
  /** [n] 1 for a text that is longer than the recipe takes. */
  truncated: Uint8Array
}

/** Texts as a column, without shards: Row numbers count from 0. */
export function columnFromTexts(
  featurizer: Featurizer,
  texts: readonly string[],
  role: 'query' | 'document',
): TextColumn {
  return atOnce(columnInSteps(featurizer, texts, role))
}

/** `columnFromTexts` that yields between small steps: what encoding uses. */
export function* columnInSteps(
  featurizer: Featurizer,
  texts: readonly string[],
  role: 'query' | 'document',
): Generator<void, TextColumn> {
  const features: TextFeatures[] = []
  for (const text of texts) features.push(yield* featurizer.featuresInSteps(text, role))
  return columnOf(featurizer, features, role)
}

/** Texts that are tokens already, as a column; those of several callers may be together in one. */
export function columnOf(
  featurizer: Featurizer,
  features: readonly TextFeatures[],
  role: 'query' | 'document',
): TextColumn {
  const { maskId, recipe, skip, querySkip } = featurizer
  const isQuery = role === 'query'
  const truncated = Uint8Array.from(features, (text) => Number(text.truncated))
  const offsets = offsetsOf(features.map((text) => lengthIn(featurizer, text, role)))
  const keyLengths = new Int32Array(features.length)
  const ids = new Int32Array(offsets[features.length]!).fill(maskId)
  for (const [i, text] of features.entries()) {
    keyLengths[i] = recipe.attendToExpansionTokens ? offsets[i + 1]! - offsets[i]! : text.ids.length
    ids.set(text.ids, offsets[i])
  }
  const keys = Float64Array.from(features.keys())
  const left = isQuery ? querySkip : skip
  const kept = left && keepTokens(ids, offsets, left)
  return { ...finish({ ids, offsets, keyLengths, kept }, keys, isQuery ? 0 : 1, recipe), truncated }
}

/** Tokens that a text has in a column, with those that fill a query up. */
export const lengthIn = ({ expandTo }: Featurizer, { ids }: TextFeatures, role: 'query' | 'document'): number =>
  Math.max(ids.length, role === 'query' ? expandTo : 0)

type Packed = Pick<TokenColumn, 'ids' | 'offsets' | 'keyLengths'>
type Kept = { keep: Int32Array<ArrayBuffer>; offsets: Float64Array<ArrayBuffer> }

/** A column of what is packed; with what of it is kept, where not all is and the recipe does not pool it. */
export function finish(
  { kept, ...packed }: Packed & { kept: Kept | null },
  rows: Float64Array<ArrayBuffer>,
  column: number,
  { pooling }: Pick<Recipe, 'pooling'>,
): TokenColumn {
  if (pooling !== 'none')
    return { ...packed, keep: null, keptOffsets: Float64Array.from(packed.offsets.keys()), rows, column }
  const all = kept === null || kept.keep.length === packed.ids.length
  return { ...packed, keep: all ? null : kept.keep, keptOffsets: all ? packed.offsets : kept.offsets, rows, column }
}

function keepTokens(ids: Int32Array, offsets: Float64Array, skip: Uint8Array): Kept {
  const keep: number[] = []
  const bounds = new Float64Array(offsets.length)
  for (let sequence = 0; sequence + 1 < offsets.length; sequence++) {
    for (let row = offsets[sequence]!; row < offsets[sequence + 1]!; row++) if (!skip[ids[row]!]) keep.push(row)
    bounds[sequence + 1] = keep.length
  }
  return { keep: Int32Array.from(keep), offsets: bounds }
}
