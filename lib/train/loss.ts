import { DataError } from '../errors.js'
import { contrastive } from '../losses/contrastive.js'
import { distillation, marginMse } from '../losses/distillation.js'
import type { Guide } from '../losses/guide.js'
import { add, scale } from '../tensor/ops.js'
import type { Tensor } from '../tensor/tensor.js'
import { isOwn, partsOf } from './config/losses.js'
import type { LossName, ResolvedPhase } from './config/types.js'
import type { BatchLoss } from './gradcache.js'

/**
 * The loss of a phase as GradCache calls it. How pairs are scored comes with the embeddings, by the model's recipe.
 * @param guide of the batch
 * @param onPart where it has several: told the value of each before its weight, as soon as it is queued
 */
export function lossOf(
  phase: ResolvedPhase,
  logScale: Tensor | undefined,
  guide?: Guide,
  onPart?: (name: LossName, value: Tensor) => void,
): BatchLoss {
  const { loss, temperature } = phase
  if (isOwn(loss)) return (input) => loss.fn({ ...input, temperature, logScale })
  if (typeof loss === 'string') return namedLoss(loss, phase, logScale, guide)
  const parts = partsOf(loss).map(([name, weight]) => ({ name, weight, of: namedLoss(name, phase, logScale, guide) }))
  return (input) =>
    parts
      .map(({ name, weight, of }) => {
        const value = of(input)
        onPart?.(name, value)
        return scale(value, weight)
      })
      .reduce((sum, part) => add(sum, part))
}

function namedLoss(loss: LossName, phase: ResolvedPhase, logScale?: Tensor, guide?: Guide): BatchLoss {
  const { temperature, studentTemperature, teacherTemperature, temperatureSquared } = phase
  const { maskDuplicates, symmetric, normalizeScores, scores } = phase
  const scaled = logScale ? { logScale } : { temperature }
  if (loss === 'contrastive')
    return ({ queries, documents, batch, ranks, onProgress }) =>
      contrastive(queries, documents, {
        ...scaled,
        scores,
        symmetric,
        guide,
        ranks,
        onProgress,
        documentsPerQuery: batch.documentsPerQuery,
        ...(maskDuplicates && {
          queryDuplicateIds: batch.queryDuplicateIds,
          documentDuplicateIds: batch.documentDuplicateIds,
        }),
      })
  const student = studentTemperature === undefined ? scaled : { temperature: studentTemperature }
  return ({ queries, documents, batch, ranks }) => {
    const { scores: teacher, documentsPerQuery, source } = batch
    if (!teacher)
      throw new DataError(
        'ERR_DATA',
        `phase "${phase.name}": ${loss} needs teacher scores, and source "${source}" has none. Its rows need "scores"`,
        { phase: phase.name, source },
      )
    return loss === 'distillation'
      ? distillation(queries, documents, {
          ...student,
          ...{ teacher, documentsPerQuery, scores, ranks, normalizeScores, teacherTemperature, temperatureSquared },
        })
      : marginMse(queries, documents, { teacher, documentsPerQuery, scores, ranks })
  }
}

/**
 * Factor on the gradient of the mean loss over the global batch. PyLate's losses are scaled otherwise (measured with 1, 2
 * and 4 processes that gather): CachedContrastive by the batch that the loss sees, because it divides by it after each
 * micro-batch's backward (`pylate`); Contrastive by the number of ranks, because it multiplies by it what the gather's
 * backward already sums (`pylate-contrastive`).
 */
export function gradientScaleOf(
  phase: Pick<ResolvedPhase, 'batch' | 'loss' | 'gradientScale' | 'gather'>,
  ranks = 1,
): number {
  const { gradientScale, batch, loss, gather } = phase
  if (typeof gradientScale === 'number') return gradientScale
  if (gradientScale === 'mean' || loss !== 'contrastive') return 1
  if (gradientScale === 'pylate-contrastive') return ranks
  return gather === 'none' ? batch / ranks : batch
}
