import { batchSliceOf, type Ranks } from '../distributed/batch-slice.js'
import type { Pending } from '../distributed/group.js'
import { ArgumentError, RecipeError } from '../errors.js'
import { checkOptions, flag, func, instance, type Kinds, number, numbers, object, whole } from '../options.js'
import type { OnProgress, Progress } from '../progress.js'
import * as raw from '../tensor/ops.gen.js'
import { type TokenEmbeddings, zeros } from '../tensor/ops.js'
import { scope } from '../tensor/scope.js'
import { record } from '../tensor/tape.js'
import { type Segments, Tensor } from '../tensor/tensor.js'
import { type DocumentsPerQuery, documentOffsets, documentsPerQueryKind } from './documents.js'
import { FalseNegatives, type Guide } from './guide.js'
import { type Scores, scoredBy, scoresKind } from './mean.js'
import { Softmax, Turned } from './softmax.js'

/** Options of `contrastive`. */
export interface ContrastiveOptions {
  /** Scores are divided by it before the softmax, 1e-30 to 1e30. Default 1, as PyLate; the paper's phase 1 uses 0.02. */
  temperature?: number
  /** Instead: log(1/temperature) as a parameter [1], clamped at ln 100 (open_clip). */
  logScale?: Tensor
  /**
   * Documents of each query, the positive first: one number for all, or one for each query. Documents are one query's
   * after the other's. Default 1.
   */
  documentsPerQuery?: DocumentsPerQuery
  /** Content ids (int32): equal ids are duplicates, so never each other's negatives. One per query, one per document. */
  queryDuplicateIds?: Int32Array
  /** As `queryDuplicateIds`, of documents. */
  documentDuplicateIds?: Int32Array
  /** Negative similarities count as 0, as in PyLate. Default: as the embeddings' model scores, else false. */
  clampNegatives?: boolean
  /** MaxSim as the sum over a query's tokens, or as their mean. Default `sum`. */
  scores?: Scores
  /** One weight per query; default 1. The loss is the weighted mean. */
  weights?: ArrayLike<number>
  /**
   * The mean of two directions: beside a query's positive among documents, a positive's query among queries, as
   * sentence-transformers' `directions` query_to_doc and doc_to_query, one softmax each. Default false.
   */
  symmetric?: boolean
  /** Leaves out false negatives by another model's scores, in both directions. Default: none are. */
  guide?: Guide
  /** Queries scored at a time. Larger costs memory (scores and argmax of one block), not exactness. */
  blockQueries?: number
  /**
   * The batch is spread over ranks: `documentsPerQuery`, duplicate ids and weights are then of the whole batch, in rank
   * order. The loss is that of the whole batch, on every rank; the gradients, log scale's too, are this rank's part: ranks
   * sum them.
   */
  ranks?: Ranks
  /**
   * Of a loss that is symmetric, or on several ranks: bytes of scores and argmaxes that may be kept until all statistics
   * are there; blocks beyond it are scored again, with the same bits. Default 256 MiB.
   */
  keepScores?: number
  /** Told as blocks of queries are through on the device, for batches of thousands. Nothing waits for it. */
  onProgress?: OnProgress | undefined
}

/** What float32 divides scores of any length by without overflow, and what still leaves something of them. */
export const temperatures = number(1e-30, 1e30)
export const scoring = {
  temperature: temperatures,
  logScale: instance('a tensor [1]', () => Tensor),
  clampNegatives: flag,
  scores: scoresKind,
  ranks: object,
}
const duplicateIds = instance('an Int32Array', () => Int32Array)
const contrastiveOptions: Kinds<ContrastiveOptions> = {
  ...scoring,
  documentsPerQuery: documentsPerQueryKind,
  queryDuplicateIds: duplicateIds,
  documentDuplicateIds: duplicateIds,
  weights: numbers,
  symmetric: flag,
  guide: object,
  blockQueries: whole(1),
  keepScores: number(0),
  onProgress: func,
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
 * sees every document but duplicates of its positive, positives of equal queries, what a guide leaves out, and empty
 * documents. A query whose positive is empty contributes no loss. One sweep of the MaxSim op by blocks of queries makes
 * scores, softmax and gradients; the scores never exist as a whole.
 *
 * On several ranks either side may be gathered. Where it is the queries, a rank has all rows but only its documents'
 * columns of S: it sends each row's largest logit, sum and positive to the rank that owns the query, which joins them in
 * rank order and makes the loss of its rows; their log-sum-exps go to all ranks, and a second sweep makes the gradients
 * (the split of the softmax by classes, as in Partial FC, An et al. 2021, with documents as classes). Whatever the ranks,
 * the gradients sum to those of one rank.
 *
 * The other direction of a symmetric loss is the same softmax over the same scores, turned: its rows are positives, its
 * columns queries, and what is left out is a duplicate's pair in either. Where documents are gathered, its columns are what
 * is spread over ranks.
 * @returns the loss, [1]
 * @throws ShapeError ERR_SHAPE; ArgumentError ERR_ARGUMENT for an unknown option or a bad value; RecipeError ERR_RECIPE
 *   for another `clampNegatives` than that of the embeddings
 */
export function contrastive(
  queries: TokenEmbeddings,
  documents: TokenEmbeddings,
  options: ContrastiveOptions = {},
): Tensor {
  checkOptions('contrastive', options, contrastiveOptions)
  return scoredBy(options.scores, queries, (queries) => inBatch(queries, documents, options))
}

function inBatch(queries: TokenEmbeddings, documents: TokenEmbeddings, options: ContrastiveOptions): Tensor {
  const { blockQueries = 1024, keepScores = 2 ** 28, symmetric = false } = options
  if (options.keepScores !== undefined && !options.ranks && !symmetric)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      'contrastive: keepScores has no effect without ranks or symmetric; leave it out',
      { option: 'keepScores' },
    )
  const clampNegatives = clampOf('contrastive', queries, documents, options.clampNegatives) ? 1 : 0
  const device = queries.tokens.device
  const slice = batchSliceOf(options.ranks, queries.segments.count)
  const { group, gathered, total, rows, columns } = slice
  const offsets = documentOffsets('contrastive', options.documentsPerQuery ?? 1, total)
  const here = offsets[columns.first + columns.count]! - offsets[columns.first]!
  if (documents.segments.count !== here)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `contrastive: by documentsPerQuery ${columns.count} queries need ${here} documents, got ${documents.segments.count}`,
      { option: 'documentsPerQuery' },
    )
  const { logScale, learned } = scaleOf('contrastive', options, device)
  const weights = options.weights ? Float64Array.from(options.weights) : null
  if (weights && weights.length !== total)
    throw new ArgumentError('ERR_ARGUMENT', `${weights.length} weights for ${total} queries`)
  if (weights?.some((w) => !(w >= 0 && w < Number.POSITIVE_INFINITY)))
    throw new ArgumentError('ERR_ARGUMENT', 'contrastive: weights must be finite numbers ≥ 0', { option: 'weights' })
  const weight = weights ? weights.reduce((sum, w) => sum + w, 0) : total
  const normalizer = weight > 0 ? 1 / weight / (symmetric ? 2 : 1) : 0
  const q = queries.tokens
  const d = documents.tokens
  const needed = { q: q.requiresGradient, d: d.requiresGradient, s: logScale.requiresGradient }
  const anyNeeded = needed.q || needed.d || needed.s
  const blocks: Block[] = []
  for (let first = 0; first < rows.count || first === 0; first += blockQueries)
    blocks.push({ first, last: Math.min(rows.count, first + blockQueries) })

  const forward = () => {
    const loss = zeros(device, [1])
    const dq = needed.q ? zeros(device, q.shape) : null
    const dd = needed.d ? zeros(device, d.shape) : null
    const ds = needed.s ? zeros(device, [1]) : null
    const tokensOf = ({ first, last }: Block): [number, number] => [
      queries.segments.offsets[first]!,
      queries.segments.offsets[last]!,
    ]
    const falseNegatives = options.guide ? new FalseNegatives(options.guide, slice, offsets) : null
    const score = (block: Block): Scored => {
      const segments = queries.segments.slice(block.first, block.last)
      const tokens = q.rows(...tokensOf(block))
      const [scores, argmax] = raw.maxsim(tokens, segments, d, documents.segments, null, {
        layout: 0,
        wantArgmax: anyNeeded ? 1 : 0,
        clampNegatives,
      })
      falseNegatives?.exclude(scores, block.first, block.last)
      return { segments, tokens, scores, argmax }
    }
    const common = { device, logScale, learned, normalizer, loss, ds }
    const { queryDuplicateIds: rowDuplicateIds, documentDuplicateIds: columnDuplicateIds } = options
    const batch = { groups: offsets, rowDuplicateIds, columnDuplicateIds, weights }
    const softmax = new Softmax(common, batch)
    const turned = symmetric ? new Turned(common, batch, documents.segments, columns) : null
    const firstOf = ({ first }: Block) => rows.first + first
    const statsOf = (block: Block, { scores }: Scored) =>
      softmax.stats(scores, documents.segments, firstOf(block), columns.first)
    const differentiate = (block: Block, scored: Scored, lse: Tensor, turnedLse?: Tensor) => {
      const { segments, tokens, scores, argmax } = scored
      const other = turnedLse && turned!.gradient(scores, turnedLse, segments, firstOf(block))
      softmax.differentiate(scores, lse, documents.segments, firstOf(block), columns.first)
      if (other) raw.addInto(other, scores)
      const dTokens = dq?.rows(...tokensOf(block))
      raw.maxsimBackward(tokens, segments, d, documents.segments, null, argmax!, scores, dTokens, dd, { layout: 0 })
    }

    const through = (part: string, done: number): void => {
      const { onProgress } = options
      if (!onProgress) return
      const told: Progress = { stage: 'training', part, done, total: rows.count, unit: 'queries' }
      device.event().then(
        () => onProgress(told),
        () => {}, // whoever awaits the loss hears of it
      )
    }
    let whole: Pending
    // The side that stays is spread over ranks: the columns of one direction or of the other.
    const spread = group.size > 1 ? gathered : 'none'
    if (spread === 'queries' || turned) {
      const partial = Tensor.empty(device, [rows.count, 3])
      const turnedPartial = turned && Tensor.empty(device, [blocks.length * columns.count, 3])
      let budget = keepScores
      through('loss, scores', 0)
      const kept = blocks.map((block, i) =>
        scope(() => {
          const scored = score(block)
          raw.copyRows(statsOf(block, scored), partial, { row: block.first })
          if (turned) {
            const stats = turned.stats(scored.scores, scored.segments, firstOf(block))
            raw.copyRows(stats, turnedPartial!, { row: i * columns.count })
          }
          budget -= scored.scores.bytes + (scored.argmax?.bytes ?? 0)
          through('loss, scores', block.last)
          return anyNeeded && budget >= 0 ? scored : null
        }),
      )
      const arriving = softmax.join(partial, slice, spread === 'queries')
      const turnedStats = turnedPartial && raw.combineStats(turnedPartial, { ranks: blocks.length })
      const turnedArriving = turned?.softmax.join(turnedStats!, slice, spread === 'documents')
      whole = group.allReduceSum(loss)
      const [lse, turnedLse] = [arriving.wait(), turnedArriving?.wait()]
      if (anyNeeded)
        for (const [i, block] of blocks.entries())
          scope(() => {
            const scored = kept[i] ?? score(block)
            differentiate(block, scored, lse.rows(block.first, block.last), turnedLse)
            for (const tensor of Object.values(scored)) tensor?.dispose()
            through('loss, gradients', block.last)
          })
    } else {
      through('loss', 0)
      for (const block of blocks)
        scope(() => {
          const scored = score(block)
          const lse = softmax.lossOf(statsOf(block, scored), firstOf(block))
          if (anyNeeded) differentiate(block, scored, lse)
          through('loss', block.last)
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

/** The temperature as the kernels take it: log(1/τ), [1], clamped at ln 100 where it is learned. */
export function scaleOf(
  what: string,
  { temperature, logScale }: { temperature?: number; logScale?: Tensor },
  device: Tensor['device'],
): { logScale: Tensor; learned: number } {
  if (logScale && temperature !== undefined)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `${what}: temperature has no effect beside logScale, which is one too; give one of the two`,
      { option: 'temperature' },
    )
  if (logScale) return { logScale, learned: 1 }
  return { logScale: Tensor.from(device, [-Math.log(temperature ?? 1)]), learned: 0 }
}

/**
 * Whether negative similarities count as 0: by the rule of the model that made the embeddings, which an option may repeat
 * but not change.
 * @throws RecipeError ERR_RECIPE
 */
export function clampOf(
  what: string,
  queries: TokenEmbeddings,
  documents: TokenEmbeddings,
  clampNegatives?: boolean,
): boolean {
  const given = { queries: queries.clampNegatives, documents: documents.clampNegatives }
  const rules = new Set([given.queries, given.documents, clampNegatives].filter((rule) => rule !== undefined))
  if (rules.size > 1)
    throw new RecipeError(
      'ERR_RECIPE',
      `${what}: clampNegatives is ${clampNegatives ?? 'not given'}, but ${given.queries} for the queries' model and ` +
        `${given.documents} for the documents'. Leave the option out, or change the recipe: setRecipe({ clampNegatives })`,
      { option: 'clampNegatives', ...given },
    )
  return rules.has(true)
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
