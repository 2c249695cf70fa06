import type { Progress } from '../progress.js'
import { count, duration, short, size } from './amounts.js'

/** Work that is through sooner is not worth a word. */
const QUIET_MS = 2000
/** On a terminal the line is drawn no more often. */
const REDRAW_MS = 100
/** Over which the rate is taken. */
const WINDOW_MS = 10_000
/** What comes sooner is no new sample of it. */
const SAMPLE_MS = 100
/** The line is drawn anew so often, also where nobody tells anything. */
const TICK_MS = 1000

/** Where a line goes. */
export type LineStream = NodeJS.WritableStream & { isTTY?: boolean; columns?: number }

/**
 * What a person sees of work that takes a while: on a terminal one line that is redrawn, elsewhere a line now and then,
 * and between them lines that stay.
 */
export class ProgressLine {
  private readonly stream: LineStream
  private readonly everyMs: number
  private drawn = ''
  private at = Number.NEGATIVE_INFINITY
  private work: Work | null = null
  private ticking: NodeJS.Timeout | null = null
  /** Whoever reads it may leave; the work goes on. */
  private gone = false
  private readonly onError = (): void => {
    this.gone = true
  }

  constructor(stream: LineStream = process.stderr, everyMs = 30_000) {
    this.stream = stream
    this.everyMs = everyMs
    stream.on('error', this.onError)
  }

  /** The line as it is now; elsewhere than on a terminal said every `everyMs`. */
  draw(text: string): void {
    const now = performance.now()
    if (this.stream.isTTY) {
      if (now - this.at < REDRAW_MS) return
      this.drawn = text
      this.write(`\r\x1b[2K${text.slice(0, (this.stream.columns ?? 120) - 1)}`)
    } else if (now - this.at >= this.everyMs) this.say(text)
    else return
    this.at = now
  }

  /**
   * How some work stands: drawn once it has taken two seconds, elsewhere than on a terminal once it has taken `everyMs`. What
   * comes right behind other work is a part of the same; a transfer that took long leaves a line.
   * @param tookMs how long it has taken before it is told for the first time
   */
  show(progress: Progress, tookMs = 0): void {
    const now = performance.now()
    if (!this.work || this.work.isOver(now)) {
      this.work = new Work(now)
      if (this.stream.isTTY) this.at = now + QUIET_MS - REDRAW_MS - tookMs
      else if (this.at === Number.NEGATIVE_INFINITY) this.at = now - tookMs
    }
    const last = this.work.told(progress, now)
    if (last) this.say(last)
    else if (now - this.at >= (this.stream.isTTY ? REDRAW_MS : this.everyMs)) this.draw(this.work.text(now))
    if (!this.ticking && !this.work.isThrough) {
      this.ticking = setInterval(() => this.tick(), Math.min(TICK_MS, this.everyMs || TICK_MS))
      this.ticking.unref()
    } else if (this.work.isThrough) this.rest()
  }

  /** A line that stays. */
  say(line: string): void {
    this.clear()
    this.write(`${line}\n`)
  }

  clear(): void {
    if (this.drawn && this.stream.isTTY) this.write('\r\x1b[2K')
    this.drawn = ''
  }

  /** The next line is drawn at once. */
  restart(): void {
    this.at = Number.NEGATIVE_INFINITY
  }

  /** Nothing is under way for now; what was drawn stays until something else is. */
  rest(): void {
    if (this.ticking) clearInterval(this.ticking)
    this.ticking = null
  }

  close(): void {
    this.rest()
    this.clear()
    this.work = null
    setImmediate(() => this.stream.off('error', this.onError)) // an error of the last write comes after it
  }

  private tick(): void {
    if (this.work) this.draw(this.work.text(performance.now()))
  }

  private write(text: string): void {
    if (!this.gone) this.stream.write(text)
  }
}

/** Stages of work one after the other, the last as it stands. */
class Work {
  private progress: Progress | null = null
  /** When the stage began, and with how much. */
  private began = { at: 0, done: 0 }
  private lastAt: number
  private seen: { at: number; done: number }[] = []

  constructor(now: number) {
    this.lastAt = now
  }

  get isThrough(): boolean {
    return this.progress !== null && this.progress.done === this.progress.total
  }

  /** What comes later than this is other work. */
  isOver(now: number): boolean {
    return this.isThrough && now - this.lastAt > TICK_MS
  }

  /** @returns what stays to be read of a transfer that is through */
  told(progress: Progress, at: number): string | undefined {
    const { stage, name, part, done, total } = progress
    const before = this.progress
    const isTransfer = stage === 'downloading' || stage === 'sending'
    const same = before?.stage === stage && before.name === name && (isTransfer || before.part === part)
    if (!same || done < before.done || this.isThrough) {
      this.began = { at, done }
      this.seen = []
    }
    this.progress = progress
    this.lastAt = at
    if (at - (this.seen.at(-1)?.at ?? 0) > SAMPLE_MS) {
      const recent = this.seen.filter((sample) => at - sample.at < WINDOW_MS)
      // What is told more seldom has a rate since it was told before.
      this.seen = [...(recent.length > 0 ? recent : this.seen.slice(-1)), { at, done }]
    }
    const seconds = (at - this.began.at) / 1000
    if (!isTransfer || done !== total || 1000 * seconds < QUIET_MS) return undefined
    const here = this.began.done
    return (
      `${name}: ${size(done - here)}${here > 0 ? ` of ${size(total)}` : ''} ` +
      `${stage === 'sending' ? 'sent' : 'fetched'} in ${duration(seconds)}`
    )
  }

  text(now: number): string {
    const { stage, name, part, done, total, unit, waiting } = this.progress!
    const head = [...(name === undefined ? [] : [name]), [stage, part].filter(Boolean).join(' ')]
    if (waiting !== undefined) return [...head, `waiting: ${waiting}`].join('  ')
    const amount = unit === 'bytes' ? size : count
    const of = total === undefined ? amount(done) : `${amount(done)} of ${amount(total)}`
    const [first] = this.seen
    const rate = first && now > first.at ? (1000 * (done - first.done)) / (now - first.at) : 0
    return [
      ...head,
      unit === 'bytes' ? of : `${of} ${unit}`,
      ...(total ? [`${((100 * done) / total).toFixed(1)} %`] : []),
      ...(rate > 0 ? [`${unit === 'bytes' ? size(rate) : short(rate)}/s`] : []),
      ...(rate > 0 && total !== undefined ? [`eta ${duration((total - done) / rate)}`] : []),
    ].join('  ')
  }
}
