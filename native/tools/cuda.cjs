// Builds lateforge_cuda.so beside the addon, and checks what ptxas says about its kernels.
// Usage: node native/tools/cuda.cjs [--optional] [--arch=90] [--output=folder]     default: 80;90, build/Release
// --optional: where there is no toolkit and none can be fetched, says so and exits with code 3.
// --target=NAME: the library alone, for its package: linked by zig for the old C library that targets.cjs names, to
//   build/cuda-NAME/out. nvcc's host code is that of this machine, so NAME is its platform.
'use strict'
const { spawnSync } = require('node:child_process')
const os = require('node:os')
const path = require('node:path')
const { findToolkit } = require('./cuda-toolkit.cjs')
const { checkKernels } = require('./ptxas.cjs')
const { targets } = require('./targets.cjs')
const { zigVariables } = require('./zig.cjs')

const root = path.resolve(__dirname, '../..')
const usual = '80;90'
const option = (name) => process.argv.find((a) => a.startsWith(`--${name}=`))?.slice(name.length + 3)
const arch = option('arch') ?? usual
const target = option('target')
const build = path.join(
  root,
  ['build/cuda', ...(target ? [target] : []), ...(arch === usual ? [] : arch.split(';'))].join('-'),
)
const output = path.resolve(option('output') ?? (target ? path.join(build, 'out') : path.join(root, 'build/Release')))

function run(command, args) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] })
  if (result.status === 0) return
  process.stderr.write(`cuda: ${command} failed${result.error ? `: ${result.error.message}` : ''}\n`)
  process.exit(1)
}

/** What CMake is told of the target. */
function toolchain() {
  try {
    if (target !== `${process.platform}-${process.arch}`) throw new Error(`${target} is not this machine`)
    return Object.entries(zigVariables(targets[target].zig)).map(([key, value]) => `-D${key}=${value}`)
  } catch (error) {
    process.stderr.write(`cuda: ${error.message}\n`)
    process.exit(1)
  }
}

const { folder, version, reason } = findToolkit()
if (!folder) {
  const optional = process.argv.includes('--optional')
  process.stdout.write(`cuda: not compiled: ${reason}\n`)
  process.exit(optional ? 3 : 1)
}
const started = Date.now()
run('cmake', [
  ...['--preset', 'cuda', '-B', build, `-DCMAKE_RUNTIME_OUTPUT_DIRECTORY=${build}`],
  ...[`-DLATEFORGE_CUDA_TOOLKIT=${folder}`, `-DLATEFORGE_CUDA_ARCH=${arch}`],
  ...[`-DLF_OUTPUT=${output}`, ...(target ? toolchain() : [])],
])
run('cmake', [
  '--build',
  build,
  '--target',
  target ? 'lateforge_cuda' : 'cuda',
  '-j',
  String(os.availableParallelism()),
])
const { kernels, problems } = checkKernels(build)
const seconds = ((Date.now() - started) / 1000).toFixed(0)
process.stdout.write(
  `cuda: CUDA ${version}, sm ${arch}, ${kernels} kernels, ${problems.length} problems, ${seconds} s\n`,
)
for (const problem of problems) process.stdout.write(`cuda: ${problem}\n`)
process.exit(problems.length ? 1 : 0)
