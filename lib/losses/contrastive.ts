import { ArgumentError } from '../errors.js'
import * as raw from '../tensor/ops.gen.js'
import { record } from '../tensor/tape.js'
import { type Segments, Tensor } from '../tensor/tensor.js'

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
}

/**
 * InfoNCE over in-batch documents: Σ aᵢ ℓᵢ / Σ aᵢ with ℓᵢ = log Σⱼ exp(Sᵢⱼ/τ) − S_{i,p(i)}/τ and S = MaxSim; every query
 * sees every document but duplicates of its positive, positives of equal queries, and empty documents. One sweep of the
 * MaxSim op by blocks of queries makes scores, softmax and gradients; the scores never exist as a whole.
 * @returns the loss, [1]
 * @throws ShapeError ERR_SHAPE, ArgumentError ERR_ARGUMENT
 */
export function contrastive(
  queries: TokenEmbeddings,
  documents: TokenEmbeddings,
  options: ContrastiveOptions = {},
): Tensor {
  const { perQuery = 1, blockQueries = 1024 } = options
  const floorZero = options.mask === 'zero' ? 1 : 0
  const device = queries.tokens.device
  const count = queries.segments.count
  if (documents.segments.count !== count * perQuery)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `${count} queries with ${perQuery} documents each need ${count * perQuery} documents, got ${documents.segments.count}`,
    )
  const logScale = scaleOf(options, device)
  const weights = options.weights ? Float64Array.from(options.weights) : null
  if (weights && weights.length !== count)
    throw new ArgumentError('ERR_ARGUMENT', `${weights.length} weights for ${count} queries`)
  const total = weights ? weights.reduce((sum, w) => sum + w, 0) : count
  const normalizer = total > 0 ? 1 / total : 0
  const q = queries.tokens
  const d = documents.tokens
  const needed = { q: q.requiresGradient, d: d.requiresGradient, s: logScale.requiresGradient }
  const anyNeeded = needed.q || needed.d || needed.s

  const [loss] = record(
    [q, d, logScale],
    () => {
      const loss = zeros(device, [1])
      const dq = needed.q ? zeros(device, q.shape) : null
      const dd = needed.d ? zeros(device, d.shape) : null
      const ds = needed.s ? zeros(device, [1]) : null
      const qGroups = options.queryGroups ? Tensor.fromInt32(device, options.queryGroups) : null
      const dGroups = options.documentGroups ? Tensor.fromInt32(device, options.documentGroups) : null
      for (let first = 0; first < count; first += blockQueries) {
        const last = Math.min(count, first + blockQueries)
        const segments = queries.segments.slice(first, last)
        const [from, to] = [queries.segments.offsets[first]!, queries.segments.offsets[last]!]
        const tokens = q.rows(from, to)
        const w = weights && Tensor.from(device, weights.subarray(first, last))
        const [scores, argmax] = raw.maxsim(tokens, segments, d, documents.segments, null, {
          layout: 0,
          wantArgmax: anyNeeded ? 1 : 0,
          floorZero,
        })
        const place = { firstRow: first, perQuery, firstQuery: 0 }
        const stats = raw.rowStats(scores, logScale, documents.segments, qGroups, dGroups, place)
        const lse = raw.contrastiveLoss(stats, w, loss, { normalizer })
        if (anyNeeded) {
          raw.softmaxGrad(scores, lse, logScale, documents.segments, qGroups, dGroups, w, ds, { ...place, normalizer })
          const dTokens = dq?.rows(from, to) ?? null
          raw.maxsimBackward(tokens, segments, d, documents.segments, null, argmax!, scores, dTokens, dd, { layout: 0 })
          dTokens?.dispose()
        }
        for (const t of [segments, tokens, w, scores, argmax, stats, lse]) t?.dispose()
      }
      for (const t of [qGroups, dGroups]) t?.dispose()
      return [loss, dq, dd, ds]
    },
    ([, dq, dd, ds], save) => scaledBy([dq, dd, ds], save, logScale),
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

/** A loss whose forward already made the gradients: backward multiplies them by the gradient of the loss. */
export function scaledBy(
  gradients: (Tensor | null)[],
  save: (t: Tensor) => Tensor,
  logScale: Tensor | null,
): (incoming: (Tensor | null)[]) => (Tensor | null)[] {
  const kept = gradients.map((g) => g && save(g))
  return ([dLoss]) => {
    const [dq, dd, ds] = kept.map((g) => g && raw.scale(g, dLoss!, { by: 1 }))
    if (ds && logScale?.gradient) {
      raw.addInto(ds, logScale.gradient)
      return [dq ?? null, dd ?? null, null]
    }
    return [dq ?? null, dd ?? null, ds ?? null]
  }
}

export function zeros(device: Tensor['device'], shape: readonly number[]): Tensor {
  const tensor = Tensor.empty(device, shape)
  raw.zero(tensor)
  return tensor
}
