/**
 * What a person sees of work that takes a while: on a terminal one line that is redrawn, elsewhere a line now and then,
 * and between them lines that stay.
 */
export class ProgressLine {
  private readonly stream: NodeJS.WritableStream & { isTTY?: boolean; columns?: number }
  private readonly everyMs: number
  private drawn = ''
  private at = Number.NEGATIVE_INFINITY
  /** Whoever reads it may leave; the work goes on. */
  private gone = false
  private readonly onError = (): void => {
    this.gone = true
  }

  constructor(
    stream: NodeJS.WritableStream & { isTTY?: boolean; columns?: number } = process.stderr,
    everyMs = 30_000,
  ) {
    this.stream = stream
    this.everyMs = everyMs
    stream.on('error', this.onError)
  }

  /** The line as it is now; elsewhere than on a terminal said every `everyMs`. */
  draw(text: string): void {
    const now = performance.now()
    if (this.stream.isTTY) {
      if (now - this.at < 100) return
      this.drawn = text
      this.write(`\r\x1b[2K${text.slice(0, (this.stream.columns ?? 120) - 1)}`)
    } else if (now - this.at >= this.everyMs) this.say(text)
    else return
    this.at = now
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

  close(): void {
    this.clear()
    setImmediate(() => this.stream.off('error', this.onError)) // an error of the last write comes after it
  }

  private write(text: string): void {
    if (!this.gone) this.stream.write(text)
  }
}

/** `2h 5m`, `13s`. No package: pretty-ms writes two hours and five seconds as `2h 5s`. */
export function duration(seconds: number): string {
  const s = Math.round(seconds)
  const parts = [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60]
  const first = parts.findIndex((part) => part > 0)
  return parts
    .map((part, i) => `${part}${'hms'[i]}`)
    .slice(first === -1 ? 2 : first, (first === -1 ? 2 : first) + 2)
    .join(' ')
}
