import type { CustomLoss, LossName, LossWeights, ResolvedPhase } from './types.js'

/** Losses by name: those of lateforge/losses. */
export const lossNames = ['contrastive', 'distillation', 'margin-mse'] as const

type Loss = ResolvedPhase['loss']

export const isOwn = (loss: Loss): loss is CustomLoss => typeof loss === 'object' && 'fn' in loss

/** The losses of a phase by name, with their weights; none where it has one of its own. */
export function partsOf(loss: Loss): [name: LossName, weight: number][] {
  if (typeof loss === 'string') return [[loss, 1]]
  return isOwn(loss) ? [] : (Object.entries(loss as LossWeights) as [LossName, number][])
}

export const includes = (loss: Loss, ...names: readonly LossName[]): boolean =>
  partsOf(loss).some(([name]) => names.includes(name))

/** Whether it sees documents of other queries, so that embeddings travel between ranks. */
export const gathers = (loss: Loss): boolean => isOwn(loss) || includes(loss, 'contrastive')

/** For messages. */
export const nameOf = (loss: Loss): string =>
  isOwn(loss)
    ? 'a loss of your own'
    : partsOf(loss)
        .map(([name]) => name)
        .join(' + ')
