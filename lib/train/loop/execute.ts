import { mkdir, rename, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { barrier, onRank0, requireSame } from '../../distributed/control.js'
import { differences } from '../../distributed/differences.js'
import { type ProcessGroup, singleProcess } from '../../distributed/group.js'
import { startHeartbeat } from '../../distributed/heartbeat.js'
import { AbortedError, CheckpointError, ConfigError, FileError } from '../../errors.js'
import type { Colbert } from '../../models/colbert.js'
import type { PhaseRecord, SourceRecord } from '../../models/options.js'
import { packageVersion } from '../../packages.js'
import { Device } from '../../tensor/device.js'
import { sumSquares } from '../../tensor/ops.gen.js'
import { checkPhases, openModel } from '../check/check.js'
import { Faults } from '../check/faults.js'
import { activationMemoryOf } from '../check/memory.js'
import { recipeNote } from '../check/notes.js'
import {
  clearUnfinished,
  latestCheckpoint,
  listCheckpoints,
  removeCheckpoint,
  verifyCheckpoint,
} from '../checkpoint/checkpoint.js'
import { lockFolder } from '../checkpoint/lock.js'
import { readStateFile, readWeights, saveState } from '../checkpoint/state.js'
import { decisive, fingerprint, resolveConfig } from '../config/config.js'
import type { BestEvaluation, PhaseResult, ResolvedPhase, ResolvedRun, RunConfig, RunResult } from '../config/types.js'
import type { EventHub, ProgressEvent, TrainEvent, WarningEvent } from '../events.js'
import { describeRun, keepEvaluation } from './describe.js'
import { EventLog } from './log.js'
import { type PhaseHost, type PhaseProgress, phaseResult, runPhase } from './phase.js'
import { phaseRecord, sourceRecord, trainingRecord } from './record.js'
import type { TrainOptions } from './run.js'
import { TensorBoardLog } from './tensorboard.js'

/** What `state.json` of a run's checkpoint holds beside the steps. */
interface RunState {
  /** The decisive part of the config, and its hash. */
  config: unknown
  fingerprint: string
  versions: { lateforge: string; node: string }
  activationMemory: number
  /** Index of the phase it was taken in, and how far that was. */
  phase: number
  progress: PhaseProgress
  /** Phases that are through; with this one, if it was its last checkpoint. */
  completed: PhaseResult[]
  /** Of these phases and of this one, for the model's card; absent in checkpoints of before there was one. */
  records?: PhaseRecord[]
  /** Size of the log. */
  logBytes: number
}

interface ResumePoint {
  folder: string
  optimizerSteps: number
  state: RunState
}

/** All phases of a run, in the folder `out`: what `train` starts. */
export async function execute(
  input: RunConfig | ResolvedRun,
  options: TrainOptions,
  hub: EventHub,
): Promise<RunResult> {
  const config = resolveConfig(input)
  checkEvaluation(config, options)
  const { group = singleProcess } = options
  const out = resolve(config.out)
  const heartbeat = await startHeartbeat(group, { records: join(out, 'faults') })
  let release = async (): Promise<void> => {}
  try {
    await requireSame(group, {
      version: packageVersion(),
      config: decisive(config),
      out,
      resume: options.resume ?? null,
    })
    // A folder that cannot be written is told with the other faults of the run.
    let unwritable: FileError | undefined
    await onRank0(group, async () => {
      try {
        release = (await lockFolder(out)).release
      } catch (error) {
        if (!(error instanceof FileError)) throw error
        unwritable = error
      }
    })
    const result = await perform(config, group, options, hub, unwritable)
    await release()
    heartbeat.close()
    return result
  } catch (error) {
    await release().catch(() => {}) // what the run failed of is what counts
    heartbeat.close(error)
    throw error
  }
}

async function perform(
  config: ResolvedRun,
  group: ProcessGroup,
  options: TrainOptions,
  hub: EventHub,
  unwritable: FileError | undefined,
): Promise<RunResult> {
  const { out, signal } = { out: resolve(config.out), signal: options.signal }
  const root = join(out, 'checkpoints')
  const { entry, warnings } = await onRank0(group, async () => {
    const warnings: WarningEvent[] = []
    const entry = await resumeEntry(root, options.resume, warnings)
    return { entry, warnings }
  })
  let point: ResumePoint | null = null
  if (entry) {
    const { optimizerSteps, extra } = await readStateFile(entry.path)
    point = { folder: entry.path, optimizerSteps, state: extra as RunState }
    const changes = differences(decisive({ ...config, activationMemory: 0 }), point.state.config)
    if (changes.length > 0)
      throw new CheckpointError(
        'ERR_CHECKPOINT',
        `${entry.path} was trained with another config (now against then):\n  ${changes.join('\n  ')}\nResume with the ` +
          'config it was started with, or start a new run from its model folder',
        { path: entry.path, changes },
      )
  }
  const device = typeof config.model === 'string' ? Device.open(config.device) : config.model.device
  await barrier(group, device)
  let logs: { write(event: TrainEvent): void; close(): void }[] = []
  let log: EventLog | null = null
  const emit: EventHub['emit'] = (event) => {
    if (event.type !== 'progress') for (const each of logs) each.write(event)
    hub.emit(event)
  }
  let model: Colbert | null = null
  let last = point?.folder ?? null
  const started = performance.now()
  try {
    const faults = new Faults(config)
    const note = (message: string) => warnings.push(recipeNote(message))
    const saved = point && join(point.folder, 'model')
    const onProgress = (progress: Omit<ProgressEvent, 'type'>) => emit({ type: 'progress', ...progress })
    const start = { folder: saved ?? undefined, onNote: note, onProgress, signal }
    model = (await faults.try(null, 'model', () => openModel(config, start))) ?? null
    if (model && saved && typeof config.model !== 'string') {
      const given = model
      await readWeights(given, saved, (state) => given.takeRecipe(state))
    }
    const sources: SourceRecord[][] = config.phases.map(() => [])
    const { warnings: found, checked } = await onRank0(group, async () => {
      const { warnings, phases: checked } = await checkPhases(config, model, faults, {
        first: point?.state.completed.length,
        ranks: group.size,
        rows: 200,
        signal,
        onProgress,
        onSurvey: (index, read) => sources[index]!.push(sourceRecord(read, config.card.samples)),
      })
      faults.throwAny()
      if (unwritable) throw unwritable
      return { warnings, checked }
    })
    faults.throwAny()
    const trained = model!
    // Only now is anything written.
    await onRank0(group, async () => {
      if (entry) await setAside(root, entry.step)
      await mkdir(root, { recursive: true })
      await clearUnfinished(root)
      await describeRun(out, config, checked, entry !== null)
    })
    const trouble = (message: string, { code }: NodeJS.ErrnoException) =>
      emit({ type: 'warning', code: 'log', message, details: { out, code } })
    if (group.rank === 0) {
      log = new EventLog(out, point?.state.logBytes ?? 0, trouble)
      logs = [log] // hears what the next one says while it is made
      logs.push(new TensorBoardLog(out, point?.state.progress.globalStep ?? 0, trouble))
    }
    for (const warning of [...warnings, ...found]) emit(warning)
    const completed = (point?.state.completed ?? []).map((phase) => relocated(phase, root))
    const records = (point?.state.records ?? []).slice(0, completed.length)
    const training = () => trainingRecord(config, group.size, records)
    const names = config.phases.map(({ name }) => name)
    const globalStep = point?.state.progress.globalStep ?? 0
    emit({
      type: 'start',
      out,
      seed: config.seed,
      fingerprint: fingerprint(config),
      phases: names,
      resumed: last,
      globalStep,
      ranks: group.size,
      recipe: trained.recipe,
    })
    // Ranks are replicas: what they hold is compared wherever they stop anyway.
    const replicas = async (): Promise<void> => {
      if (group.size === 1) return
      const squared = sumSquares(trained.parameters.values)
      const weights = await squared.value()
      squared.dispose()
      await requireSame(group, { weights })
    }
    await replicas()
    const activationMemory = point?.state.activationMemory ?? activationMemoryOf(config, device)
    const host = (index: number): PhaseHost => ({
      model: trained,
      config,
      activationMemory,
      emit,
      evaluate: options.evaluate,
      signal,
      group,
      last: () => last,
      pathOf: (step) => join(root, `step-${step}`),
      keep: async (step, details) => {
        if (group.rank === 0) await keepEvaluation(out, step, details).catch((error) => trouble(error.message, error))
      },
      record({ step, evaluations = [] }) {
        const others = records.filter(({ name }) => name !== config.phases[index]!.name)
        const own = phaseRecord(config.phases[index]!, trained.recipe, step, evaluations, sources[index]!)
        records.splice(0, records.length, ...others, own)
      },
      async save({ opt, parameters, progress, reason }) {
        const path = join(root, `step-${progress.globalStep}`)
        const ended = reason === 'phase' ? [phaseResult(config.phases[index]!, progress, path)] : []
        const state: RunState = {
          config: decisive({ ...config, activationMemory: 0 }),
          fingerprint: fingerprint(config),
          versions: { lateforge: packageVersion(), node: process.version },
          activationMemory,
          phase: index,
          progress,
          completed: [...completed, ...ended],
          records,
          logBytes: log?.bytes ?? 0,
        }
        await replicas()
        await onRank0(group, async () => {
          const step = progress.globalStep
          await saveState(root, { model: trained, opt, step, parameters, extra: state, training: training() })
          await prune(root, config.phases[index]!, progress, [...completed, ...ended])
        })
        last = path
      },
    })
    for (let index = completed.length; index < config.phases.length; index++) {
      const within = point && point.state.phase === index ? point : null
      const before = completed.at(-1)
      if (!within && config.phases[index]!.start === 'best' && before?.best)
        await readWeights(trained, join(before.best.checkpoint!, 'model'))
      const resume = within && {
        folder: within.folder,
        optimizerSteps: within.optimizerSteps,
        progress: { ...within.state.progress, best: relocatedBest(within.state.progress.best, root) },
      }
      completed.push(await runPhase(host(index), index, before?.globalStep ?? 0, resume))
    }
    if (group.size === 1 && signal?.aborted) throw aborted(signal, last)
    const target = join(out, 'model')
    await onRank0(group, () => trained.save(target, { training: training() }))
    const best = bestOf(config, completed)
    const seconds = (performance.now() - started) / 1000
    emit({ type: 'done', globalStep: completed.at(-1)!.globalStep, phases: completed, best, model: target, seconds })
    return { model: trained, phases: completed, best, out }
  } catch (error) {
    await device.synchronize().catch(() => {}) // the stream is usable again
    if (typeof config.model === 'string') model?.dispose()
    // Reading data and other waits that the signal cuts short know no checkpoint.
    if (signal?.aborted && !(error instanceof AbortedError && 'checkpoint' in error.details))
      throw aborted(signal, last)
    throw error
  } finally {
    const written = logs
    logs = [] // what closing them says goes to those who listen
    for (const each of written) each.close()
  }
}

function aborted(signal: AbortSignal, checkpoint: string | null): AbortedError {
  return new AbortedError(
    'ERR_ABORTED',
    checkpoint ? `aborted; ${checkpoint} goes on from there` : 'aborted before the first checkpoint',
    { checkpoint },
    { cause: signal.reason },
  )
}

function checkEvaluation(config: ResolvedRun, { evaluate }: TrainOptions): void {
  const phase = config.phases.find((phase) => phase.evaluate)
  if (phase && !evaluate)
    throw new ConfigError(
      'ERR_CONFIG',
      `phase "${phase.name}" has \`evaluate\`, but no function that evaluates was given: train(config, { evaluate })`,
      { phase: phase.name },
    )
}

async function resumeEntry(
  root: string,
  resume: TrainOptions['resume'],
  warnings: WarningEvent[],
): Promise<{ path: string; step: number } | null> {
  const found = await listCheckpoints(root)
  if (resume === undefined) {
    if (found.length === 0) return null
    throw new ConfigError(
      'ERR_CONFIG',
      `${root} holds checkpoints of an earlier run. Go on from them with resume: 'auto' (on the command line: --resume), or choose another out`,
      { root },
    )
  }
  if (resume === 'auto')
    return latestCheckpoint(root, (path, error) =>
      warnings.push({
        type: 'warning',
        code: 'damaged-checkpoint',
        message: `${error.message}. Going on from the one before it`,
        details: { path },
      }),
    )
  const entry = resume === 'latest' ? found.at(-1) : found.find(({ path }) => path === resolve(resume))
  if (!entry)
    throw new CheckpointError(
      'ERR_CHECKPOINT',
      resume === 'latest'
        ? `${root} holds no checkpoint`
        : `${resume} is no checkpoint of this run (they are in ${root})`,
      { root, resume },
    )
  await verifyCheckpoint(entry.path)
  return entry
}

/** Newer checkpoints, which the run will write again, must not be taken for its own; nothing is deleted. */
async function setAside(root: string, step: number): Promise<void> {
  for (const { path, step: newer } of await listCheckpoints(root)) {
    if (newer <= step) continue
    await rm(`${path}.aside`, { recursive: true, force: true })
    await rename(path, `${path}.aside`)
  }
}

/** Removes checkpoints that are neither recent, nor best, nor the end of a phase. */
async function prune(
  root: string,
  { checkpoint }: ResolvedPhase,
  { globalStep, best }: PhaseProgress,
  completed: readonly PhaseResult[],
): Promise<void> {
  const keep = new Set([globalStep, ...(best ? [best.globalStep] : [])])
  for (const phase of completed) for (const at of [phase, phase.best]) if (at) keep.add(at.globalStep)
  const others = (await listCheckpoints(root)).filter(({ step }) => !keep.has(step))
  const recent = Math.max(0, checkpoint.keep - 1) // the one just written is recent too
  for (const { path } of others.slice(0, Math.max(0, others.length - recent))) await removeCheckpoint(path)
}

/** A run's folder may have moved since its checkpoints were written. */
function relocated(phase: PhaseResult, root: string): PhaseResult {
  return { ...phase, checkpoint: join(root, `step-${phase.globalStep}`), best: relocatedBest(phase.best, root) }
}

function relocatedBest(best: BestEvaluation | null, root: string): BestEvaluation | null {
  return best && { ...best, checkpoint: join(root, `step-${best.globalStep}`) }
}

function bestOf(config: ResolvedRun, phases: readonly PhaseResult[]): BestEvaluation | null {
  const evaluated = phases.flatMap(({ best }) => best ?? [])
  const metric = evaluated.at(-1)?.metric
  const mode = config.phases.findLast(({ evaluate }) => evaluate?.metric === metric)?.evaluate?.mode
  const sign = mode === 'min' ? -1 : 1
  return evaluated
    .filter((best) => best.metric === metric)
    .reduce<BestEvaluation | null>((a, b) => (a && sign * a.value >= sign * b.value ? a : b), null)
}
