import { oneOf } from '../options.js'
import { divideRows, type TokenEmbeddings } from '../tensor/ops.js'
import type { Tensor } from '../tensor/tensor.js'

/** MaxSim is a sum over the tokens of a query, or their mean (MeanMaxSim, of mLateOn), which is 1 at most. */
export type Scores = 'sum' | 'mean'
export const scoresKind = oneOf('sum', 'mean')

/** A loss over queries whose MaxSim is what `scores` says: for a mean, token vectors over their number. */
export function scoredBy(
  scores: Scores | undefined,
  queries: TokenEmbeddings,
  loss: (queries: TokenEmbeddings) => Tensor,
): Tensor {
  if (scores !== 'mean') return loss(queries)
  const tokens = divideRows(queries.tokens, queries.segments)
  try {
    return loss({ ...queries, tokens })
  } finally {
    tokens.dispose()
  }
}
