// Builds the addon: configure, then build, through cmake-js. The only build description is CMakeLists.txt.
// Usage: node native/tools/cmake.cjs [--product] [output folder]      Options for CMake: LATEFORGE_CMAKE='-DLF_BENCH=ON …'
// --product: without the native tests and what only tests need.
// --target NAME: the product for a platform of targets.cjs, by zig and CMake alone: cmake-js knows this machine only.
// --sanitize: what runs with AddressSanitizer and UndefinedBehaviorSanitizer, in build/sanitized, its addon in root/ below.
//   Node must preload the library that root/runtime names. Exit code 3, with the reason, where that does not work.
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { targets } = require('./targets.cjs')
const { zigVariables } = require('./zig.cjs')

const root = path.resolve(__dirname, '../..')
const { values, positionals } = parseArgs({
  options: { product: { type: 'boolean' }, sanitize: { type: 'boolean' }, target: { type: 'string' } },
  allowPositionals: true,
})
const build = path.join(root, values.target ? `build/${values.target}` : values.sanitize ? 'build/sanitized' : 'build/cmake')
const tree = path.join(build, 'root')
const output = path.resolve(positionals[0] ?? path.join(values.sanitize || values.target ? tree : root, 'build/Release'))
const options = (process.env.LATEFORGE_CMAKE ?? '').split(/\s+/).filter(Boolean)

function cmakeJs(verb, ...more) {
  const cli = path.join(path.dirname(require.resolve('cmake-js/package.json', { paths: [root] })), 'bin/cmake-js')
  const args = [cli, verb, '-d', root, '-O', build, `--CDLF_OUTPUT=${output}`, '-p', String(os.availableParallelism()), ...more]
  for (const option of options) args.push(option.replace(/^-D/, '--CD'))
  const result = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
  if (result.status !== 0) process.exit(result.status ?? 1)
}

function crossBuild(name) {
  if (!targets[name]) throw new Error(`unknown target ${name}, expected ${Object.keys(targets).join(', ')}`)
  const variables = {
    ...zigVariables(targets[name].zig),
    LF_OUTPUT: output,
    CMAKE_JS_INC: path.join(root, 'node_modules/node-api-headers/include'),
  }
  const definitions = Object.entries(variables).map(([key, value]) => `-D${key}=${value}`)
  for (const args of [
    ['-S', root, '-B', build, ...definitions, ...options],
    ['--build', build, '--target', 'product', '--parallel', String(os.availableParallelism())],
  ]) {
    const { status, error } = spawnSync('cmake', args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] })
    if (error) process.stderr.write(`cmake: ${error.message}\n`)
    if (status !== 0) process.exit(status ?? 1)
  }
}

/** The library of GCC's AddressSanitizer, once Node has been seen to run with it and with code that UBSan checks. */
function sanitizerRuntime() {
  const skip = (reason) => {
    process.stdout.write(`sanitized: skipped: ${reason}\n`)
    process.exit(3)
  }
  const compiler = process.env.CXX || 'c++'
  const runtime = spawnSync(compiler, ['-print-file-name=libasan.so'], { encoding: 'utf8' }).stdout?.trim()
  if (!runtime || !path.isAbsolute(runtime)) skip(`${compiler} has no libasan.so`)
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'lateforge-'))
  try {
    const [source, program] = ['probe.cc', 'probe'].map((name) => path.join(folder, name))
    fs.writeFileSync(source, 'int main() { return 0; }\n')
    const compiled = spawnSync(compiler, ['-fsanitize=address,undefined', source, '-o', program], { encoding: 'utf8' })
    if (compiled.status !== 0) skip(`${compiler} cannot link sanitizers: ${compiled.stderr?.trim().split('\n').at(-1)}`)
    const limits = { encoding: 'utf8', timeout: 60_000 }
    const ran = spawnSync(program, limits)
    if (ran.status !== 0) skip(`a program with sanitizers does not run: ${ran.stderr?.trim().split('\n')[0]}`)
    const env = { ...process.env, LD_PRELOAD: runtime, ASAN_OPTIONS: 'detect_leaks=0' }
    const node = spawnSync(process.execPath, ['-p', '6 * 7'], { ...limits, env })
    if (node.stdout?.trim() !== '42') skip(`Node does not run with ${runtime}: ${node.stderr?.trim().split('\n')[0]}`)
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
  return runtime
}

fs.mkdirSync(output, { recursive: true })
if (values.target) {
  try {
    crossBuild(values.target)
  } catch (error) {
    process.stderr.write(`cmake: ${error.message}\n`)
    process.exit(1)
  }
  process.exit(0)
}
if (values.sanitize) {
  fs.writeFileSync(path.join(tree, 'runtime'), sanitizerRuntime())
  options.push('-DLF_SANITIZE=address,undefined')
}
cmakeJs('configure')
cmakeJs('build', ...(values.sanitize ? ['-T', 'sanitized'] : values.product ? ['-T', 'product'] : []))
