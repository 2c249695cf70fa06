import type { CollectionEvaluator } from '../eval/model.js'
import { type Fault, Faults } from '../train/check/faults.js'
import type { Evaluate, ResolvedRun } from '../train/config/types.js'
import { colour } from './common.js'
import { showingTransfer } from './transfer.js'

/** Means over collections, and of each the metric that decides. */
function meanOf(parts: ReadonlyMap<string, CollectionEvaluator>, metric: string): CollectionEvaluator {
  return async (model, context) => {
    const found = new Map<string, Record<string, number>>()
    for (const [name, evaluate] of parts) found.set(name, await evaluate(model, context))
    const all = [...found.values()]
    const mean = (key: string): number => all.reduce((sum, metrics) => sum + metrics[key]!, 0) / all.length
    return {
      ...Object.fromEntries(Object.keys(all[0]!).map((key) => [key, mean(key)])),
      ...Object.fromEntries([...found].map(([name, metrics]) => [`${name} ${metric}`, metrics[metric]!])),
    }
  }
}

/**
 * Evaluates on the BEIR folders that phases name, or NanoBEIR; each is read once, now, and what of it is not used is said then.
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
  const { nanoBeirOf, nanoBeirFolder } = await import('../eval/nanobeir.js')
  const { parseMetric } = await import('../eval/metrics.js')
  const evaluators = new Map<string, CollectionEvaluator>()
  const { cacheDir, microBatchTokens } = config
  const keyOf = (settings: NonNullable<ResolvedRun['phases'][number]['evaluate']>): string =>
    JSON.stringify([settings.data, settings.split, settings.metric])
  for (const [i, { evaluate }] of config.phases.entries()) {
    if (!evaluate) continue
    const { data, metric } = evaluate
    const parsed = await faults.try(i, 'evaluate.metric', () => parseMetric(metric))
    if (data === undefined)
      faults.add(i, 'evaluate.data', 'ERR_CONFIG', 'is missing; expected a BEIR folder, or nanobeir')
    if (!parsed || data === undefined || evaluators.has(keyOf(evaluate))) continue
    const metrics = [...new Set([metric, 'ndcg@10', 'mrr@10', 'recall@100'])] as 'ndcg@10'[]
    const names = nanoBeirOf(data)
    if (names && evaluate.split !== undefined)
      faults.add(i, 'evaluate.split', 'ERR_CONFIG', `has no effect on ${data}, which has one split; leave it out`)
    const split = names ? 'test' : (evaluate.split ?? 'dev')
    const parts = new Map<string, CollectionEvaluator>()
    for (const name of names ?? [data]) {
      const collection = await faults.try(i, 'evaluate.data', async () =>
        loadBeir(names ? await showingTransfer((onProgress) => nanoBeirFolder(name, { cacheDir, onProgress })) : name, {
          split,
        }),
      )
      if (!collection) break
      for (const note of aloud ? collectionNotes(collection.counts) : [])
        process.stderr.write(`${colour('dim', `${name}: ${note}`)}\n`)
      parts.set(name, await beirEvaluator(collection, { metrics, microBatchTokens }))
    }
    evaluators.set(keyOf(evaluate), parts.size === 1 ? [...parts.values()][0]! : meanOf(parts, metric))
  }
  return {
    evaluate: (model, context) => evaluators.get(keyOf(context.settings))!(model, context),
    faults: faults.list,
  }
}
