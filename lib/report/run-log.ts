/** What a run's log says, in columns: of a run that is done, broken off, or still going on. */
import type {
  CheckpointEvent,
  DoneEvent,
  EvalEvent,
  PhaseEvent,
  StartEvent,
  StepEvent,
  TrainEvent,
  WarningEvent,
} from '../train/events.js'

type Logged<E> = E & { time: string }

/** Numbers that a step tells; undefined where it has none. */
export const stepMetrics = {
  loss: ({ loss }: StepEvent) => loss,
  learningRate: ({ learningRate }: StepEvent) => learningRate,
  gradientNorm: ({ gradientNorm }: StepEvent) => gradientNorm,
  temperature: ({ temperature }: StepEvent) => temperature,
  tokensPerSecond: ({ tokensPerSecond }: StepEvent) => tokensPerSecond,
  dataWait: ({ dataWaitMs, tokensPerSecond, tokens }: StepEvent) =>
    Math.min(100, (100 * dataWaitMs * tokensPerSecond) / (1000 * tokens)),
  memory: ({ memory }: StepEvent) => memory / 2 ** 30,
} as const

/** Name of a number that a step tells. */
export type StepMetric = keyof typeof stepMetrics

/** What a source gave to a phase. */
export interface Given {
  phase: string
  source: string
  steps: number
  tokens: number
  /** Sum of the losses of its steps. */
  loss: number
}

/** A phase as far as it came. */
export interface LoggedPhase {
  name: string
  /** Steps of the run before it. */
  first: number
  begin: Logged<PhaseEvent>
  end: Logged<PhaseEvent> | null
  last: Logged<StepEvent> | null
}

/** Takes the lines of a log one by one. */
export class RunLog {
  readonly starts: Logged<StartEvent>[] = []
  readonly phases: LoggedPhase[] = []
  readonly evaluations: Logged<EvalEvent>[] = []
  readonly checkpoints: Logged<CheckpointEvent>[] = []
  readonly warnings: Logged<WarningEvent>[] = []
  readonly given = new Map<string, Given>()
  done: Logged<DoneEvent> | null = null
  /** Steps of the run, of each step in the log. */
  readonly steps: number[] = []
  readonly values = Object.fromEntries(Object.keys(stepMetrics).map((name) => [name, []])) as unknown as Record<
    StepMetric,
    (number | null)[]
  >
  /** Losses that the loss is the sum of, by name, where there are some. */
  readonly parts: Record<string, (number | null)[]> = {}
  /** Lines that are no events, such as one that is being written. */
  damaged = 0
  /** Of all its processes: from one that ended to the next that took the run up no time passes. */
  seconds = 0
  private last = Number.NaN

  /** One line. */
  add(line: string): void {
    if (line.trim() === '') return
    let event: Logged<Exclude<TrainEvent, { type: 'snapshot' }>>
    try {
      event = JSON.parse(line)
    } catch {
      this.damaged++
      return
    }
    const at = Date.parse(event.time)
    if (event.type !== 'start' && at > this.last) this.seconds += (at - this.last) / 1000
    this.last = at
    switch (event.type) {
      case 'start':
        this.starts.push(event)
        break
      case 'phase':
        this.phase(event)
        break
      case 'step':
        this.step(event)
        break
      case 'eval':
        this.evaluations.push(event)
        break
      case 'checkpoint':
        this.checkpoints.push(event)
        break
      case 'warning':
        this.warnings.push(event)
        break
      case 'done':
        this.done = event
        break
    }
  }

  private phase(event: Logged<PhaseEvent>): void {
    const known = this.phases.find(({ name }) => name === event.phase)
    if (event.at === 'end') {
      if (known) known.end = event
    } else if (!known)
      this.phases.push({ name: event.phase, first: event.globalStep - event.step, begin: event, end: null, last: null })
  }

  private step(event: Logged<StepEvent>): void {
    const at = this.steps.length
    this.steps.push(event.globalStep)
    for (const name of Object.keys(stepMetrics) as StepMetric[]) {
      const value = stepMetrics[name](event)
      this.values[name].push(typeof value === 'number' && Number.isFinite(value) ? value : null)
    }
    for (const [name, value] of Object.entries(event.losses ?? {})) {
      this.parts[name] ??= []
      this.parts[name][at] = value ?? null
    }
    const phase = this.phases.find(({ name }) => name === event.phase)
    if (phase) phase.last = event
    const key = JSON.stringify([event.phase, event.source])
    const given = this.given.get(key) ?? { phase: event.phase, source: event.source, steps: 0, tokens: 0, loss: 0 }
    given.steps++
    given.tokens += event.tokens
    given.loss += event.loss
    this.given.set(key, given)
  }
}
