// Builds lateforge_cuda.so beside the addon, and checks what ptxas says about its kernels.
// Usage: node native/tools/cuda.cjs [--optional] [--arch=90] [--output=folder]     default: 80;90, build/Release
// --optional: where there is no toolkit and none can be fetched, says so and exits with code 3.
'use strict'
const { spawnSync } = require('node:child_process')
const os = require('node:os')
const path = require('node:path')
const { findToolkit } = require('./cuda-toolkit.cjs')
const { checkKernels } = require('./ptxas.cjs')

const root = path.resolve(__dirname, '../..')
const usual = '80;90'
const option = (name) => process.argv.find((a) => a.startsWith(`--${name}=`))?.slice(name.length + 3)
const arch = option('arch') ?? usual
const build = path.join(root, arch === usual ? 'build/cuda' : `build/cuda-${arch.replaceAll(';', '-')}`)
const output = path.resolve(option('output') ?? path.join(root, 'build/Release'))

function run(command, args) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] })
  if (result.status === 0) return
  process.stderr.write(`cuda: ${command} failed${result.error ? `: ${result.error.message}` : ''}\n`)
  process.exit(1)
}

const { folder, version, reason } = findToolkit()
if (!folder) {
  const optional = process.argv.includes('--optional')
  process.stdout.write(`cuda: not compiled: ${reason}\n`)
  process.exit(optional ? 3 : 1)
}
const started = Date.now()
run('cmake', [
  ...['-S', path.join(root, 'native/cuda'), '-B', build],
  ...['-DLATEFORGE_CUDA=ON', `-DLATEFORGE_CUDA_TOOLKIT=${folder}`, `-DLATEFORGE_CUDA_ARCH=${arch}`],
  `-DLF_OUTPUT=${output}`,
])
const tests = ['attention', 'ceilings', 'gemm', 'maxsim', 'nccl', 'primitives', 'ranks'].map((name) => `gpu_${name}_test`)
const ladders = ['attention', 'maxsim'].map((name) => `gpu_${name}_ladder`)
const targets = ['lateforge_cuda', 'cuda_programs', ...tests, ...ladders]
run('cmake', ['--build', build, '--target', ...targets, '-j', String(os.availableParallelism())])
const { kernels, problems } = checkKernels(build)
const seconds = ((Date.now() - started) / 1000).toFixed(0)
process.stdout.write(`cuda: CUDA ${version}, sm ${arch}, ${kernels} kernels, ${problems.length} problems, ${seconds} s\n`)
for (const problem of problems) process.stdout.write(`cuda: ${problem}\n`)
process.exit(problems.length ? 1 : 0)
