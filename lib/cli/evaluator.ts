import type { Collection } from '../eval/collections.js'
import type { CollectionEvaluator, Evaluated } from '../eval/model.js'
import { type Fault, Faults } from '../train/check/faults.js'
import type { Evaluate, ResolvedRun } from '../train/config/types.js'
import { foundAt, opened } from './collections.js'

/**
 * Evaluates on the collections that phases name; each is read once, now, and what of it is not used is said then.
 * Undefined where no phase evaluates.
 */
export async function evaluatorOf(
  config: ResolvedRun,
  aloud: boolean,
): Promise<{ evaluate: Evaluate | undefined; faults: Fault[]; collections: Collection[] }> {
  const faults = new Faults(config)
  if (!config.phases.some((phase) => phase.evaluate)) return { evaluate: undefined, faults: [], collections: [] }
  const { collectionEvaluator } = await import('../eval/model.js')
  const { depthOf, parseMetric } = await import('../retrieval/metrics.js')
  const evaluators = new Map<string, CollectionEvaluator>()
  const collections: Collection[] = []
  const { cacheDir, microBatchTokens } = config
  const keyOf = (settings: NonNullable<ResolvedRun['phases'][number]['evaluate']>): string =>
    JSON.stringify([settings.data, settings.split, settings.metric])
  for (const [i, { evaluate }] of config.phases.entries()) {
    if (!evaluate) continue
    const { data, metric, split } = evaluate
    const parsed = await faults.try(i, 'evaluate.metric', () => parseMetric(metric))
    if (data === undefined)
      faults.add(i, 'evaluate.data', 'ERR_CONFIG', 'is missing; expected BEIR folders, or names as nanobeir')
    if (!parsed || data === undefined || evaluators.has(keyOf(evaluate))) continue
    const key = (error: { details: Readonly<Record<string, unknown>> }): string =>
      error.details.option === 'split' ? 'evaluate.split' : 'evaluate.data'
    const found = await faults.try(i, key, () => foundAt([data].flat(), { split, folderSplit: 'dev', cacheDir, aloud }))
    if (!found) continue
    const evaluated: Evaluated[] = []
    for (const one of found) {
      const collection = await faults.try(i, 'evaluate.data', () => opened(one, { aloud }))
      const { folder, set } = one
      if (collection) evaluated.push({ collection, folder, ...(set !== undefined && { set }) })
    }
    collections.push(...evaluated.map(({ collection }) => collection))
    const metrics = [...new Set([metric, 'ndcg@10', 'mrr@10', 'recall@100'])] as 'ndcg@10'[]
    evaluators.set(
      keyOf(evaluate),
      collectionEvaluator(evaluated, metrics, { topK: depthOf(metrics), microBatchTokens }),
    )
  }
  return {
    evaluate: (model, context) => evaluators.get(keyOf(context.settings))!(model, context),
    faults: faults.list,
    collections,
  }
}
