import { oneOf } from '../options.js'
import * as raw from '../tensor/ops.gen.js'
import type { TokenEmbeddings } from '../tensor/ops.js'
import { scope } from '../tensor/scope.js'
import { record } from '../tensor/tape.js'
import { Tensor } from '../tensor/tensor.js'

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
  const { offsets } = queries.segments
  const divided = (x: Tensor): Tensor =>
    scope(() => {
      const y = Tensor.empty(x.device, x.shape)
      raw.cast(x, y)
      for (const { first, last, tokens } of runsOf(offsets)) raw.rescale(y.rows(first, last), null, { by: 1 / tokens })
      if (y.dtype === x.dtype) return y
      const rounded = Tensor.empty(x.device, x.shape, x.dtype) // 16 bits, which nothing is computed in
      raw.cast(y, rounded)
      return rounded
    })
  const tokens = record(
    [queries.tokens],
    () => divided(queries.tokens),
    () =>
      ([dy]) => [divided(dy!)],
  )
  try {
    return loss({ ...queries, tokens })
  } finally {
    tokens.dispose()
  }
}

/** Rows [first, last) of neighbouring queries of one length. */
function* runsOf(offsets: Float64Array): Generator<{ first: number; last: number; tokens: number }> {
  for (let i = 0, end: number; i + 1 < offsets.length; i = end) {
    const tokens = offsets[i + 1]! - offsets[i]!
    end = i + 1
    while (end + 1 < offsets.length && offsets[end + 1]! - offsets[end]! === tokens) end++
    if (tokens > 0) yield { first: offsets[i]!, last: offsets[end]!, tokens }
  }
}
