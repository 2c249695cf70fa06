/** Which token of a text answers which token of a query. */
import { columnOf } from '../data/column.js'
import type { Colbert } from '../models/colbert.js'
import type { Embeddings, Role } from '../retrieval/embeddings.js'
import { bestMatches } from '../retrieval/matches.js'
import type { TextFeatures } from '../text/featurizer.js'
import type { ExplainedText, ReadToken } from './types.js'

/** Tokens of a text as the model reads it, and which of them have vectors. */
export function readBy(model: Colbert, text: TextFeatures, role: Role): { tokens: ReadToken[]; scoring: number[] } {
  const { ids, keep } = columnOf(model.featurizer, [text], role)
  const scoring = keep ? [...keep] : [...ids.keys()]
  const scores = new Set(scoring)
  const tokens = Array.from(ids, (id, i) => ({ id, text: model.tokenizer.idToToken(id) ?? '', scores: scores.has(i) }))
  return { tokens, scoring }
}

/** How a text answers a query: for each token vector of the query the text's best; of equal ones the first. */
export function* explainedInSteps(
  { dim, clampNegatives }: Colbert,
  query: { data: Float32Array; scoring: readonly number[] },
  text: { data: Float32Array; tokens: ReadToken[]; scoring: readonly number[] },
): Generator<void, ExplainedText> {
  const matches: ExplainedText['matches'] = []
  for (const [row, token] of query.scoring.entries()) {
    const vector = query.data.subarray(row * dim, (row + 1) * dim)
    const [best] = bestMatches(vector, text.data, dim, clampNegatives)
    matches.push({ query: token, token: best!.token < 0 ? -1 : text.scoring[best!.token]!, score: best!.score })
    yield
  }
  return { score: matches.reduce((sum, match) => sum + match.score, 0), tokens: text.tokens, matches }
}

/** Token vectors of one of several texts. */
export const vectorsOf = ({ data, offsets, dim }: Embeddings, text: number): Float32Array =>
  data.subarray(offsets[text]! * dim, offsets[text + 1]! * dim)
