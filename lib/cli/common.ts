import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { styleText, types } from 'node:util'
import { groupExitCode, RankGroup } from '../distributed/group.js'
import { startedByLauncher } from '../distributed/launcher.js'
import { debugging } from '../environment.js'
import { AbortedError, LateforgeError, typed } from '../errors.js'

/** Exit codes by error code; everything that is not listed is a fault of ours, 1. */
const exitCodes: Readonly<Record<string, number>> = {
  ERR_CONFIG: 2,
  ERR_ARGUMENT: 2,
  ERR_LOCKED: 2,
  ERR_DATA: 3,
  ERR_FORMAT: 4,
  ERR_RECIPE: 4,
  ERR_CHECKPOINT: 4,
  ERR_DEVICE: 5,
  ERR_NATIVE: 5,
  ERR_UNSUPPORTED: 5,
  ERR_DTYPE: 5,
  ERR_GROUP: groupExitCode,
  ERR_FILE: 3,
  ERR_OUT_OF_MEMORY: 6,
  ERR_DIVERGED: 7,
  ERR_HUB: 8,
}

/** Writes an error to standard error: code, message, no stack. @returns the exit code */
export function report(reason: unknown): number {
  const error = typed(reason)
  const isOurs = error instanceof LateforgeError
  const code = isOurs ? error.code : 'ERR_INTERNAL'
  const message = types.isNativeError(error) ? error.message : String(error)
  const rank = group && group.size > 1 ? ` (rank ${group.rank})` : ''
  process.stderr.write(`${colour('red', 'error')} ${code}${rank}  ${message.replaceAll('\n', '\n  ')}\n`)
  if (debugging()) console.error(error)
  else if (!isOurs) process.stderr.write('  This is a bug of lateforge. LATEFORGE_DEBUG=1 shows where it happened\n')
  if (error instanceof AbortedError) return interruption?.code ?? 130
  return exitCodes[code] ?? 1
}

let group: RankGroup | undefined

/** The ranks that mpirun or srun started this process among, or undefined when it is on its own. */
export function joinRanks(): RankGroup | undefined {
  if (startedByLauncher()) group = RankGroup.join()
  return group
}

let interruption: { code: number; at: number } | null = null

/** npm, timeout and others hand on a signal that the process has had from the terminal or its group as well. */
const sameSignalMs = 500

/**
 * A signal that SIGINT, SIGTERM and SIGHUP (the terminal was closed) fire once: the run does what `then` says. A
 * second one ends the process, unless it is the first one come twice: within half a second, or SIGHUP, which shell and
 * kernel both send. Under nohup SIGHUP is not heard at all.
 */
export function interruptible(then: string): AbortSignal {
  const controller = new AbortController()
  const ignored = hangupIgnored()
  for (const [name, code] of [
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    process.on(name, () => {
      if (name === 'SIGHUP' && (ignored || interruption)) return
      if (interruption && performance.now() - interruption.at < sameSignalMs) return
      if (interruption) process.exit(code)
      interruption = { code, at: performance.now() }
      process.stderr.write(`\n${name}: ${then}; once more ends at once\n`)
      controller.abort()
    })
  return controller.signal
}

/**
 * Whether this process was started with SIGHUP ignored. Node has put every signal back to its default before it runs any
 * script, so what is left are traces: the shell says what it started (`_`), and a parent that ignores the signal hands
 * that down.
 */
function hangupIgnored(): boolean {
  if (basename(process.env._ ?? '') === 'nohup') return true
  try {
    const [, ignored] = /^SigIgn:\s*([\da-f]+)$/m.exec(readFileSync(`/proc/${process.ppid}/status`, 'utf8')) ?? []
    return (BigInt(`0x${ignored}`) & 1n) === 1n // signal 1
  } catch {
    return false
  }
}

let onStdoutClosed: 'end' | 'go on' = 'end'

/**
 * Whoever reads standard output or error may leave, as `head` does, or the terminal goes. Without a reader for its result
 * a verb ends, quietly and as if it had been read; one that leaves its result elsewhere goes on (`outliveReaders`). What
 * standard error would have said has nobody to say it to.
 */
export function bearClosedOutput(): void {
  process.stderr.on('error', () => {})
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    const closed = error.code === 'EPIPE' || error.code === 'EIO'
    if (onStdoutClosed === 'end') process.exit(closed ? 0 : report(error))
    if (closed || stdoutFailed) return
    stdoutFailed = true
    process.stderr.write(`warn  standard output: ${error.message}\n`)
  })
}

let stdoutFailed = false

/** The verb's work is worth doing whoever reads what it prints: it trains, or writes files. */
export function outliveReaders(): void {
  onStdoutClosed = 'go on'
}

/** Styled text where standard error is a terminal that wants colours. */
export function colour(format: Parameters<typeof styleText>[0], text: string): string {
  return process.stderr.isTTY && !process.env.NO_COLOR ? styleText(format, text) : text
}

/** What a verb prints as its result. */
export function print(text: string): void {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`)
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, process.stdout.isTTY ? 2 : 0))
}

/** What is worth knowing beside a result: how many of what, a line each; none of what there are none. */
export function printCounts(counts: readonly (readonly [count: number, what: string])[]): void {
  for (const [count, what] of counts) if (count > 0) print(`  ${count} ${what}`)
}
