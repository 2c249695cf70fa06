/** Libraries that are opened on request, looked for from an installed package: beside the addon, and in a package of CUDA's. */
import { copyFileSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { instructions } from '../lib/cli/doctor.js'
import { packageVersion } from '../lib/packages.js'
import { withoutMpich, withoutRanks } from './distributed/launch.js'
import { install, platform, prebuild, runNode, type Told, told, write } from './installed.js'

const version = packageVersion()
const cuda = `lateforge-cuda-${platform}`
const open = (root: string, device: string): Told =>
  told(root, `return (await lib('tensor/device')).Device.open('${device}').name`)

interface Doctor {
  status: number | null
  checks: { name: string; ok: boolean; found: string }[]
  stderr: string
}

function doctor(root: string, env: NodeJS.ProcessEnv = {}): Doctor {
  const { status, stdout, stderr } = runNode(root, [path.join(root, 'dist/cli/main.js'), 'doctor', '--json'], env)
  return { status, checks: JSON.parse(stdout).checks, stderr }
}
const check = ({ checks }: Doctor, name: string) => checks.find((c) => c.name === name)

t.test('libraries lie beside the addon', async (t) => {
  const root = install(t)
  prebuild(root, 'lateforge_f64')
  t.equal(open(root, 'cpu-f64').result, 'cpu-f64')
  const missing = open(root, 'cuda-host')
  t.match(missing, {
    code: 'ERR_DEVICE',
    message: `${root}/prebuilds/${platform}/lateforge_cuda_host.so does not exist`,
  })
})

t.test('CUDA in a package of its own', async (t) => {
  const root = install(t)
  prebuild(root)
  if (platform !== 'linux-x64') return t.match(open(root, 'cuda').message, /lateforge has CUDA for linux-x64 only/)

  const absent = open(root, 'cuda')
  t.match(absent, { name: 'DeviceError', code: 'ERR_DEVICE', details: { package: cuda } })
  t.match(absent.message, `the package ${cuda} is not installed. Run: npm install ${cuda}@${version}`)
  const without = doctor(root)
  t.match(check(without, 'cuda'), { ok: true, found: `npm install ${cuda}@${version}` })
  t.equal(without.status, 0, without.stderr)

  // The host emulation of CUDA, which has a device anywhere, in the place of the library.
  const folder = path.join(path.dirname(root), cuda)
  const library = path.join(folder, 'lateforge_cuda.so')
  mkdirSync(folder)
  copyFileSync('build/Release/lateforge_cuda_host.so', library)
  write(folder, { 'package.json': JSON.stringify({ name: cuda, version }) })
  t.equal(open(root, 'cuda').result, 'cuda-host')
  t.match(check(doctor(root), 'cuda'), { ok: true, found: `1 devices; ${cuda} ${version}: ${library}` })

  write(folder, { 'package.json': JSON.stringify({ name: cuda, version: '0.0.1' }) })
  const other = open(root, 'cuda')
  t.match(other, { code: 'ERR_DEVICE', details: { found: '0.0.1', expected: version } })
  t.match(other.message, `${cuda} is version 0.0.1 and lateforge ${version}. Run: npm install ${cuda}@${version}`)
  const mixed = doctor(root)
  t.match(check(mixed, 'cuda'), { ok: false, found: /is version 0\.0\.1/ })
  t.equal(mixed.status, 5)

  write(folder, { 'package.json': JSON.stringify({ name: cuda, version }) })
  rmSync(library)
  t.match(open(root, 'cuda'), {
    code: 'ERR_DEVICE',
    message: `${cuda} has lost its library: ${library} does not exist`,
  })

  t.comment('what was built here goes first')
  copyFileSync('build/Release/lateforge_cuda_host.so', path.join(root, `prebuilds/${platform}/lateforge_cuda.so`))
  t.equal(open(root, 'cuda').result, 'cuda-host')
})

t.test('every peer is optional, and those of CUDA have the version of the package', async (t) => {
  const { peerDependencies, peerDependenciesMeta } = JSON.parse(readFileSync('package.json', 'utf8'))
  const names = Object.keys(peerDependencies)
  t.same(peerDependenciesMeta, Object.fromEntries(names.map((name) => [name, { optional: true }])))
  t.same(
    names.filter((name) => name.startsWith('lateforge-')),
    ['lateforge-cuda-linux-x64'],
  )
  t.equal(peerDependencies['lateforge-cuda-linux-x64'], version)
})

const join = (root: string, env: NodeJS.ProcessEnv): Told =>
  told(root, `return (await lib('distributed/group')).RankGroup.join().size`, [], env)
const byMpich = { PMI_RANK: '0', PMI_SIZE: '2' }

t.test('a transport that is not there', { skip: process.platform !== 'linux' && 'MPI is for Linux' }, async (t) => {
  const root = install(t)
  prebuild(root)
  const absent = join(root, byMpich)
  t.match(absent, { name: 'GroupError', code: 'ERR_GROUP', details: { mpi: 'mpich' } })
  t.match(absent.message, 'ranks need MPICH or Intel MPI, because mpiexec of MPICH or Intel MPI started this process')
  t.match(absent.message, `${root}/prebuilds/${platform}/lateforge_mpi_mpich.so does not exist`)
  t.match(join(root, { ...byMpich, LATEFORGE_MPI: 'openmpi' }).message, /Open MPI, because LATEFORGE_MPI is openmpi/)
  t.match(join(root, {}).message, /Open MPI, because nothing started this process as a rank/)
  t.match(join(root, { LATEFORGE_MPI: 'mvapich' }), {
    code: 'ERR_CONFIG',
    message: /"mvapich"; expected openmpi or mpich/,
  })

  t.match(check(doctor(root), 'ranks (MPI)'), { ok: true, found: 'no transport; this process is on its own' })
  const needed = doctor(root, byMpich)
  t.match(check(needed, 'ranks (MPI)'), { ok: false, found: /lateforge_mpi_mpich\.so/ })
  t.equal(needed.status, 5)
  t.match(check(doctor(root, { LATEFORGE_MPI: 'x' }), 'ranks (MPI)'), { ok: false, found: /expected openmpi or mpich/ })
})

t.test('an MPI that is not there', { skip: withoutMpich }, async (t) => {
  const root = install(t)
  prebuild(root, 'lateforge_mpi_mpich')
  // Where the loader looks first there are files of the library's names, which it cannot use.
  write(root, { 'mpi/libmpich.so.12': 'none', 'mpi/libmpi.so.12': 'none' })
  const broken = { LD_LIBRARY_PATH: path.join(root, 'mpi') }
  const absent = join(root, { ...byMpich, ...broken })
  t.match(absent, { code: 'ERR_GROUP', details: { libraries: ['libmpich.so.12', 'libmpi.so.12'] } })
  t.match(
    absent.message,
    /its library cannot be loaded: \S*libmpich\.so\.12: .*; \S*libmpi\.so\.12: .*apt-get install libmpich12/,
  )
  t.match(absent.message, /LATEFORGE_MPI=openmpi takes Open MPI instead$/)
  const idle = doctor(root, broken)
  t.match(check(idle, '  mpich'), { ok: true, found: /apt-get install libmpich12/ }, 'nobody needs it')
  t.equal(idle.status, 0)
  t.match(check(doctor(root, { ...byMpich, ...broken }), '  mpich'), { ok: false })
})

t.test('one process uses one MPI', { skip: withoutMpich || withoutRanks }, async (t) => {
  const root = install(t)
  prebuild(root)
  const second = told(
    root,
    `const { native } = await lib('native')
    return [['libmpi.so.40'], ['libnothing.so', 'libmpich.so.12'], ['libmpi.so.40']].map((names) => native().shareLibrary(names))`,
  )
  t.match(second.result, [[], [/already uses libmpi\.so\.40/, /already uses libmpi\.so\.40/], []])
})

t.test('doctor', async (t) => {
  const root = install(t)
  prebuild(root)
  const found = doctor(root)
  t.match(check(found, 'addon')?.found, `prebuild for ${platform}: ${root}/prebuilds/${platform}/lateforge.node`)
  t.match(check(found, 'system')?.found, process.platform === 'linux' ? /(glibc \d+\.\d+|musl)$/ : /./)
  const asked = doctor(root, { LATEFORGE_ISA: 'portable' })
  t.match(check(asked, 'instructions'), { ok: true, found: /^portable/ })

  rmSync(path.join(root, 'prebuilds'), { recursive: true })
  const lost = doctor(root)
  t.match(check(lost, 'addon'), { ok: false, found: /next: +npm install lateforge/ })
  t.equal(lost.status, 5)
  t.match(lost.stderr, /^error ERR_NATIVE {2}the native addon is missing/)

  t.comment('a build that cannot tell what the processor has is a failure')
  t.match(instructions('portable', 'avx2', ''), { ok: false, found: /^portable; the processor has avx2: this build/ })
  t.match(instructions('avx2', 'avx512', ''), { ok: false })
  t.match(instructions('avx2', 'avx2', ''), { ok: true, found: 'avx2; the processor has avx2' })
  t.match(instructions('portable', 'avx2', 'portable'), { ok: true, found: /by LATEFORGE_ISA$/ })
  t.match(instructions('portable', undefined, ''), { ok: true, found: 'portable' })
})
