import { batchSliceOf, type Ranks } from '../distributed/batch-slice.js'
import { ArgumentError } from '../errors.js'
import { checkOptions, flag, type Kinds, numbers, required } from '../options.js'
import * as raw from '../tensor/ops.gen.js'
import { type TokenEmbeddings, zeros } from '../tensor/ops.js'
import { scope } from '../tensor/scope.js'
import { record } from '../tensor/tape.js'
import { Segments, Tensor } from '../tensor/tensor.js'
import { clampOf, scaledBy, scaleOf, scoring } from './contrastive.js'
import { type DocumentsPerQuery, documentOffsets, documentsPerQueryKind } from './documents.js'
import { type Scores, scoredBy } from './mean.js'

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
  /** As in `contrastive`. */
  scores?: Scores
  /**
   * The batch is spread over ranks, `documentsPerQuery` is that of the whole batch; of a side that is gathered, a rank reads
   * its own part. The loss is that of the whole batch, on every rank.
   */
  ranks?: Ranks
  /** Student scores become (s − min)/(max − min + 1e-8) within each query first, as PyLate does. Default true. */
  normalizeScores?: boolean
}

/** Options of `marginMse`: those of `distillation` without a temperature. */
export type MarginOptions = Pick<
  DistillationOptions,
  'teacher' | 'documentsPerQuery' | 'clampNegatives' | 'scores' | 'ranks'
>

const marginOptions: Kinds<MarginOptions> = {
  teacher: numbers,
  documentsPerQuery: documentsPerQueryKind,
  clampNegatives: scoring.clampNegatives,
  scores: scoring.scores,
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
    ({ scores, teacher, groups, dSegments, loss, ds, normalizer }) =>
      raw.distillLoss(scores, teacher, groups, logScale, dSegments, loss, ds, {
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
  return grouped(
    'marginMse',
    queries,
    documents,
    options,
    null,
    ({ scores, teacher, groups, dSegments, loss, normalizer }) =>
      raw.marginMse(scores, teacher, groups, dSegments, loss, { normalizer }),
  )
}

type GroupedOptions = MarginOptions & Pick<DistillationOptions, 'teacherTemperature'>
type RowLoss = (of: {
  scores: Tensor
  teacher: Tensor
  groups: Segments
  dSegments: Segments
  loss: Tensor
  ds: Tensor | null
  normalizer: number
}) => Tensor

/** Sequences [first, first + count) of a side, and their rows of what has a row per token. */
function partOf({ segments }: TokenEmbeddings, first: number, count: number) {
  const { offsets } = segments
  return {
    segments: () => segments.slice(first, first + count),
    rows: (t: Tensor) => t.rows(offsets[first]!, offsets[first + count]!),
  }
}

/** What both have in common: MaxSim in layout `grouped`, a loss per row with its gradient, and MaxSim's backward. */
function grouped(...[what, queries, documents, options, ...rest]: Parameters<typeof perList>): Tensor {
  required(what, 'teacher', options?.teacher, numbers)
  required(what, 'documentsPerQuery', options.documentsPerQuery, marginOptions.documentsPerQuery)
  return scoredBy(options.scores, queries, (scored) => perList(what, scored, documents, options, ...rest))
}

function perList(
  what: string,
  queries: TokenEmbeddings,
  documents: TokenEmbeddings,
  options: GroupedOptions,
  logScale: Tensor | null,
  rowLoss: RowLoss,
): Tensor {
  const clampNegatives = clampOf(what, queries, documents, options.clampNegatives) ? 1 : 0
  const [q, d] = [queries.tokens, documents.tokens]
  const device = q.device
  const { group, total, own, rows, columns } = batchSliceOf(options.ranks, queries.segments.count)
  const normalizer = total > 0 ? 1 / total : 0
  const all = documentOffsets(what, options.documentsPerQuery, total)
  /** Documents of queries [first, first + count) of the batch. */
  const span = ({ first, count }: { first: number; count: number }) => ({
    first: all[first]!,
    count: all[first + count]! - all[first]!,
  })
  const [here, owned] = [span(columns), span(own)]
  const offsets = all.subarray(own.first, own.first + own.count + 1).map((offset) => offset - owned.first)
  if (documents.segments.count !== here.count || options.teacher.length !== owned.count)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `${what}: ${own.count} queries own ${owned.count} documents with ${options.teacher.length} teacher scores, ` +
        `and ${here.count} documents should be here, of which there are ${documents.segments.count}`,
    )
  const ownQueries = partOf(queries, own.first - rows.first, own.count)
  const ownDocuments = partOf(documents, owned.first - here.first, owned.count)
  const needed = { q: q.requiresGradient, d: d.requiresGradient, s: logScale?.requiresGradient ?? false }
  const [loss] = record(
    [q, d, logScale],
    () =>
      scope(() => {
        const loss = zeros(device, [1])
        const dq = needed.q ? zeros(device, q.shape) : null
        const dd = needed.d ? zeros(device, d.shape) : null
        const ds = needed.s ? zeros(device, [1]) : null
        const groups = Segments.of(device, offsets)
        const [qSegments, dSegments] = [ownQueries.segments(), ownDocuments.segments()]
        const teacher = Tensor.from(device, tempered(options, offsets, dSegments.offsets))
        const wantArgmax = dq || dd ? 1 : 0
        const p = { layout: 1, wantArgmax, clampNegatives }
        const [qOwn, dOwn] = [ownQueries.rows(q), ownDocuments.rows(d)]
        const [scores, argmax] = raw.maxsim(qOwn, qSegments, dOwn, dSegments, groups, p)
        const dScores = rowLoss({ scores, teacher, groups, dSegments, loss, ds, normalizer })
        if (wantArgmax) {
          const [dqOwn, ddOwn] = [dq && ownQueries.rows(dq), dd && ownDocuments.rows(dd)]
          raw.maxsimBackward(qOwn, qSegments, dOwn, dSegments, groups, argmax!, dScores, dqOwn, ddOwn, { layout: 1 })
        }
        group.allReduceSum(loss).wait()
        return [loss, dq, dd, ds]
      }),
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
