import { homed } from '../environment.js'
import { plainConfig } from '../train/config.js'
import { readConfig } from '../train/config-file.js'
import { showProgress } from '../train/progress.js'
import { train as startRun, type TrainOptions } from '../train/run.js'
import type { Evaluate, ResolvedRun } from '../train/types.js'
import { colour, interruptible, joinRanks, outliveReaders, print } from './common.js'

interface Options {
  resume?: boolean
  printConfig?: boolean
  json?: boolean
  quiet?: boolean
}

/** `lateforge train [config.yaml] [key=value …]` */
export async function train(args: readonly string[], options: Options): Promise<void> {
  const [first, ...rest] = args
  const file = first !== undefined && !/^[\w.]+=/.test(first) ? first : undefined
  const config = await readConfig(file && homed(file), file === undefined ? args : rest)
  if (options.printConfig) {
    const { stringify } = await import('yaml')
    print(options.json ? JSON.stringify(plainConfig(config)) : stringify(plainConfig(config)))
  } else await follow(config, options.resume ? 'auto' : undefined, options)
}

/** Runs a training to its end, with events or the result on standard output. */
export async function follow(config: ResolvedRun, resume: TrainOptions['resume'], options: Options): Promise<void> {
  outliveReaders()
  const group = joinRanks()
  const chief = !group || group.rank === 0 // who speaks for all
  const evaluate = await evaluator(config, chief && !options.quiet)
  const run = startRun(config, { resume, signal: interruptible(), evaluate, ...(group && { group }) })
  const shown = options.quiet || !chief ? undefined : showProgress(run)
  const printed = options.json && chief ? printEvents(run) : undefined
  const settled = await Promise.allSettled([run.result, shown, printed])
  if (settled[0].status === 'rejected') throw settled[0].reason
  const { phases, best, out, model } = settled[0].value
  model.dispose()
  if (options.json || !chief) return
  for (const phase of phases)
    print(
      `${phase.name}  ${phase.steps} steps  loss ${phase.loss.toPrecision(4)}` +
        (phase.best ? `  best ${phase.best.metric} ${phase.best.value.toFixed(4)} at step ${phase.best.step}` : ''),
    )
  if (best) print(`best  ${best.checkpoint}`)
  print(`model  ${out}/model`)
}

async function printEvents(run: AsyncIterable<unknown>): Promise<void> {
  try {
    for await (const event of run) process.stdout.write(`${JSON.stringify(event)}\n`)
  } catch {
    // reported from the result
  }
}

/** Evaluates on the BEIR folder that a phase names; each is read once, and what of it is not used is said then. */
async function evaluator(config: ResolvedRun, aloud: boolean): Promise<Evaluate | undefined> {
  const named = config.phases.filter((phase) => phase.evaluate)
  if (named.length === 0) return undefined
  const { beirEvaluator } = await import('../eval/model.js')
  const { collectionNotes, loadBeir } = await import('../eval/collections.js')
  const { parseMetric } = await import('../eval/metrics.js')
  const { configError } = await import('../train/config.js')
  const evaluators = new Map<string, Awaited<ReturnType<typeof beirEvaluator>>>()
  const keyOf = (settings: NonNullable<ResolvedRun['phases'][number]['evaluate']>): string =>
    JSON.stringify([settings.data, settings.split, settings.metric])
  for (const [i, { evaluate }] of config.phases.entries()) {
    if (!evaluate) continue
    if (evaluate.data === undefined)
      throw configError([{ path: `phases[${i}].evaluate.data`, message: 'is missing; expected a BEIR folder' }])
    parseMetric(evaluate.metric)
    const metrics = [...new Set([evaluate.metric, 'ndcg@10', 'mrr@10', 'recall@100'])] as 'ndcg@10'[]
    if (evaluators.has(keyOf(evaluate))) continue
    const collection = await loadBeir(evaluate.data, { split: evaluate.split ?? 'dev' })
    for (const note of aloud ? collectionNotes(collection.counts) : [])
      process.stderr.write(`${colour('dim', `${evaluate.data}: ${note}`)}\n`)
    const options = { metrics, chunkTokens: config.chunkTokens }
    evaluators.set(keyOf(evaluate), await beirEvaluator(collection, options))
  }
  return (model, context) => evaluators.get(keyOf(context.settings))!(model, context)
}
