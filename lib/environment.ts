/** What lateforge takes from its environment: variables (docs/environment.md has them all) and the home folder. */
import { homedir } from 'node:os'
import { join } from 'node:path'
import { ArgumentError, ConfigError, nearest } from './errors.js'

/** Variables that a user may set. Those without a reader below are native code's (native/runtime/setting.h). */
export const variables = [
  'LATEFORGE_CACHE',
  'LATEFORGE_COLLECTIVE_DEADLINE',
  'LATEFORGE_CUDA_LIB_PATH',
  'LATEFORGE_CUDA_REFERENCE',
  'LATEFORGE_CUDA_SYNC',
  'LATEFORGE_DEBUG',
  'LATEFORGE_ISA',
  'LATEFORGE_MATMUL',
  'LATEFORGE_MEMORY_LIMIT',
  'LATEFORGE_MPI',
  'LATEFORGE_NICE',
  'LATEFORGE_PREBUILD',
  'LATEFORGE_RANK_SILENCE',
  'LATEFORGE_SERVE_TOKEN',
  'LATEFORGE_THREADS',
] as const

/** Of builds and tests. */
const internal =
  /^LATEFORGE_(TEST_\w+|EMULATION_(PROFILE|SEED)|VERIFY_\w+|CMAKE|CRANFIELD|CUDA|CUDA_ARCH|CUDA_TOOLKIT|MPI_MESSAGE)$/

/** What is wrong with the names of lateforge's variables: one line for each that nobody reads. */
export function unknownVariables(env: NodeJS.ProcessEnv = process.env): string[] {
  const unknown = Object.keys(env).filter(
    (name) => name.startsWith('LATEFORGE_') && !(variables as readonly string[]).includes(name) && !internal.test(name),
  )
  return unknown.map((name) => {
    const near = nearest(name, variables)
    return `the environment variable ${name} has no effect${near ? `; did you mean ${near}?` : ', nothing reads it'}`
  })
}

const seconds: Readonly<Record<string, number>> = { ms: 1e-3, s: 1, '': 1, m: 60, min: 60, h: 3600 }

/**
 * Seconds above 0 from a variable: `90`, `90s`, `500ms`, `10m`, `2h`.
 * @throws ConfigError ERR_CONFIG when it holds anything else
 */
export function durationFrom(name: (typeof variables)[number], fallback: number): number {
  const text = process.env[name] ?? ''
  if (text === '') return fallback
  const [, digits, unit] = /^(\d+(?:\.\d+)?) ?([a-z]*)$/.exec(text) ?? []
  const value = Number(digits) * (Object.hasOwn(seconds, unit ?? '?') ? seconds[unit!]! : Number.NaN)
  if (value > 0) return value
  throw new ConfigError('ERR_CONFIG', `${name} is "${text}"; expected a time above 0, as 90, 90s, 500ms, 10m or 2h`, {
    name,
    found: text,
  })
}

/** Whether LATEFORGE_DEBUG asks for stacks. What reports errors makes none of its own: all but "" and 0 is a yes. */
export const debugging = (): boolean => !['', '0'].includes(process.env.LATEFORGE_DEBUG ?? '')

/** Why a path is not understood, or undefined: another user's home, `~name`. */
export function pathProblem(path: string): string | undefined {
  if (!/^~[^/]/.test(path)) return undefined
  return `"~" means your own home folder, as ~ or ~/…; write another one out, or ./${path} for a file of this name`
}

/**
 * A path as a shell reads it: `~` and what begins with `~/` are below the home folder. Node and YAML know no `~`, and
 * neither does a shell within quotes.
 * @throws ArgumentError ERR_ARGUMENT for another user's home (`~name`)
 */
export function homed(path: string): string {
  const problem = pathProblem(path)
  if (problem) throw new ArgumentError('ERR_ARGUMENT', `the path "${path}": ${problem}`, { path })
  return path === '~' || path.startsWith('~/') ? join(homedir(), path.slice(1)) : path
}
