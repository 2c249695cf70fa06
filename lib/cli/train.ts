import { homed } from '../environment.js'
import { faultsError } from '../train/check/faults.js'
import { plainConfig } from '../train/config/config.js'
import { readConfig } from '../train/config/config-file.js'
import type { ResolvedRun } from '../train/config/types.js'
import { checkRun } from '../train/loop/check-run.js'
import { showProgress } from '../train/loop/progress.js'
import { train as startRun, type TrainOptions } from '../train/loop/run.js'
import { interruptible, joinRanks, outliveReaders, print } from './common.js'
import { evaluatorOf } from './evaluator.js'

interface Options extends Accepted {
  resume?: boolean
  printConfig?: boolean
  json?: boolean
  quiet?: boolean
}

/** Changes of the recipe that the command line lets pass. */
export interface Accepted {
  acceptRecipeChange?: readonly string[]
}

/** The run that `[config.yaml] [key=value …]` describes. */
export function readArguments(args: readonly string[], { acceptRecipeChange }: Accepted): Promise<ResolvedRun> {
  const [first, ...rest] = args
  const file = first !== undefined && !/^[\w.]+=/.test(first) ? first : undefined
  const accepted = acceptRecipeChange ? [`acceptRecipeChange=${JSON.stringify(acceptRecipeChange)}`] : []
  return readConfig(file && homed(file), [...(file === undefined ? args : rest), ...accepted])
}

/** `lateforge train [config.yaml] [key=value …]` */
export async function train(args: readonly string[], options: Options): Promise<void> {
  const config = await readArguments(args, options)
  if (options.printConfig) {
    const { stringify } = await import('yaml')
    print(options.json ? JSON.stringify(plainConfig(config)) : stringify(plainConfig(config)))
  } else await follow(config, options.resume ? 'auto' : undefined, options)
}

/** Runs a training to its end, with events or the result on standard output. */
export async function follow(config: ResolvedRun, resume: TrainOptions['resume'], options: Options): Promise<void> {
  outliveReaders()
  const group = joinRanks()
  const isRank0 = !group || group.rank === 0 // who speaks for all
  const { evaluate, faults } = await evaluatorOf(config, isRank0 && !options.quiet)
  if (faults.length > 0) throw faultsError([...(await checkRun(config)).faults, ...faults])
  const run = startRun(config, {
    resume,
    signal: interruptible('finishing the step and saving'),
    evaluate,
    ...(group && { group }),
  })
  const shown = options.quiet || !isRank0 ? undefined : showProgress(run)
  const printed = options.json && isRank0 ? printEvents(run) : undefined
  const settled = await Promise.allSettled([run.result, shown, printed])
  if (settled[0].status === 'rejected') throw settled[0].reason
  const { phases, best, out, model } = settled[0].value
  model.dispose()
  if (options.json || !isRank0) return
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
