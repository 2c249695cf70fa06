import { duration, type ProgressLine } from '../io/progress-line.js'
import type { HubProgress } from './repository.js'

/** Shorter downloads are not worth a word. */
const QUIET_MS = 1000
/** Over which the rate is taken. */
const WINDOW_MS = 10_000

/** Says on a line how a transfer stands, with its rate and the time left, and once when it is through. */
export function transferShower(line: ProgressLine, done = 'fetched'): (progress: HubProgress) => void {
  let began: { at: number; bytes: number } | null = null
  let seen: { at: number; bytes: number }[] = []
  return ({ repository, file, all, waiting }) => {
    const at = performance.now()
    const { bytes, totalBytes, files, filesDone } = all
    began ??= { at, bytes }
    seen = [...seen.filter((sample) => at - sample.at < WINDOW_MS), { at, bytes }]
    const since = at - began.at
    if (waiting !== undefined) line.draw(`${repository}  ${file}  waiting: ${waiting}`)
    else if (filesDone === files) {
      if (since >= QUIET_MS)
        line.say(
          `${repository}: ${files} files, ${size(bytes - began.bytes)}${began.bytes > 0 ? ` of ${size(totalBytes)}` : ''} ${done} in ${duration(since / 1000)}`,
        )
      began = null
      seen = []
    } else if (since >= QUIET_MS) {
      const [first] = seen
      const rate = (bytes - first!.bytes) / ((at - first!.at) / 1000)
      const left = rate > 0 ? `${size(rate)}/s  eta ${duration((totalBytes - bytes) / rate)}` : ''
      line.draw(
        `${repository}  ${filesDone + 1}/${files} ${file}  ${size(bytes)} of ${size(totalBytes)} ` +
          `${((100 * bytes) / totalBytes).toFixed(1)} %  ${left}`.trimEnd(),
      )
    }
  }
}

/** In powers of 1,000, as the Hub's pages have it: `436 MB`. */
export function size(bytes: number): string {
  const unit = Math.min(4, Math.floor(Math.log10(Math.max(1, bytes)) / 3))
  const value = bytes / 1000 ** unit
  return `${unit === 0 || value >= 100 ? value.toFixed(0) : value.toPrecision(3)} ${['B', 'kB', 'MB', 'GB', 'TB'][unit]}`
}
