/** Somebody else's project that uses the package: the files of consumer/, and what they say where they run. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { packageRoot } from '../../lib/packages.js'

/** What consumer/embed.mjs computes. */
export interface Values {
  order: number[][]
  numbers: number[]
}

/** Compilers differ in the last bits of a float32; machines of one kind and one compiler do not. */
const tolerance = 1e-5

export const sources = path.join(packageRoot(), 'test/package/consumer')

/** The ways in which the same code is reached. */
export const ways = ['esm.mjs', 'require.cjs', 'worker.mjs'] as const

export interface Finished {
  ok: boolean
  stdout: string
  /** Both streams, for a report. */
  said: string
}

/** Runs a program to its end, with all that it says. */
export function run(
  command: string,
  args: string[],
  options: { cwd: string; env?: NodeJS.ProcessEnv; timeout?: number },
): Finished {
  const { cwd, env = process.env, timeout = 300_000 } = options
  const limits = { cwd, env, timeout, encoding: 'utf8', maxBuffer: 1 << 26 } as const
  const done: SpawnSyncReturns<string> = spawnSync(command, args, limits)
  const failure = done.error ? `${done.error.message}\n` : done.signal ? `ended by ${done.signal}\n` : ''
  return {
    ok: done.status === 0,
    stdout: done.stdout ?? '',
    said: `${failure}${done.stdout ?? ''}${done.stderr ?? ''}`,
  }
}

/** As `run`, where anything but success is an error. */
export function must(...call: Parameters<typeof run>): string {
  const done = run(...call)
  if (!done.ok) throw new Error(`${path.basename(call[0])} ${call[1].join(' ')}: ${tail(done.said)}`)
  return done.stdout
}

/** The last lines, which say what went wrong. */
export function tail(text: string, lines = 15): string {
  return text.trim().split('\n').slice(-lines).join('\n')
}

/** An empty project, but for the files of consumer/ and README's example. */
export function writeConsumer(folder: string): void {
  mkdirSync(folder, { recursive: true })
  for (const name of ['embed.mjs', ...ways]) cpSync(path.join(sources, name), path.join(folder, name))
  writeFileSync(path.join(folder, 'readme.mjs'), readmeExample())
  writeFileSync(path.join(folder, 'package.json'), '{ "name": "app", "version": "1.0.0", "private": true }\n')
}

/** The code under "Encode, search, evaluate", as it is written there, and a line that shows what it ranked. */
export function readmeExample(): string {
  const readme = readFileSync(path.join(packageRoot(), 'README.md'), 'utf8')
  const blocks = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code!)
  const found = blocks.filter((code) => code.includes("Colbert.load('model/')"))
  if (found.length !== 1) throw new Error(`README has ${found.length} examples that load model/, expected one`)
  return `${found[0]}console.log(JSON.stringify({ ranked, hits, more }))\n`
}

/**
 * Runs every way of reaching the package in a project that has it, by import, by require, in worker threads, and README's
 * example as it is written.
 * @returns what differs from `expected` or failed: one line each, none when all is well
 */
export function embeds(folder: string, node: (args: string[]) => Finished, expected: Values): string[] {
  const faults: string[] = []
  for (const way of ways) {
    const done = node([way, `model of ${way}`])
    if (!done.ok) faults.push(`${way}: ${tail(done.said)}`)
    else faults.push(...differences(JSON.parse(done.stdout), expected).map((fault) => `${way}: ${fault}`))
  }
  if (faults.length > 0) return faults
  cpSync(path.join(folder, 'model of esm.mjs'), path.join(folder, 'model'), { recursive: true })
  const readme = node(['readme.mjs'])
  if (!readme.ok) return [`README's example: ${tail(readme.said)}`]
  const { ranked, hits, more } = JSON.parse(readme.stdout)
  if (ranked.length !== 2 || hits[0].length !== 2 || JSON.stringify(hits) !== JSON.stringify(more))
    return [`README's example: ${readme.stdout}`]
  return []
}

export function differences(values: Values, expected: Values): string[] {
  if (JSON.stringify(values.order) !== JSON.stringify(expected.order))
    return [`ranks ${JSON.stringify(values.order)}, the checkout ${JSON.stringify(expected.order)}`]
  if (values.numbers.length !== expected.numbers.length)
    return [`${values.numbers.length} numbers, the checkout ${expected.numbers.length}`]
  const worst = Math.max(...values.numbers.map((value, i) => Math.abs(value - expected.numbers[i]!)))
  return worst <= tolerance ? [] : [`differs from the checkout by ${worst}`]
}

/** What the checkout itself computes: consumer/ lies inside of the package, so that `lateforge` is dist/. */
export function checkoutValues(scratch: string): Values {
  const made = must(process.execPath, [path.join(sources, 'esm.mjs'), path.join(scratch, 'model')], { cwd: scratch })
  return JSON.parse(made) as Values
}
