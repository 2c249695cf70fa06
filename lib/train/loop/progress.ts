import { count, duration, short } from '../../io/amounts.js'
import { ProgressLine } from '../../io/progress-line.js'
import { checkOptions, number, object } from '../../options.js'
import type { Progress } from '../../progress.js'
import type { ProgressEvent, StepEvent, TrainEvent } from '../events.js'
import { longStepMs } from './phase.js'

/** Options of `showProgress`. */
export interface ProgressOptions {
  /** Default standard error. */
  stream?: NodeJS.WritableStream & { isTTY?: boolean; columns?: number }
  /** Where the stream is no terminal: time between lines. Default 30 s. */
  everyMs?: number
}

/**
 * Shows a run as it goes: one line that is redrawn on a terminal, otherwise a line every 30 s; evaluations, checkpoints
 * and warnings have lines of their own. Settles when the run ends; its failure is left to `run.result`.
 */
export async function showProgress(run: AsyncIterable<TrainEvent>, options: ProgressOptions = {}): Promise<void> {
  checkOptions('showProgress', options, { stream: object, everyMs: number(0) })
  const { stream = process.stderr, everyMs = 30_000 } = options
  const line = new ProgressLine(stream, everyMs)
  let phases: string[] = []
  let last: StepEvent | undefined
  try {
    for await (const event of run) {
      if (event.type === 'start') phases = event.phases
      if (event.type === 'step') {
        last = event
        line.rest()
        line.draw(stepLine(event, phases))
      } else if (event.type === 'progress')
        line.show(progressOf(event, last), event.stage === 'training' ? longStepMs : 0)
      else {
        line.rest()
        if (event.type === 'phase' && event.at === 'begin') line.restart()
        const text = lineOf(event)
        if (text) line.say(text)
      }
    }
  } catch {
    // whoever started the run reports it
  } finally {
    line.close()
  }
}

/** Progress with its phase, and within a step the loss of the one before. */
export function progressOf({ type: _, phase, name, ...progress }: ProgressEvent, last?: StepEvent): Progress {
  const loss = progress.stage === 'training' && last ? `last loss ${last.loss.toPrecision(4)}` : undefined
  const names = [phase, name, loss].filter((part) => part !== undefined)
  return { ...progress, ...(names.length > 0 && { name: names.join('  ') }) }
}

/** A step in one line. */
export function stepLine(e: StepEvent, phases: readonly string[] = []): string {
  const number = phases.length > 1 ? ` ${phases.indexOf(e.phase) + 1}/${phases.length}` : ''
  const wait = (100 * e.dataWaitMs * e.tokensPerSecond) / (1000 * e.tokens)
  return [
    `${e.phase}${number}`,
    `step ${e.step}/${e.steps} ${((100 * e.step) / e.steps).toFixed(1)} %`,
    `loss ${e.loss.toPrecision(4)}${e.losses ? ` (${parts(e.losses)})` : ''}`,
    `lr ${e.learningRate.toExponential(1)}`,
    ...(e.temperature === undefined ? [] : [`temp ${Number(e.temperature.toPrecision(3))}`]),
    `grad ${e.gradientNorm.toPrecision(2)}`,
    `${short(e.tokensPerSecond)} tok/s`,
    `wait ${Math.min(100, wait).toFixed(1)} %`,
    `mem ${(e.memory / 2 ** 30).toFixed(2)} GiB`,
    `eta ${duration(e.etaSeconds)}`,
  ].join('  ')
}

const parts = (losses: NonNullable<StepEvent['losses']>): string =>
  Object.entries(losses)
    .map(([name, value]) => `${name} ${value.toPrecision(4)}`)
    .join(', ')

function lineOf(event: TrainEvent): string | undefined {
  switch (event.type) {
    case 'start':
      return event.resumed ? `resuming ${event.resumed}` : `${event.out}: ${event.phases.join(' → ')}`
    case 'phase':
      return event.at === 'begin'
        ? `${event.phase}: ${count(event.steps)} step${event.steps === 1 ? '' : 's'} of ${count(event.batch!)}, ${count(event.rows!)} rows, queries of ${event.queryLength} tokens, ` +
            `documents of ${event.documentLength}${event.step ? `, from step ${event.step}` : ''}`
        : event.reason === 'early-stop'
          ? `${event.phase}: stopped at step ${event.step}, no better evaluation in a while`
          : undefined
    case 'eval':
      return `${event.phase} step ${event.step}: ${event.metric} ${event.value.toFixed(4)}${event.best ? ' (best)' : ''}`
    case 'checkpoint':
      return `saved ${event.path}`
    case 'warning':
      return `warn  ${event.message}`
    case 'done':
      return `done in ${duration(event.seconds)}: ${event.model}`
    default:
      return undefined
  }
}
