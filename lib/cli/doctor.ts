import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import os from 'node:os'
import { isAbsolute, join } from 'node:path'
import { LateforgeError } from '../errors.js'
import { backendPath, native } from '../native.js'
import { packageRoot, packageVersion } from '../packages.js'
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
  const checks: Check[] = [
    { name: 'lateforge', ok: true, found: packageVersion() },
    { name: 'node', ok: nodeFits(), found: `${process.version} (20.19 or newer is needed)` },
    { name: 'system', ok: process.platform === 'linux', found: `${os.type()} ${os.release()} ${os.arch()}` },
    { name: 'cores', ok: true, found: `${os.availableParallelism()} × ${os.cpus()[0]?.model.trim() ?? 'unknown'}` },
  ]
  let failure: unknown
  try {
    const { isa, threads } = native().cpuInfo()
    const device = Device.open('cpu')
    checks.push(
      { name: 'addon', ok: true, found: addonFile() },
      { name: 'instructions', ok: true, found: isa },
      { name: 'threads', ok: true, found: String(threads) },
      { name: 'memory limit', ok: true, found: `${(device.memory().limit / 2 ** 30).toFixed(1)} GiB` },
      { name: 'computation', ok: await computes(device), found: 'a tensor written and read back' },
    )
  } catch (error) {
    failure = error
    const message = error instanceof LateforgeError ? error.message : String(error)
    checks.push({ name: 'addon', ok: false, found: message })
  }
  checks.push(...cuda(), ranks())
  const ok = checks.every((check) => check.ok)
  if (options.json) printJson({ ok, checks })
  else for (const { name, ok, found } of checks) print(`${ok ? 'ok  ' : 'FAIL'}  ${name.padEnd(13)} ${found}`)
  if (!ok) process.exitCode = failure ? report(failure) : 5
}

/** What the CUDA library says: which devices, why there are none, which libraries it opened. None is no failure. */
function cuda(): Check[] {
  const path = backendPath('lateforge_cuda')
  if (!existsSync(path))
    return [{ name: 'cuda', ok: true, found: 'not in this build; in a source checkout: npm run build:cuda' }]
  try {
    const { devices, facts } = native().backendInfo(path)
    const missing = facts.some(([, value]) => value.includes('LATEFORGE_CUDA_LIB_PATH'))
    const folders = missing ? wheelFolders() : []
    return [
      { name: 'cuda', ok: true, found: `${devices} devices; ${path}` },
      ...facts.map(([name, value]) => ({ name: `  ${name}`, ok: true, found: value })),
      ...(folders.length > 0
        ? [{ name: '  to be set', ok: true, found: `LATEFORGE_CUDA_LIB_PATH=${folders.join(':')}` }]
        : []),
    ]
  } catch (error) {
    return [{ name: 'cuda', ok: false, found: error instanceof LateforgeError ? error.message : String(error) }]
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

/**
 * Whether processes that mpirun or srun starts can train together. MPI is tried in a process of its own, a job of one
 * rank: it ends the process when it does not like the machine.
 */
function ranks(): Check {
  const name = 'ranks (MPI)'
  if (!existsSync(backendPath('lateforge_mpi')))
    return { name, ok: true, found: 'not in this build; apt-get install libopenmpi-dev openmpi-bin, then build again' }
  const script = `import { RankGroup } from ${JSON.stringify(new URL('../tensor/group.js', import.meta.url).href)}
    RankGroup.join()`
  const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !/^(OMPI|PMIX?|SLURM)_/.test(key)))
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    env,
    timeout: 30_000,
  })
  if (status !== 0) return { name, ok: false, found: stderr.trim().split('\n').at(-1) || 'MPI does not start' }
  const mpirun = spawnSync('mpirun', ['--version'], { encoding: 'utf8' })
  const launcher = mpirun.status === 0 ? mpirun.stdout.split('\n')[0] : 'mpirun is not in PATH (srun may be)'
  return { name, ok: true, found: `MPI starts; ${launcher}` }
}

function nodeFits(): boolean {
  const [major, minor] = process.versions.node.split('.').map(Number) as [number, number]
  return major > 20 || (major === 20 && minor >= 19)
}

function addonFile(): string {
  const built = join(packageRoot(), 'build/Release/lateforge.node')
  return existsSync(built) ? built : join(packageRoot(), 'prebuilds')
}

async function computes(device: Device): Promise<boolean> {
  using tensor = Tensor.from(device, [1, 2, 3])
  return (await tensor.values()).join() === '1,2,3'
}
