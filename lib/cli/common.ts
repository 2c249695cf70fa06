import { styleText, types } from 'node:util'
import { AbortedError, LateforgeError, typed } from '../errors.js'
import { groupExitCode, RankGroup, startedByLauncher } from '../tensor/group.js'

/** Exit codes by error code; everything that is not listed is a fault of ours, 1. */
const exitCodes: Readonly<Record<string, number>> = {
  ERR_CONFIG: 2,
  ERR_ARGUMENT: 2,
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
}

/** Writes an error to standard error: code, message, no stack. @returns the exit code */
export function report(reason: unknown): number {
  const error = typed(reason)
  const isOurs = error instanceof LateforgeError
  const code = isOurs ? error.code : 'ERR_INTERNAL'
  const message = types.isNativeError(error) ? error.message : String(error)
  const rank = group && group.size > 1 ? ` (rank ${group.rank})` : ''
  process.stderr.write(`${colour('red', 'error')} ${code}${rank}  ${message.replaceAll('\n', '\n  ')}\n`)
  if (process.env.LATEFORGE_DEBUG === '1') console.error(error)
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

let interruption: { code: number } | null = null

/**
 * A signal that SIGINT and SIGTERM fire once: the run finishes its step and saves. A second one ends the process.
 */
export function interruptible(): AbortSignal {
  const controller = new AbortController()
  for (const [name, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    process.on(name, () => {
      if (interruption) process.exit(code)
      interruption = { code }
      process.stderr.write(`\n${name}: finishing the step and saving; once more ends at once\n`)
      controller.abort()
    })
  return controller.signal
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
