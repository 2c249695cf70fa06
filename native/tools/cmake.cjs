// Builds the addon with the variables of CMake's presets (CMakePresets.json): through cmake-js, and for other platforms,
// of which that knows nothing, by CMake alone.
// Usage: node native/tools/cmake.cjs [--product] [output folder]      Options for CMake: LATEFORGE_CMAKE='-DLF_BENCH=ON …'
// --product: without the native tests and what only tests need.
// --target NAME: the product for a platform of targets.cjs, by zig.
// --sanitize: what runs with AddressSanitizer and UndefinedBehaviorSanitizer, in build/sanitized, its addon in tree/ below.
//   Node must preload the library that tree/runtime names. Exit code 3, with the reason, where that does not work.
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
const preset = values.sanitize ? 'sanitized' : 'default'
const build = path.join(root, 'build', values.target ?? (values.sanitize ? 'sanitized' : 'cmake'))
const tree = path.join(build, 'tree')
const output = positionals[0] ? path.resolve(positionals[0]) : values.target && path.join(tree, 'build/Release')
const options = (process.env.LATEFORGE_CMAKE ?? '').split(/\s+/).filter(Boolean)
// Ninja where it is installed: it builds several targets at a time, and sees faster what is to do.
const ninja = spawnSync('ninja', ['--version']).status === 0
const jobs = String(os.availableParallelism())
const env = { ...process.env, CMAKE_GENERATOR: process.env.CMAKE_GENERATOR ?? (ninja ? 'Ninja' : 'Unix Makefiles') }

function cmake(...args) {
  const { status, error } = spawnSync('cmake', args, { cwd: root, env, stdio: ['ignore', 'inherit', 'inherit'] })
  if (error) process.stderr.write(`cmake: ${error.message}\n`)
  if (status !== 0) process.exit(status ?? 1)
}

/** What a preset and those that it inherits from set. */
function variablesOf(name) {
  const presets = JSON.parse(fs.readFileSync(path.join(root, 'CMakePresets.json'), 'utf8')).configurePresets
  const { inherits, cacheVariables } = presets.find((one) => one.name === name)
  const own = Object.entries(cacheVariables).map(([key, value]) => [key, value.replace(/\$\{sourceDir\}/g, root)])
  return { ...(inherits && variablesOf(inherits)), ...Object.fromEntries(own) }
}

function cmakeJs(verb, ...more) {
  const cli = path.join(path.dirname(require.resolve('cmake-js/package.json', { paths: [root] })), 'bin/cmake-js')
  const { CMAKE_JS_INC, ...variables } = variablesOf(preset) // cmake-js has the headers too
  const definitions = [...Object.entries(variables).map(([key, value]) => `-D${key}=${value}`), ...options]
  const args = [
    cli,
    verb,
    '-d',
    root,
    '-O',
    build,
    '-p',
    jobs,
    ...definitions.map((one) => one.replace(/^-D/, '--CD')),
    ...more,
  ]
  const { status } = spawnSync(process.execPath, args, { cwd: root, env, stdio: ['ignore', 'inherit', 'inherit'] })
  if (status !== 0) process.exit(status ?? 1)
}

/** What CMake is told of a target. */
function toolchain(name) {
  if (!targets[name]) throw new Error(`unknown target ${name}, expected ${Object.keys(targets).join(', ')}`)
  return Object.entries(zigVariables(targets[name].zig)).map(([key, value]) => `-D${key}=${value}`)
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

if (values.target) {
  try {
    options.unshift('-B', build, ...toolchain(values.target))
  } catch (error) {
    process.stderr.write(`cmake: ${error.message}\n`)
    process.exit(1)
  }
}
if (values.sanitize) {
  const runtime = sanitizerRuntime()
  fs.mkdirSync(tree, { recursive: true })
  fs.writeFileSync(path.join(tree, 'runtime'), runtime)
}
if (output) options.unshift(`-DLF_OUTPUT=${output}`)
if (values.target) {
  cmake('--preset', preset, ...options)
  cmake('--build', build, '--target', 'product', '--parallel', jobs)
} else {
  cmakeJs('configure')
  cmakeJs('build', ...(values.sanitize ? ['-T', 'sanitized'] : values.product ? ['-T', 'product'] : []))
}
