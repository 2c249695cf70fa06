import { type Fault, Faults } from '../train/check/faults.js'
import type { Evaluate, ResolvedRun } from '../train/config/types.js'
import { colour } from './common.js'

/**
 * Evaluates on the BEIR folders that phases name; each is read once, now, and what of it is not used is said then.
 * Undefined where no phase evaluates.
 */
export async function evaluatorOf(
  config: ResolvedRun,
  aloud: boolean,
): Promise<{ evaluate: Evaluate | undefined; faults: Fault[] }> {
  const faults = new Faults(config)
  if (!config.phases.some((phase) => phase.evaluate)) return { evaluate: undefined, faults: [] }
  const { beirEvaluator } = await import('../eval/model.js')
  const { collectionNotes, loadBeir } = await import('../eval/collections.js')
  const { parseMetric } = await import('../eval/metrics.js')
  const evaluators = new Map<string, Awaited<ReturnType<typeof beirEvaluator>>>()
  const keyOf = (settings: NonNullable<ResolvedRun['phases'][number]['evaluate']>): string =>
    JSON.stringify([settings.data, settings.split, settings.metric])
  for (const [i, { evaluate }] of config.phases.entries()) {
    if (!evaluate) continue
    const { data, metric, split = 'dev' } = evaluate
    const parsed = await faults.try(i, 'evaluate.metric', () => parseMetric(metric))
    if (data === undefined) faults.add(i, 'evaluate.data', 'ERR_CONFIG', 'is missing; expected a BEIR folder')
    if (!parsed || data === undefined || evaluators.has(keyOf(evaluate))) continue
    const metrics = [...new Set([metric, 'ndcg@10', 'mrr@10', 'recall@100'])] as 'ndcg@10'[]
    const collection = await faults.try(i, 'evaluate.data', () => loadBeir(data, { split }))
    if (!collection) continue
    for (const note of aloud ? collectionNotes(collection.counts) : [])
      process.stderr.write(`${colour('dim', `${data}: ${note}`)}\n`)
    evaluators.set(
      keyOf(evaluate),
      await beirEvaluator(collection, { metrics, microBatchTokens: config.microBatchTokens }),
    )
  }
  return {
    evaluate: (model, context) => evaluators.get(keyOf(context.settings))!(model, context),
    faults: faults.list,
  }
}
