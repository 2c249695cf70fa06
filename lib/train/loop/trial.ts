/** Steps of a phase tried before it is trained: what they take of memory and time, as measured. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { memorySource } from '../../data/sources.js'
import { singleProcess } from '../../distributed/group.js'
import type { Colbert } from '../../models/colbert.js'
import type { Trial, TrialRows } from '../check/check-phase.js'
import { activationMemoryOf } from '../check/memory.js'
import type { ResolvedRun } from '../config/types.js'
import type { StepEvent, TrainEvent } from '../events.js'
import { runPhase } from './phase.js'

interface TryOptions {
  /** Of the phase. */
  index: number
  rows: TrialRows
  /** To try. */
  steps: number
  /** Of the whole phase. */
  of: number
  signal?: AbortSignal | undefined
  onProgress?: ((event: TrainEvent) => void) | undefined
}

/** Tries a step over the longest rows of a phase, then `steps` as they come; the model is trained by them. */
export async function tryPhase(model: Colbert, config: ResolvedRun, options: TryOptions): Promise<Trial> {
  const { rows, steps, of } = options
  const cacheDir = await mkdtemp(join(tmpdir(), 'lateforge-check-'))
  try {
    const run = (sources: TrialRows['usual'], steps: number) =>
      runSteps(model, { ...config, cacheDir }, sources, steps, options)
    const { peak: worst } = await run([rows.longest], 1)
    // The first step makes what the later ones find there.
    const { peak: usual, events } = await run(rows.usual, 1 + steps)
    const measured = events
      .slice(1)
      .map(({ tokens, tokensPerSecond }) => ({ tokens, seconds: tokens / tokensPerSecond }))
    const secondsPerStep = median(measured.map(({ seconds }) => seconds))
    const tokens = measured.reduce((sum, step) => sum + step.tokens, 0)
    const seconds = measured.reduce((sum, step) => sum + step.seconds, 0)
    return {
      ...{ steps, secondsPerStep, tokensPerSecond: tokens / seconds },
      ...{ seconds: of * secondsPerStep, memory: { worst, usual } },
    }
  } finally {
    await rm(cacheDir, { recursive: true, force: true })
  }
}

/** Steps of a phase over rows in memory, as a run makes them; nothing is kept. */
async function runSteps(
  model: Colbert,
  config: ResolvedRun,
  sources: TrialRows['usual'],
  steps: number,
  { index, signal, onProgress }: TryOptions,
): Promise<{ peak: number; events: StepEvent[] }> {
  const phase = {
    ...config.phases[index]!,
    ...{ steps, warmup: 0, scheduleSteps: undefined, evaluate: undefined, smallSources: 'wrap' as const },
    checkpoint: { every: steps + 1, keep: 1 },
    data: sources.map(({ name, rows }) => memorySource(name, rows)),
    ...(sources.length === 1 && { sampling: 'proportional' as const }),
  }
  const events: StepEvent[] = []
  const { device } = model
  await device.synchronize()
  device.resetPeak()
  const host = {
    ...{ model, signal, group: singleProcess, config: { ...config, phases: [phase] } },
    activationMemory: activationMemoryOf(config, device),
    emit(event: TrainEvent) {
      if (event.type === 'step') events.push(event)
      onProgress?.(event)
    },
    last: () => null,
    pathOf: () => '',
    keep: async () => {},
    record: () => {},
    save: async () => {},
  }
  await runPhase(host, 0, 0, null)
  return { peak: device.memory().peak, events }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const at = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[at]! : (sorted[at - 1]! + sorted[at]!) / 2
}
