import { batchSliceOf, type Ranks } from '../distributed/batch-slice.js'
import { ArgumentError } from '../errors.js'
import { checkOptions, flag, type Kinds, numbers, required } from '../options.js'
import * as raw from '../tensor/ops.gen.js'
import { type TokenEmbeddings, zeros } from '../tensor/ops.js'
import { record } from '../tensor/tape.js'
import { Segments, Tensor } from '../tensor/tensor.js'
import { clampOf, scaledBy, scaleOf, scoring } from './contrastive.js'
import { type DocumentsPerQuery, documentOffsets, documentsPerQueryKind } from './documents.js'

/** Options of `distillation`. */
export interface DistillationOptions {
  /** Teacher scores, one per document; only their differences within a query matter. */
  teacher: ArrayLike<number>
  /** As in `contrastive`. A query with one document has nothing to compare and adds 0 to the loss. */
  documentsPerQuery: DocumentsPerQuery
  /** Student scores are divided by it after the normalisation, 1e-30 to 1e30. Default 1. */
  temperature?: number
  /** As in `contrastive`. */
  logScale?: Tensor
  /** Teacher scores are divided by it, 1e-30 to 1e30. Default 1. */
  teacherTemperature?: number
  /**
   * The loss is multiplied by `temperature`², as sentence-transformers does (Hinton et al. 2015, "Distilling the knowledge
   * in a neural network"); not of one that is learned. Default false.
   */
  temperatureSquared?: boolean
  /** As in `contrastive`. */
  clampNegatives?: boolean
  /**
   * The batch is spread over ranks, `documentsPerQuery` is that of the whole batch; nothing is gathered. The loss is that of
   * the whole batch, on every rank.
   */
  ranks?: Ranks
  /** Student scores become (s − min)/(max − min + 1e-8) within each query first, as PyLate does. Default true. */
  normalizeScores?: boolean
}

/** Options of `marginMse`: those of `distillation` without a temperature. */
export type MarginOptions = Pick<DistillationOptions, 'teacher' | 'documentsPerQuery' | 'clampNegatives' | 'ranks'>

const marginOptions: Kinds<MarginOptions> = {
  teacher: numbers,
  documentsPerQuery: documentsPerQueryKind,
  clampNegatives: scoring.clampNegatives,
  ranks: scoring.ranks,
}
const distillationOptions: Kinds<DistillationOptions> = {
  ...marginOptions,
  temperature: scoring.temperature,
  logScale: scoring.logScale,
  teacherTemperature: scoring.temperature,
  temperatureSquared: flag,
  normalizeScores: flag,
}

/**
 * KL(softmax(teacher / teacherTemperature) ‖ softmax(student / temperature)) over each query's own documents, mean over
 * queries; the student's scores are MaxSim. As PyLate's `Distillation` (normalizeScores, both temperatures 1) and
 * sentence-transformers' `MultiVectorDistillKLDivLoss` (normalizeScores off, temperatureSquared).
 * @returns the loss, [1]
 * @throws as `contrastive`
 */
export function distillation(
  queries: TokenEmbeddings,
  documents: TokenEmbeddings,
  options: DistillationOptions,
): Tensor {
  checkOptions('distillation', options, distillationOptions)
  const { temperatureSquared = false, temperature = 1 } = options
  if (temperatureSquared && options.logScale)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      'distillation: temperatureSquared goes with a temperature that is given, not with logScale; leave one of them out',
      { option: 'temperatureSquared' },
    )
  const factor = temperatureSquared ? temperature ** 2 : 1
  const { logScale, learned } = scaleOf('distillation', options, queries.tokens.device)
  const loss = grouped(
    'distillation',
    queries,
    documents,
    options,
    logScale,
    (scores, teacher, groups, loss, ds, normalizer) =>
      raw.distillLoss(scores, teacher, groups, logScale, documents.segments, loss, ds, {
        minMax: (options.normalizeScores ?? true) ? 1 : 0,
        learned,
        normalizer: factor * normalizer,
      }),
  )
  if (!options.logScale) logScale.dispose()
  return loss
}

/**
 * MarginMSE (Hofstätter et al. 2020, "Improving efficient neural ranking models with cross-architecture knowledge
 * distillation"): the mean of ((s₀ − sⱼ) − (t₀ − tⱼ))² over each query's other documents, mean over queries. It has no
 * temperature.
 * @throws as `contrastive`
 */
export function marginMse(queries: TokenEmbeddings, documents: TokenEmbeddings, options: MarginOptions): Tensor {
  checkOptions('marginMse', options, marginOptions)
  return grouped('marginMse', queries, documents, options, null, (scores, teacher, groups, loss, _, normalizer) =>
    raw.marginMse(scores, teacher, groups, documents.segments, loss, { normalizer }),
  )
}

type RowLoss = (
  scores: Tensor,
  teacher: Tensor,
  groups: Segments,
  loss: Tensor,
  dLogScale: Tensor | null,
  normalizer: number,
) => Tensor

/** What both have in common: MaxSim in layout `grouped`, a loss per row with its gradient, and MaxSim's backward. */
function grouped(
  what: string,
  queries: TokenEmbeddings,
  documents: TokenEmbeddings,
  options: MarginOptions & Pick<DistillationOptions, 'teacherTemperature'>,
  logScale: Tensor | null,
  rowLoss: RowLoss,
): Tensor {
  required(what, 'teacher', options?.teacher, numbers)
  required(what, 'documentsPerQuery', options.documentsPerQuery, marginOptions.documentsPerQuery)
  const clampNegatives = clampOf(what, queries, documents, options.clampNegatives) ? 1 : 0
  const [q, d] = [queries.tokens, documents.tokens]
  const device = q.device
  const count = queries.segments.count
  const slice = batchSliceOf(options.ranks && { ...options.ranks, gathered: 'none' }, count)
  const normalizer = slice.total > 0 ? 1 / slice.total : 0
  const { first } = slice.own
  const all = documentOffsets(what, options.documentsPerQuery, slice.total)
  const offsets = all.subarray(first, first + count + 1).map((offset) => offset - all[first]!)
  const total = documents.segments.count
  if (offsets[count] !== total || options.teacher.length !== total)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `${what}: ${count} queries own ${offsets[count]} documents with ${options.teacher.length} teacher scores, ` +
        `but there are ${total} documents`,
    )
  const needed = { q: q.requiresGradient, d: d.requiresGradient, s: logScale?.requiresGradient ?? false }
  const [loss] = record(
    [q, d, logScale],
    () => {
      const loss = zeros(device, [1])
      const dq = needed.q ? zeros(device, q.shape) : null
      const dd = needed.d ? zeros(device, d.shape) : null
      const ds = needed.s ? zeros(device, [1]) : null
      const groups = Segments.of(device, offsets)
      const teacher = Tensor.from(device, tempered(options, offsets, documents.segments.offsets))
      const wantArgmax = dq || dd ? 1 : 0
      const p = { layout: 1, wantArgmax, clampNegatives }
      const [scores, argmax] = raw.maxsim(q, queries.segments, d, documents.segments, groups, p)
      const dScores = rowLoss(scores, teacher, groups, loss, ds, normalizer)
      if (wantArgmax)
        raw.maxsimBackward(q, queries.segments, d, documents.segments, groups, argmax!, dScores, dq, dd, { layout: 1 })
      slice.group.allReduceSum(loss).wait()
      for (const t of [groups, teacher, scores, argmax, dScores]) t?.dispose()
      return [loss, dq, dd, ds]
    },
    ([, dq, dd, ds], save) => scaledBy([dq, dd, ds], save, logScale),
  )
  return loss!
}

/**
 * Teacher scores over their temperature, counted from the highest of their query: float32 would lose the differences of
 * large scores, and has no room for what a small temperature makes of them.
 */
function tempered(
  { teacher, teacherTemperature = 1 }: Pick<DistillationOptions, 'teacher' | 'teacherTemperature'>,
  groups: Float64Array,
  documents: Float64Array,
): ArrayLike<number> {
  if (teacherTemperature === 1) return teacher
  const scores = new Float64Array(teacher.length) // of empty documents 0; no loss looks at it
  for (let i = 0; i + 1 < groups.length; i++) {
    let most = Number.NEGATIVE_INFINITY
    for (let j = groups[i]!; j < groups[i + 1]!; j++)
      if (documents[j]! < documents[j + 1]!) most = Math.max(most, teacher[j]!)
    for (let j = groups[i]!; j < groups[i + 1]!; j++)
      if (documents[j]! < documents[j + 1]!) scores[j] = Math.max(-3e38, (teacher[j]! - most) / teacherTemperature)
  }
  return scores
}
