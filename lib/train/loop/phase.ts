import type { TrainBatch } from '../../data/collate.js'
import { ROWS_VERSION } from '../../data/sources.js'
import { onRank0, requireSame } from '../../distributed/control.js'
import type { ProcessGroup } from '../../distributed/group.js'
import { AbortedError, CheckpointError, ConfigError, DivergedError } from '../../errors.js'
import type { Colbert } from '../../models/colbert.js'
import type { EvaluationDetails, EvaluationRecord } from '../../models/options.js'
import { Parameters } from '../../nn/parameters.js'
import { type OnProgress, type Progress, seldom } from '../../progress.js'
import { Tensor } from '../../tensor/tensor.js'
import { readOptimizer } from '../checkpoint/state.js'
import { horizonOf } from '../config/horizon.js'
import { gathers } from '../config/losses.js'
import { recipeOf } from '../config/recipe.js'
import type { BestEvaluation, Evaluate, LossName, PhaseResult, ResolvedPhase, ResolvedRun } from '../config/types.js'
import type { CheckpointEvent, EventHub } from '../events.js'
import { gradCacheAsync } from '../gradcache.js'
import { askGuide } from '../guide.js'
import { gradientScaleOf, lossOf } from '../loss.js'
import { AdamW } from '../optim/adamw.js'
import { schedule } from '../optim/schedule.js'
import { PhaseRows, type StepRows } from './rows.js'
import { attended, readNumbers, type StepNumbers } from './step-numbers.js'

/** What a checkpoint remembers of a phase, beside weights and moments. */
export interface PhaseProgress {
  step: number
  steps: number
  globalStep: number
  /** Of the data: the rows of a step are a function of it, the seed and the step. */
  data: string
  /** How rows were read; absent in checkpoints of before that was counted. */
  rowsVersion?: number
  /** Of the phase until here; absent in checkpoints of before a loss could depend on it. */
  ranks?: number
  /** Of its guide: Σ of its squared weights. */
  guide?: number
  loss: number
  best: BestEvaluation | null
  /** Evaluations in a row without a new best. */
  withoutBest: number
  /** The evaluation of this step was due and has not been made. */
  evaluationDue: boolean
  /** Those that were made; absent in checkpoints of before they were kept. */
  evaluations?: EvaluationRecord[]
}

/** What a phase needs of its run. */
export interface PhaseHost {
  model: Colbert
  config: ResolvedRun
  activationMemory: number
  emit: EventHub['emit']
  evaluate?: Evaluate
  signal?: AbortSignal
  group: ProcessGroup
  /** The run's last checkpoint. */
  last(): string | null
  /** Where the checkpoint of a step is, or will be. */
  pathOf(globalStep: number): string
  /** Keeps what an evaluation found query by query. */
  keep(globalStep: number, details: EvaluationDetails): Promise<void>
  /** Takes down how the phase stands, for the model's card. */
  record(progress: PhaseProgress): void
  /** Writes a checkpoint of the run with this phase in it; returns its path. */
  save(state: {
    opt: AdamW
    parameters: Record<string, Parameters>
    progress: PhaseProgress
    reason: CheckpointEvent['reason']
  }): Promise<void>
}

/** Where a phase goes on: after a checkpoint taken within it. */
export interface PhaseResume {
  folder: string
  optimizerSteps: number
  progress: PhaseProgress
}

/** Runs a phase from its start, or from a checkpoint of it, to its end. */
export async function runPhase(
  host: PhaseHost,
  index: number,
  firstStep: number,
  from: PhaseResume | null,
): Promise<PhaseResult> {
  const { model, config, group } = host
  const phase = config.phases[index]!
  const changes = recipeOf(phase)
  const acceptRecipeChange = config.acceptRecipeChange.filter((field) => field in changes)
  model.setRecipe(changes, { acceptRecipeChange })
  const rows = await PhaseRows.open(host, phase, config.seed + index)
  try {
    const { fingerprint: data, guide } = rows
    const same = { phase: phase.name, recipe: model.recipe, data, guide: guide?.weights ?? null }
    await requireSame(group, same)
    return await new PhaseRunner(host, index, phase, rows, firstStep, from).run()
  } finally {
    rows.close()
  }
}

export function phaseResult(phase: ResolvedPhase, progress: PhaseProgress, checkpoint: string): PhaseResult {
  const { step, globalStep, loss, best } = progress
  return { name: phase.name, steps: step, globalStep, loss, best, checkpoint }
}

/** A step that was issued: its loss and squared norm arrive once the device has got there. */
interface PendingStep {
  step: number
  batch: TrainBatch
  learningRate: number
  waitMs: number
  numbers: Promise<StepNumbers>
  /** Its event is out; a failure is met in `numbers`. */
  told: Promise<void>
}

/** A step that takes longer says where it is. */
export const longStepMs = 2000

class PhaseRunner {
  private readonly host: PhaseHost
  private readonly phase: ResolvedPhase
  private readonly index: number
  private readonly rows: PhaseRows
  private readonly from: PhaseResume | null
  /** Steps of the run before it. */
  private readonly firstStep: number
  private readonly progress: PhaseProgress
  private readonly horizon: ReturnType<typeof horizonOf>
  private readonly opt: AdamW
  private readonly temperature: Parameters | null
  private pending: PendingStep | null = null
  /** A step that all ranks have done says that one of them is to stop. */
  private stopping = false
  /** Numbers of a step were not finite: those of later ones are worth nothing. */
  private diverged = false
  /** When the last step was through, for rates. */
  private clock = performance.now()
  private secondsPerStep = 0

  constructor(
    host: PhaseHost,
    index: number,
    phase: ResolvedPhase,
    rows: PhaseRows,
    firstStep: number,
    from: PhaseResume | null,
  ) {
    this.host = host
    this.index = index
    this.phase = phase
    this.rows = rows
    this.from = from
    const steps = phase.steps ?? Math.max(1, Math.floor(phase.epochs! * rows.stepsPerEpoch))
    if (from && (from.progress.data !== rows.fingerprint || from.progress.steps !== steps))
      throw new CheckpointError(
        'ERR_CHECKPOINT',
        from.progress.rowsVersion === ROWS_VERSION
          ? `phase "${phase.name}": the data is not what it was at ${from.folder}; the steps that follow would read other ` +
              'rows. Restore it, or start a new run from the model in that checkpoint'
          : `phase "${phase.name}": ${from.folder} was made by a lateforge that read rows and recipes otherwise (version ` +
              `${from.progress.rowsVersion ?? 0} of that; this one has ${ROWS_VERSION}), so it cannot go on within the phase. ` +
              `Start a new run from its model: model: ${from.folder}/model`,
        { phase: phase.name, expected: from.progress.data, found: rows.fingerprint },
      )
    const { guide } = rows
    const guided = from?.progress.guide
    if (guide && guided !== undefined && !(Math.abs(guide.weights - guided) <= 1e-6 * guided))
      throw new CheckpointError(
        'ERR_CHECKPOINT',
        `phase "${phase.name}": the guide is another model than at ${from!.folder}, by its weights. Restore it, or start a ` +
          'new run from the model in that checkpoint',
        { phase: phase.name, expected: guided, found: guide.weights },
      )
    this.horizon = horizonOf(phase, steps)
    const ranks = host.group.size
    if (from && phase.gather === 'none' && from.progress.ranks !== ranks)
      host.emit({
        type: 'warning',
        code: 'ranks',
        message:
          `phase "${phase.name}" has gather: none, and goes on on ${ranks} ranks after ${from.progress.ranks}: its queries ` +
          'see the documents of as many other queries as a rank has, which is another number now',
        details: { phase: phase.name, ranks, before: from.progress.ranks },
      })
    this.progress = from
      ? { ...from.progress, ranks }
      : {
          step: 0,
          steps,
          globalStep: firstStep,
          data: rows.fingerprint,
          rowsVersion: ROWS_VERSION,
          ranks,
          ...(guide && { guide: guide.weights }),
          loss: Number.NaN,
          best: null,
          withoutBest: 0,
          evaluationDue: false,
        }
    const { learningRate, weightDecay, freeze } = phase
    const frozen = freeze.map((source) => ({ match: new RegExp(source), frozen: true, learningRate: 0 }))
    this.firstStep = this.progress.globalStep - this.progress.step
    this.temperature = phase.learnableTemperature ? temperatureOf(host.model, phase.temperature) : null
    const groups = host.model.parameterGroups([...frozen, { learningRate, weightDecay }])
    this.opt = new AdamW(this.temperature ? [...groups, { parameters: this.temperature, learningRate }] : groups, {
      maxGradNorm: phase.maxGradNorm,
    })
  }

  private get parameters(): Record<string, Parameters> {
    return this.temperature ? { temperature: this.temperature } : {}
  }

  private get position(): { phase: string; step: number; globalStep: number } {
    const { step, globalStep } = this.progress
    return { phase: this.phase.name, step, globalStep }
  }

  async run(): Promise<PhaseResult> {
    const { host, phase, rows, progress, from } = this
    const { steps } = progress
    try {
      host.model.parameters.zeroGradients()
      if (from) await readOptimizer(from.folder, from.optimizerSteps, this.opt, this.parameters)
      host.emit({
        ...this.position,
        type: 'phase',
        at: 'begin',
        index: this.index,
        steps,
        rows: rows.rows,
        batch: phase.batch,
        queryLength: host.model.recipe.queryLength,
        documentLength: host.model.recipe.documentLength,
        recipe: host.model.recipe,
      })
      this.clock = performance.now()
      let next = this.fetch(progress.step)
      let reason: 'steps' | 'early-stop' = 'steps'
      for (;;) {
        if (host.group.size === 1 ? host.signal?.aborted : this.stopping) await this.abort()
        if (progress.evaluationDue && (await this.evaluate())) {
          reason = 'early-stop'
          break
        }
        if (progress.step === steps) break
        const waited = performance.now()
        const fetched = await next
        const waitMs = performance.now() - waited
        next = this.fetch(progress.step + 1)
        const issued = await this.issue(fetched, waitMs)
        await this.awaitStep() // the step before; this one goes on meanwhile
        this.pending = issued
        progress.step++
        progress.globalStep++
        const { every } = phase.checkpoint
        const last = progress.step === steps
        progress.evaluationDue = !!phase.evaluate && (last || progress.step % phase.evaluate.every === 0)
        if (progress.evaluationDue || last || progress.step % every === 0) await this.awaitStep()
        if (progress.step % every === 0 && !last && !progress.evaluationDue) await this.save('periodic')
      }
      const checkpoint = await this.save('phase')
      host.emit({ ...this.position, type: 'phase', at: 'end', index: this.index, steps, reason })
      return phaseResult(phase, progress, checkpoint)
    } finally {
      await this.pending?.numbers.catch(() => {})
      this.opt.dispose()
      this.temperature?.dispose()
    }
  }

  /** The batch of a step, ahead of its turn; a failure is met when it is awaited. */
  private fetch(step: number): Promise<StepRows> {
    const { rank, size: ranks } = this.host.group
    const { gather } = this.phase
    const part = { rank, ranks, documents: gather === 'documents', even: gather === 'none' }
    const fetched = step < this.progress.steps ? this.rows.at(step, part) : Promise.reject(new Error('past the end'))
    fetched.catch(() => {})
    return fetched
  }

  /** One step, up to the moment all of it is queued. */
  private async issue({ batch, guided }: StepRows, waitMs: number): Promise<PendingStep> {
    const { host, phase, progress } = this
    const { config, model, group, signal } = host
    const { step, steps } = progress
    group.mark(`phase ${phase.name}, step ${step + 1} of ${steps}`)
    const logScale = this.temperature?.get('logScale')
    const before = logScale?.value()
    before?.catch(() => {}) // met in `readNumbers`, unless the step fails before
    const losses: Promise<[LossName, number]>[] = []
    const onPart = (name: LossName, part: Tensor) => {
      const value = part.value().then((value): [LossName, number] => [name, value])
      value.catch(() => {}) // as `before`
      losses.push(value)
    }
    const { microBatchTokens, commDtype } = config
    const spread = {
      ...{ microBatchTokens, group, commDtype },
      gather: gathers(phase.loss) ? phase.gather : 'none',
      onProgress: this.within(step + 1),
    } as const
    const asked = guided && (await askGuide(this.rows.guide!.model, phase.guide!, guided, spread))
    const loss = await gradCacheAsync(model, batch, lossOf(phase, logScale, asked?.guide, onPart), {
      ...spread,
      seed: config.seed,
      step: progress.globalStep,
      activationMemory: host.activationMemory,
      gradientScale: gradientScaleOf(phase, group.size),
    }).finally(() => asked?.free())
    if (this.temperature) group.allReduceSum(this.temperature.gradients).wait()
    // What a rank knows of the step and the others do not.
    const counts = Tensor.from(model.device, [attended(batch), signal?.aborted ? 1 : 0])
    group.allReduceSum(counts).wait()
    const { horizon, warmupSteps } = this.horizon
    const scale = schedule(phase.schedule, step, horizon, warmupSteps)
    const squared = this.opt.step({ scale })
    const fixed = phase.loss === 'margin-mse' ? undefined : phase.temperature
    const numbers = readNumbers(loss, squared, counts, before, fixed, losses)
    numbers.catch(() => {}) // met in `awaitStep`
    const issued = { step: step + 1, batch, learningRate: phase.learningRate * scale, waitMs, numbers }
    // The next step may take minutes until all of it is queued; this one is told before.
    const told = numbers.then(
      (found) => this.tell(issued, found),
      () => {},
    )
    told.catch(() => {}) // as `numbers`
    return { ...issued, told }
  }

  /** Tells where a step is, once it takes long. */
  private within(step: number): OnProgress {
    const { host, phase } = this
    const { steps } = this.progress
    const started = performance.now()
    const emit = (progress: Progress) =>
      host.emit({ type: 'progress', phase: phase.name, step, ...progress, name: `step ${step}/${steps}` })
    const often = seldom(emit)
    const tell = (progress: Progress) => often(() => progress)
    let part: string | undefined
    return (progress) => {
      if (performance.now() - started < longStepMs) return
      // Another part is told at once: it may be long until there is more to tell of it.
      if (progress.part !== part) emit(progress)
      else tell(progress)
      part = progress.part
    }
  }

  /** Waits for the step that was issued last, and until it is told. */
  private async awaitStep(): Promise<void> {
    const { pending, phase } = this
    if (!pending) return
    this.pending = null
    const { loss, norm, stopping } = await pending.numbers
    this.stopping ||= stopping > 0
    const globalStep = this.firstStep + pending.step
    if (!Number.isFinite(loss) || !Number.isFinite(norm))
      throw new DivergedError(
        'ERR_DIVERGED',
        `phase "${phase.name}", step ${pending.step}: the loss is ${loss}, the gradient norm ${norm}. The weights were ` +
          'not touched by that step. Try a lower learningRate, a warmup, or a higher temperature',
        { phase: phase.name, step: pending.step, globalStep, loss, norm },
      )
    await pending.told
  }

  /** What came of a step, as soon as it is known: those of steps one after the other come one after the other. */
  private tell(
    { step, learningRate, waitMs, batch }: Omit<PendingStep, 'told'>,
    { loss, losses, norm, tokens, finished, temperature }: StepNumbers,
  ): void {
    const { phase, progress, host } = this
    this.diverged ||= !Number.isFinite(loss) || !Number.isFinite(norm)
    if (this.diverged) return
    progress.loss = loss
    const seconds = (finished - this.clock) / 1000
    this.clock = finished
    this.secondsPerStep = this.secondsPerStep ? 0.9 * this.secondsPerStep + 0.1 * seconds : seconds
    host.emit({
      type: 'step',
      phase: phase.name,
      step,
      globalStep: this.firstStep + step,
      steps: progress.steps,
      loss,
      ...(losses && { losses }),
      learningRate,
      gradientNorm: norm,
      ...(temperature !== undefined && { temperature }),
      tokens,
      tokensPerSecond: tokens / seconds,
      dataWaitMs: waitMs,
      memory: host.model.device.memory().peak,
      etaSeconds: this.secondsPerStep * (progress.steps - step),
      source: batch.source,
    })
  }

  /** Evaluates and keeps what is best. @returns whether patience is over */
  private async evaluate(): Promise<boolean> {
    const { host, phase, progress } = this
    const settings = phase.evaluate!
    const started = performance.now()
    let metrics: Record<string, number>
    let details: EvaluationDetails | undefined
    const keep = (found: EvaluationDetails): void => {
      details = found
    }
    try {
      const { group } = host
      const signal = group.size === 1 ? host.signal : undefined
      const { phase: name, step } = this.position
      const onProgress: OnProgress = (progress) => host.emit({ type: 'progress', phase: name, step, ...progress })
      const own = await host.evaluate!(host.model, { ...this.position, settings, signal, group, keep, onProgress })
      metrics = await onRank0(group, async () => own)
    } catch (error) {
      if (host.group.size === 1 && host.signal?.aborted) await this.abort()
      throw error
    }
    const { metric, mode, patience } = settings
    const value = metrics[metric]
    if (typeof value !== 'number' || Number.isNaN(value))
      throw new ConfigError(
        'ERR_CONFIG',
        `phase "${phase.name}": the evaluation gave no number "${metric}", only ${Object.keys(metrics).join(', ')}`,
        { phase: phase.name, metric, metrics },
      )
    const better = !progress.best || (mode === 'max' ? value > progress.best.value : value < progress.best.value)
    progress.evaluationDue = false
    progress.withoutBest = better ? 0 : progress.withoutBest + 1
    progress.evaluations = [...(progress.evaluations ?? []), { step: progress.step, metrics, metric, best: better }]
    const seconds = (performance.now() - started) / 1000
    const interval = details?.metric === metric ? details.interval : undefined
    host.emit({
      ...this.position,
      type: 'eval',
      metrics,
      metric,
      value,
      ...(interval && { interval }),
      best: better,
      seconds,
    })
    if (details) await host.keep(progress.globalStep, details)
    if (better) progress.best = { ...this.position, metric, value, checkpoint: host.pathOf(progress.globalStep) }
    const stop = patience !== undefined && progress.withoutBest >= patience
    const last = stop || progress.step === progress.steps // saved as the end of the phase
    if (better && !last) await this.save('best')
    else if (!last && progress.step % phase.checkpoint.every === 0) await this.save('periodic')
    this.clock = performance.now()
    return stop
  }

  /** A step has one checkpoint at most: an evaluation that was made up for after a resume finds it there. */
  private async save(reason: CheckpointEvent['reason']): Promise<string> {
    await this.awaitStep()
    const { host, opt, parameters, progress } = this
    const path = host.pathOf(progress.globalStep)
    host.record(progress)
    if (host.last() !== path) await host.save({ opt, parameters, progress: { ...progress }, reason })
    host.emit({ ...this.position, type: 'checkpoint', path, reason })
    this.clock = performance.now()
    return path
  }

  /** Saves and throws. */
  private async abort(): Promise<never> {
    const { signal } = this.host
    const checkpoint = this.progress.step > 0 ? await this.save('abort') : this.host.last()
    await this.host.group.exchange(new Uint8Array()) // mpirun ends the others as soon as one has left
    throw new AbortedError(
      'ERR_ABORTED',
      `aborted at step ${this.progress.step} of phase "${this.phase.name}"` +
        (checkpoint ? `; ${checkpoint} goes on from there` : ', before the first checkpoint'),
      { ...this.position, checkpoint },
      { cause: signal?.reason },
    )
  }
}

function temperatureOf(model: Colbert, temperature: number): Parameters {
  const parameters = new Parameters(model.device, [{ name: 'logScale', shape: [1] }])
  parameters.owner.name = 'a learned temperature'
  const value = [Math.log(1 / temperature)]
  parameters.write(value)
  return parameters
}
