import { ArgumentError } from '../errors.js'
import type { Pending } from '../tensor/group.js'
import * as raw from '../tensor/ops.gen.js'
import { zeros } from '../tensor/ops.js'
import { scope } from '../tensor/scope.js'
import { record } from '../tensor/tape.js'
import { type Segments, Tensor } from '../tensor/tensor.js'
import { placeOf, type Ranks } from './ranks.js'

/** Packed unit-norm token embeddings [T, dim] and where each sequence starts. */
export interface TokenEmbeddings {
  tokens: Tensor
  segments: Segments
}

export interface ContrastiveOptions {
  /** Scores are divided by it before the softmax. Default 1, as PyLate; the paper's phase 1 uses 0.02. */
  temperature?: number
  /** Instead: log(1/temperature) as a parameter [1], clamped at ln 100 (open_clip). */
  logScale?: Tensor
  /** Documents per query, the positive first: document i · perQuery is query i's positive. Default 1. */
  perQuery?: number
  /** Content ids (int32): equal ids are duplicates, so never each other's negatives. One per query, one per document. */
  queryGroups?: Int32Array
  documentGroups?: Int32Array
  /** `exclude`: skiplisted and padded tokens do not exist. `zero`: PyLate's floor of 0 under each query token's maximum. */
  mask?: 'exclude' | 'zero'
  /** One weight per query; default 1. The loss is the weighted mean. */
  weights?: ArrayLike<number>
  /** Queries scored at a time. Larger costs memory (scores and argmax of one block), not exactness. */
  blockQueries?: number
  /**
   * The batch is spread over ranks: groups and weights are then of the whole batch, in rank order. The loss is that of
   * the whole batch, on every rank; the gradients, log scale's too, are this rank's part: ranks sum them.
   */
  ranks?: Ranks
  /**
   * Bytes of scores and argmaxes that may be kept while ranks join their statistics; blocks beyond it are scored again,
   * with the same bits. Default 256 MiB.
   */
  keepScores?: number
}

/** Queries [first, last) of those that are here. */
interface Block {
  first: number
  last: number
}

/** Its tokens against all documents that are here. */
interface Scored {
  segments: Segments
  tokens: Tensor
  scores: Tensor
  argmax: Tensor | null
}

/**
 * InfoNCE over in-batch documents: Σ aᵢ ℓᵢ / Σ aᵢ with ℓᵢ = log Σⱼ exp(Sᵢⱼ/τ) − S_{i,p(i)}/τ and S = MaxSim; every query
 * sees every document but duplicates of its positive, positives of equal queries, and empty documents. A query whose
 * positive is empty says nothing. One sweep of the MaxSim op by blocks of queries makes scores, softmax and gradients;
 * the scores never exist as a whole.
 *
 * On several ranks either side may be gathered. Where it is the queries, a rank has all rows but only its documents'
 * columns of S: it sends each row's largest logit, sum and positive to the rank that owns the query, which joins them in
 * rank order and makes the loss of its rows; their log-sum-exps go to all ranks, and a second sweep makes the gradients
 * (the split of the softmax by classes, as in Partial FC, An et al. 2021, with documents as classes). Whatever the ranks,
 * the gradients sum to those of one rank.
 * @returns the loss, [1]
 * @throws ShapeError ERR_SHAPE, ArgumentError ERR_ARGUMENT
 */
export function contrastive(
  queries: TokenEmbeddings,
  documents: TokenEmbeddings,
  options: ContrastiveOptions = {},
): Tensor {
  const { perQuery = 1, blockQueries = 1024, keepScores = 2 ** 28 } = options
  const floorZero = options.mask === 'zero' ? 1 : 0
  const device = queries.tokens.device
  const { group, counts, gathered, total, own, rows, columns } = placeOf(options.ranks, queries.segments.count)
  if (documents.segments.count !== columns.count * perQuery)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `${columns.count} queries with ${perQuery} documents each need ${columns.count * perQuery} documents, ` +
        `got ${documents.segments.count}`,
    )
  const logScale = scaleOf(options, device)
  const weights = options.weights ? Float64Array.from(options.weights) : null
  if (weights && weights.length !== total)
    throw new ArgumentError('ERR_ARGUMENT', `${weights.length} weights for ${total} queries`)
  const weight = weights ? weights.reduce((sum, w) => sum + w, 0) : total
  const normalizer = weight > 0 ? 1 / weight : 0
  const q = queries.tokens
  const d = documents.tokens
  const needed = { q: q.requiresGradient, d: d.requiresGradient, s: logScale.requiresGradient }
  const anyNeeded = needed.q || needed.d || needed.s
  const blocks: Block[] = []
  for (let first = 0; first < rows.count; first += blockQueries)
    blocks.push({ first, last: Math.min(rows.count, first + blockQueries) })

  const forward = () => {
    const loss = zeros(device, [1])
    const dq = needed.q ? zeros(device, q.shape) : null
    const dd = needed.d ? zeros(device, d.shape) : null
    const ds = needed.s ? zeros(device, [1]) : null
    const qGroups = options.queryGroups ? Tensor.fromInt32(device, options.queryGroups) : null
    const dGroups = options.documentGroups ? Tensor.fromInt32(device, options.documentGroups) : null
    /** Of queries of the whole batch. */
    const weightsOf = (first: number, count: number) =>
      weights && Tensor.from(device, weights.subarray(first, first + count))
    const at = ({ first }: Block) => ({ firstRow: rows.first + first, perQuery, firstQuery: columns.first })
    const tokensOf = ({ first, last }: Block): [number, number] => [
      queries.segments.offsets[first]!,
      queries.segments.offsets[last]!,
    ]
    const score = (block: Block): Scored => {
      const segments = queries.segments.slice(block.first, block.last)
      const tokens = q.rows(...tokensOf(block))
      const [scores, argmax] = raw.maxsim(tokens, segments, d, documents.segments, null, {
        layout: 0,
        wantArgmax: anyNeeded ? 1 : 0,
        floorZero,
      })
      return { segments, tokens, scores, argmax }
    }
    const statsOf = (block: Block, { scores }: Scored) =>
      raw.rowStats(scores, logScale, documents.segments, qGroups, dGroups, at(block))
    const lossOf = (stats: Tensor, first: number, count: number) =>
      raw.contrastiveLoss(stats, weightsOf(first, count), loss, { normalizer })
    const differentiate = (block: Block, { segments, tokens, scores, argmax }: Scored, lse: Tensor) => {
      const w = weightsOf(rows.first + block.first, block.last - block.first)
      const params = { ...at(block), normalizer }
      raw.softmaxGrad(scores, lse, logScale, documents.segments, qGroups, dGroups, w, ds, params)
      const dTokens = dq?.rows(...tokensOf(block))
      raw.maxsimBackward(tokens, segments, d, documents.segments, null, argmax!, scores, dTokens, dd, { layout: 0 })
    }

    let whole: Pending
    if (gathered === 'queries' && group.size > 1) {
      const partial = Tensor.empty(device, [total, 3])
      let budget = keepScores
      const kept = blocks.map((block) =>
        scope(() => {
          const scored = score(block)
          raw.copyRows(statsOf(block, scored), partial, { row: block.first })
          budget -= scored.scores.bytes + (scored.argmax?.bytes ?? 0)
          return anyNeeded && budget >= 0 ? scored : null
        }),
      )
      const parts = group.allToAll(partial, counts, Array<number>(group.size).fill(own.count)).wait()
      const stats = raw.combineStats(parts, { ranks: group.size })
      const arriving = group.allGather(lossOf(stats, own.first, own.count), counts)
      whole = group.allReduceSum(loss)
      const lse = arriving.wait()
      if (anyNeeded)
        for (const [i, block] of blocks.entries())
          scope(() => {
            const scored = kept[i] ?? score(block)
            differentiate(block, scored, lse.rows(block.first, block.last))
            for (const tensor of Object.values(scored)) tensor?.dispose()
          })
    } else {
      for (const block of blocks)
        scope(() => {
          const scored = score(block)
          const lse = lossOf(statsOf(block, scored), rows.first + block.first, block.last - block.first)
          if (anyNeeded) differentiate(block, scored, lse)
        })
      whole = group.allReduceSum(loss)
    }
    whole.wait()
    return [loss, dq, dd, ds]
  }
  const [loss] = record(
    [q, d, logScale],
    () => scope(forward),
    ([, dq, dd, ds], save) => scaledBy([dq ?? null, dd ?? null, ds ?? null], save, logScale),
  )
  if (!options.logScale) logScale.dispose()
  return loss!
}

/** The temperature as the kernels take it: log(1/τ), [1]. */
export function scaleOf(options: { temperature?: number; logScale?: Tensor }, device: Tensor['device']): Tensor {
  if (options.logScale) return options.logScale
  const temperature = options.temperature ?? 1
  if (!(temperature > 0)) throw new ArgumentError('ERR_ARGUMENT', `temperature must be > 0, got ${temperature}`)
  return Tensor.from(device, [Math.log(1 / temperature)])
}

/**
 * A loss whose forward already made the gradients: backward multiplies them by the gradient of the loss, in place, since
 * those of the embeddings are the largest tensors there are.
 */
export function scaledBy(
  gradients: (Tensor | null)[],
  save: (t: Tensor) => Tensor,
  logScale: Tensor | null,
): (incoming: (Tensor | null)[]) => (Tensor | null)[] {
  const kept = gradients.map((g) => g && save(g))
  return ([dLoss]) => {
    const [dq, dd, ds] = kept.map((g) => {
      if (g) raw.rescale(g, dLoss!, { by: 1 })
      return g?.view(0, g.shape)
    })
    if (ds && logScale?.gradient) {
      raw.addInto(ds, logScale.gradient)
      return [dq ?? null, dd ?? null, null]
    }
    return [dq ?? null, dd ?? null, ds ?? null]
  }
}
