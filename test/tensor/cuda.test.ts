/** The CUDA library without a GPU: what it and the scripts that build it say, and that they never pretend. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import t from 'tap'
import { backendPath } from '../../lib/backends.js'
import { native } from '../../lib/native.js'
import { gpuOfRank } from '../../lib/tensor/device.js'
import { Device } from '../../lib/tensor/index.js'
import { gpu } from './gpu.js'

const require = createRequire(path.resolve('package.json'))
const library = backendPath('lateforge_cuda')

t.test('names of devices', async (t) => {
  for (const name of ['gpu', 'cuda:', 'cuda:01', 'cuda:-1', 'cuda:1.5', 'cpu:0', 'toString', ''])
    t.throws(() => Device.open(name), { code: 'ERR_DEVICE', message: /is unknown/ }, name)
  t.equal(Device.open('cpu'), Device.open('cpu'))
})

t.test('cuda is the GPU of this rank among those of its machine', async (t) => {
  t.equal(gpuOfRank(4, {}), 0, 'no launcher')
  t.equal(gpuOfRank(4, { OMPI_COMM_WORLD_LOCAL_RANK: '3', OMPI_COMM_WORLD_RANK: '7' }), 3)
  t.equal(gpuOfRank(4, { MPI_LOCALRANKID: '2' }), 2)
  t.equal(gpuOfRank(8, { OMPI_COMM_WORLD_LOCAL_RANK: '5', SLURM_LOCALID: '0' }), 5, 'mpirun within an allocation')
  t.equal(gpuOfRank(1, { SLURM_LOCALID: '3' }), 0, 'a launcher that shows every rank its own')
  t.equal(gpuOfRank(0, { SLURM_LOCALID: '3' }), 0)
  t.equal(gpuOfRank(4, { SLURM_LOCALID: 'x' }), 0)
})

t.test('a device that is not there says why', async (t) => {
  if (!existsSync(library)) {
    t.throws(() => Device.open('cuda'), { code: 'ERR_DEVICE', message: /build:cuda/ })
    return
  }
  const { name, devices, facts } = native().backendInfo(library)
  t.equal(name, 'cuda')
  const told = Object.fromEntries(facts)
  t.match(told['built for'], /^CUDA \d+\.\d+, sm_80 .*compute_\d+/)
  t.match(told.cuBLASLt, /version \d+|LATEFORGE_CUDA_LIB_PATH/)
  t.match(told.NCCL, /version \d+|LATEFORGE_CUDA_LIB_PATH/)
  t.match(told.devices, new RegExp(`^${devices}\\b`))
  t.throws(() => Device.open('cuda:999'), { code: 'ERR_DEVICE' })
  if (devices > 0) return
  t.match(told.devices, /^0 \(.+\)$/, 'and why')
  t.throws(() => Device.open('cuda'), { code: 'ERR_DEVICE', message: /no NVIDIA driver|no device|too old/ })
  t.ok(gpu().reason)
})

const programs = existsSync('build/cuda') ? readdirSync('build/cuda').filter((name) => /^gpu_\w+_test$/.test(name)) : []
t.test(
  'programs for a GPU say that there is none, and are skipped',
  { skip: gpu().device ? 'there is one' : programs.length === 0 && 'not built' },
  async (t) => {
    for (const name of programs) {
      const { status, stdout } = spawnSync(path.resolve('build/cuda', name), { encoding: 'utf8' })
      t.equal(status, 77, name)
      t.match(stdout, /^no CUDA device: .+/m, name)
    }
  },
)

t.test(
  'the library loads anywhere and exports one function',
  { skip: !existsSync(library) && 'not built' },
  async (t) => {
    const symbols = spawnSync('nm', ['-D', '--defined-only', library], { encoding: 'utf8' }).stdout
    t.match(symbols, /^\S+ T lateforge_backend$/m)
    t.equal(symbols.trim().split('\n').length, 1)
    const needed = spawnSync('ldd', [library], { encoding: 'utf8' }).stdout
    t.notMatch(needed, /cuda|cublas|nccl/)
  },
)

t.test(
  'libraries are looked for where the user says first',
  { skip: !existsSync(library) && 'not built' },
  async (t) => {
    const folder = t.testdir({ 'libcublasLt.so.13': 'not a library' })
    const code = `import { native } from './build/js/lib/native.js'
    console.log(Object.fromEntries(native().backendInfo(${JSON.stringify(library)}).facts).cuBLASLt)`
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
      encoding: 'utf8',
      env: { ...process.env, LATEFORGE_CUDA_LIB_PATH: folder },
    })
    t.match(stdout, /version \d+|libcublasLt\.so\.13: (file too short|invalid ELF header)/)
  },
)

t.test('no toolkit and no network: the reason in plain words, and nothing left behind', async (t) => {
  const cache = path.join(t.testdir({}), 'cache')
  const result = spawnSync(process.execPath, ['native/tools/cuda-toolkit.cjs'], {
    encoding: 'utf8',
    env: {
      ...process.env,
      ...{
        CUDA_HOME: '',
        CUDA_PATH: '',
        XDG_CACHE_HOME: cache,
        PIP_INDEX_URL: 'http://127.0.0.1:9/',
        PIP_RETRIES: '0',
      },
    },
  })
  if (result.status === 0) return t.match(result.stdout, /^\//, 'an installed one')
  t.equal(result.status, 1)
  t.match(result.stderr, /no CUDA toolkit .*; pip cannot fetch the wheels|No module named pip/)
  t.same(readdirSync(path.join(cache, 'lateforge')), [])
})

t.test('ptxas reports: spills, register use and missing bounds are problems', async (t) => {
  const { checkKernels } = require('./native/tools/ptxas.cjs')
  const folder = t.testdir({})
  const report = (registers: number, spills: number, threads: number) =>
    [
      "ptxas info    : Compiling entry function '_Z1kPf' for 'sm_90'",
      `    0 bytes stack frame, ${spills} bytes spill stores, 0 bytes spill loads`,
      `ptxas info    : Used ${registers} registers, used 0 barriers`,
      ...(threads ? ['.entry _Z1kPf', `.maxntid ${threads}`] : []),
    ].join('\n')
  const problems = (text: string): string[] => {
    mkdirSync(folder, { recursive: true })
    writeFileSync(path.join(folder, 'k.o.ptxas'), text)
    return checkKernels(folder).problems
  }
  t.same(problems(report(64, 0, 1024)), [])
  t.match(problems(report(65, 0, 1024)), [/65 registers x 1024 threads/])
  t.match(problems(report(64, 4, 256)), [/4 bytes are spilled/])
  t.match(problems(report(64, 0, 0)), [/no launch bounds/])
})
