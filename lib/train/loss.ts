import { DataError } from '../errors.js'
import { contrastive } from '../losses/contrastive.js'
import { distillation, marginMse } from '../losses/distillation.js'
import type { Tensor } from '../tensor/tensor.js'
import type { BatchLoss } from './gradcache.js'
import type { ResolvedPhase } from './types.js'

/** The loss of a phase as GradCache calls it. */
export function lossOf(phase: ResolvedPhase, logScale: Tensor | undefined): BatchLoss {
  const { loss, temperature, maskDuplicates, normalizeScores, name } = phase
  if (typeof loss === 'object') return (input) => loss.fn({ ...input, temperature, logScale })
  const scale = logScale ? { logScale } : { temperature }
  if (loss === 'contrastive')
    return ({ queries, documents, batch }) =>
      contrastive(queries, documents, {
        ...scale,
        perQuery: batch.perQuery,
        ...(maskDuplicates && { queryGroups: batch.queryGroups, documentGroups: batch.documentGroups }),
      })
  return ({ queries, documents, batch }) => {
    const { scores: teacher, perQuery, source } = batch
    if (!teacher)
      throw new DataError(
        'ERR_DATA',
        `phase "${name}": ${loss} needs teacher scores, and source "${source}" has none. Its rows need "scores"`,
        { phase: name, source },
      )
    return loss === 'distillation'
      ? distillation(queries, documents, { ...scale, teacher, perQuery, minMax: normalizeScores })
      : marginMse(queries, documents, { teacher, perQuery })
  }
}

/** Factor on the gradient of the mean loss. */
export function gradientScaleOf({ gradientScale, batch, loss }: ResolvedPhase): number {
  if (typeof gradientScale === 'number') return gradientScale
  // PyLate's CachedContrastive sums over the batch where its loss is the mean.
  return gradientScale === 'pylate' && loss === 'contrastive' ? batch : 1
}
