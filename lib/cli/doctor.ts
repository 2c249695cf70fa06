import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import os from 'node:os'
import { isAbsolute, join } from 'node:path'
import { addonFile, isPrebuild, libcName, platformName, platformsRun } from '../addon.js'
import { cudaLibrary } from '../backends.js'
import { transportOf } from '../distributed/group.js'
import { launcherOf, type Mpi, mpiOf, mpis } from '../distributed/launcher.js'
import { LateforgeError } from '../errors.js'
import { native } from '../native.js'
import { packageVersion } from '../packages.js'
import { Device } from '../tensor/device.js'
import { Tensor } from '../tensor/tensor.js'
import { print, printJson, report } from './common.js'

interface Check {
  name: string
  /** Whether lateforge can work with it. */
  ok: boolean
  found: string
}

/** `lateforge doctor`: what this machine has; exit code 5 when something that is needed is missing. */
export async function doctor(options: { json?: boolean }): Promise<void> {
  const libc = libcName()
  const checks: Check[] = [
    { name: 'lateforge', ok: true, found: packageVersion() },
    { name: 'node', ok: nodeFits(), found: `${process.version} (20.19 or newer is needed)` },
    { name: 'system', ok: true, found: `${os.type()} ${os.release()} ${os.arch()}${libc && `, ${libc}`}` },
    { name: 'cores', ok: true, found: `${os.availableParallelism()} × ${os.cpus()[0]?.model.trim() ?? 'unknown'}` },
  ]
  let failure: unknown
  try {
    const { isa, threads, matmul } = native().cpuInfo()
    const device = Device.open('cpu')
    checks.push(
      { name: 'addon', ok: true, found: addonText(addonFile()) },
      instructions(isa, processorIsa()),
      { name: 'threads', ok: true, found: String(threads) },
      { name: 'matmul', ok: true, found: matmul },
      { name: 'memory limit', ok: true, found: `${(device.memory().limit / 2 ** 30).toFixed(1)} GiB` },
      { name: 'computation', ok: await computes(device), found: 'a tensor written and read back' },
      ...cuda(),
      ...ranks(),
    )
  } catch (error) {
    failure = error
    const message = error instanceof LateforgeError ? error.message : String(error)
    checks.push({ name: 'addon', ok: false, found: message })
  }
  const ok = checks.every((check) => check.ok)
  if (options.json) printJson({ ok, checks })
  else
    for (const { name, ok, found } of checks)
      print(`${ok ? 'ok  ' : 'FAIL'}  ${name.padEnd(13)} ${found.split('\n')[0]}`)
  if (!ok) process.exitCode = failure ? report(failure) : 5
}

const addonText = (file: string): string =>
  isPrebuild(file)
    ? `prebuild for ${platformName()}${platformsRun.includes(platformName()) ? '' : ' (built, never run by us)'}: ${file}`
    : `built here: ${file}`

/** Instruction sets of the kernels, the slowest first. */
const isas = ['portable', 'avx2', 'avx512']

/** The best of them that this processor has, by what the system says of it; undefined where it says nothing or has one. */
function processorIsa(): string | undefined {
  if (platformName() !== 'linux-x64') return undefined
  const flags = new Set(/^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.split(' '))
  const has = (names: string): boolean => names.split(' ').every((name) => flags.has(name))
  if (!has('avx2 fma f16c')) return 'portable'
  return has('avx512f avx512dq avx512bw avx512vl') ? 'avx512' : 'avx2'
}

/** A build that cannot tell what the processor has computes several times slower, and would say nothing of it. */
export function instructions(
  used: string,
  present: string | undefined,
  asked = process.env.LATEFORGE_ISA ?? '',
): Check {
  const ok = asked !== '' || present === undefined || isas.indexOf(used) >= isas.indexOf(present)
  const why = asked !== '' ? `, by LATEFORGE_ISA` : ok ? '' : ': this build does not use it, and is slower for it'
  return { name: 'instructions', ok, found: `${used}${present ? `; the processor has ${present}${why}` : ''}` }
}

/** What the CUDA library says: which devices, why there are none, which libraries it opened. None is no failure. */
function cuda(): Check[] {
  try {
    const { path, package: name } = cudaLibrary()
    const { devices, facts } = native().backendInfo(path)
    const missing = facts.some(([, value]) => value.includes('LATEFORGE_CUDA_LIB_PATH'))
    const folders = missing ? wheelFolders() : []
    return [
      { name: 'cuda', ok: true, found: `${devices} devices; ${name ?? 'built here'}: ${path}` },
      ...facts.map(([name, value]) => ({ name: `  ${name}`, ok: true, found: value })),
      ...(folders.length > 0
        ? [{ name: '  to be set', ok: true, found: `LATEFORGE_CUDA_LIB_PATH=${folders.join(':')}` }]
        : []),
    ]
  } catch (error) {
    if (!(error instanceof LateforgeError)) throw error
    return [{ name: 'cuda', ok: error.details.missing === true, found: error.message }]
  }
}

/** Where pip puts NVIDIA's libraries, according to python3. */
function wheelFolders(): string[] {
  const { stdout } = spawnSync('python3', ['-c', 'import sys; print("\\n".join(sys.path))'], { encoding: 'utf8' })
  return (stdout ?? '')
    .split('\n')
    .map((site) => join(site, 'nvidia'))
    .filter((nvidia) => isAbsolute(nvidia) && existsSync(nvidia))
    .flatMap((nvidia) => readdirSync(nvidia).map((name) => join(nvidia, name, 'lib')))
    .filter((folder) => existsSync(folder))
}

/** Whether processes that mpirun or srun starts can train together: what started this one, and each transport. */
function ranks(): Check[] {
  const name = 'ranks (MPI)'
  const launcher = launcherOf()
  const started = launcher ? `${launcher.title} started this process` : 'this process is on its own'
  const present = (Object.keys(mpis) as Mpi[]).filter((mpi) => existsSync(transportOf(mpi)))
  const transports = present.length
    ? `transports for ${present.map((mpi) => mpis[mpi].title).join(', ')}`
    : 'no transport'
  let chosen: Mpi
  try {
    chosen = mpiOf().mpi
  } catch (error) {
    return [{ name, ok: false, found: (error as Error).message }]
  }
  const usable = launcher === undefined || present.includes(chosen)
  const missing = `, which is not in this build: ${transportOf(chosen)}`
  return [
    { name, ok: usable, found: `${transports}; ${started}${usable ? '' : `, for ${mpis[chosen].title}${missing}`}` },
    ...present.map((mpi) => transport(mpi, launcher !== undefined && mpi === chosen)),
  ]
}

/**
 * MPI is tried in a process of its own, a job of one rank: it ends the process when it does not like the machine. That its
 * library is not installed is a failure only where it is `needed`.
 */
function transport(mpi: Mpi, needed: boolean): Check {
  const script = `import { RankGroup } from ${JSON.stringify(new URL('../distributed/group.js', import.meta.url).href)}
    try { RankGroup.join() } catch (error) { console.error(error.message); process.exit(error.details.libraries ? 3 : 1) }`
  const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !/^(OMPI|PMIX?|SLURM|HYDRA)_/.test(key)))
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    env: { ...env, LATEFORGE_MPI: mpi },
    timeout: 30_000,
  })
  const name = `  ${mpi}`
  if (status !== 0)
    return { name, ok: status === 3 && !needed, found: stderr.trim().split('\n').at(-1) || 'MPI does not start' }
  return { name, ok: true, found: `MPI starts; ${mpirunOf(mpi)}` }
}

/** The mpirun of an MPI: by its name on Debian, which has several, or the one of that name. */
function mpirunOf(mpi: Mpi): string {
  for (const command of [`mpirun.${mpi}`, 'mpirun']) {
    const { status, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' })
    if (status === 0 && /Open MPI|OpenRTE/.test(stdout) === (mpi === 'openmpi'))
      return `${command} ${/\d+\.\d[\w.]*/.exec(stdout)?.[0] ?? ''}`.trim()
  }
  return 'its mpirun is not in PATH (srun may be)'
}

function nodeFits(): boolean {
  const [major, minor] = process.versions.node.split('.').map(Number) as [number, number]
  return major > 20 || (major === 20 && minor >= 19)
}

async function computes(device: Device): Promise<boolean> {
  using tensor = Tensor.from(device, [1, 2, 3])
  return (await tensor.values()).join() === '1,2,3'
}
