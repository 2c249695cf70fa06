/**
 * Stages under NVIDIA's compute-sanitizer: the native tests at tiny shapes, and every op with two training steps. The
 * tool comes from an installed toolkit or from `node native/tools/compute-sanitizer.cjs`.
 */
import { spawn, spawnSync } from 'node:child_process'
import { homedir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { packageRoot } from '../../lib/packages.js'
import { executable } from '../executable.js'
import { type Found, target } from './stages.js'

export type Tool = 'memcheck' | 'racecheck' | 'synccheck'

const errorExit = 86

/** Where compute-sanitizer is; what the user names comes first. */
export function findComputeSanitizer(): string | undefined {
  const { LATEFORGE_CUDA_LIB_PATH, CUDA_HOME, CUDA_PATH, PATH, XDG_CACHE_HOME } = process.env
  const named = (LATEFORGE_CUDA_LIB_PATH ?? '').split(':').filter(Boolean)
  const toolkits = [CUDA_HOME, CUDA_PATH, '/usr/local/cuda'].filter((folder) => folder !== undefined && folder !== '')
  const cache = path.join(XDG_CACHE_HOME || path.join(homedir(), '.cache'), 'lateforge')
  const others = [
    ...toolkits.flatMap((folder) => [path.join(folder!, 'bin'), path.join(folder!, 'compute-sanitizer')]),
    ...(PATH ?? '').split(':').filter(Boolean),
    path.join(cache, 'compute-sanitizer-13.0/bin'),
  ]
  // In the host emulation a real one would see no kernel: a rehearsal takes only what the user names.
  const folders = [
    ...named.flatMap((folder) => [folder, path.join(folder, 'bin'), path.join(folder, '../bin')]),
    ...(target === 'cuda' ? others : []),
  ]
  return executable(folders.map((folder) => path.join(folder, 'compute-sanitizer')))
}

interface Ended {
  status: number | null
  signal: string | null
  late: boolean
  output: string
}

/** Runs to the end, or ends it with all its children after `seconds`. */
function run(command: string, args: string[], seconds: number): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let late = false
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += text))
    const timer = setTimeout(() => {
      late = true
      process.kill(-child.pid!, 'SIGKILL')
    }, seconds * 1000)
    child.on('error', (error) => (output += error.message))
    child.on('close', (status, signal) => {
      clearTimeout(timer)
      resolve({ status, signal, late, output })
    })
  })
}

/** "" when the tool says that it looked and found nothing; else what is wrong. */
export function verdict({ status, signal, late, output }: Ended, seconds: number): string {
  if (late) return `ended after ${seconds.toFixed(0)} s`
  if (signal) return `ended by ${signal}`
  const summary = /=+ (?:ERROR|RACECHECK) SUMMARY: (\d+) .*/.exec(output)
  if (summary && Number(summary[1]) > 0) return summary[0].replace(/^=+ /, '')
  if (status === errorExit) return 'errors were found'
  if (status !== 0) return `exit code ${status}: ${output.trim().split('\n').at(-1)}`
  return summary ? '' : 'no summary: the tool saw no kernel'
}

/** Each job under the tool; whatever one does, the others run, as long as there is time. */
export async function sanitizer(tool: Tool): Promise<Found> {
  const command = findComputeSanitizer()
  if (!command) return { ok: false, skipped: 'no compute-sanitizer here' }
  const program = (name: string) => path.join(packageRoot(), 'build/cuda', `gpu_${name}_test`)
  const exercise = path.join(path.dirname(fileURLToPath(import.meta.url)), 'exercise.js')
  const jobs: [name: string, ...command: string[]][] = [
    ['primitives', program('primitives')],
    ['gemm', program('gemm'), 'bias', 'odd'],
    ['attention', program('attention'), 'tiny'],
    ['maxsim', program('maxsim'), 'tiny'],
    ['ranks', program('ranks')],
    ['ops and training', process.execPath, exercise, target],
  ]
  // Hazards inside NVIDIA's own kernels are not ours to judge; what we hand to them is.
  const help = spawnSync(command, ['--help'], { encoding: 'utf8', timeout: 20_000 }).stdout ?? ''
  const ours = tool !== 'memcheck' && help.includes('--kernel-name ') ? ['--kernel-name', 'kns=lateforge'] : []
  const options = ['--tool', tool, '--error-exitcode', String(errorExit), '--print-limit', '20', ...ours]
  const end = 1000 * 0.9 * Number(process.env.LATEFORGE_VERIFY_SECONDS ?? 200) // performance.now() counts from our start
  const results = []
  for (const [index, [name, ...job]] of jobs.entries()) {
    const started = performance.now()
    const seconds = (end - started) / 1000 / Math.min(2, jobs.length - index)
    const ended = seconds > 0 ? await run(command, [...options, ...job], seconds) : null
    const problem = ended ? verdict(ended, seconds) : 'no time was left'
    const took = (performance.now() - started) / 1000
    results.push({ name, problem, seconds: took, output: problem && ended ? ended.output.slice(0, 20_000) : '' })
  }
  return { ok: results.every((r) => !r.problem), command, results }
}
