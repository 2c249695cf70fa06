/** `lateforge` in a process of its own. */
import { type ChildProcess, type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export const main = fileURLToPath(new URL('../lib/cli/main.js', import.meta.url))

/** Runs it to its end. */
export function lateforge(args: readonly string[], cwd?: string): SpawnSyncReturns<string> {
  const env = { ...process.env, NO_COLOR: '1' }
  return spawnSync(process.execPath, [main, ...args], { cwd, encoding: 'utf8', env })
}

/** What a process says, as far as it has come. */
export function read(child: ChildProcess): { out: string; err: string } {
  const found = { out: '', err: '' }
  child.stdout!.setEncoding('utf8').on('data', (text: string) => (found.out += text))
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (found.err += text))
  return found
}

/** Its exit code, once all is said; null for one that a signal ended. */
export function ended(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.on('close', (code) => resolve(code)))
}
