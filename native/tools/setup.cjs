// Makes a clean clone ready: compiler and CMake (Debian packages), npm packages, the native addon, the compiled
// TypeScript. Does only what is missing, so that it takes no time when nothing is. Where it may not install, it prints
// the one line to run.
// With --tests also what only tests need: native programs and backends, the compiled tests; Open MPI, MPICH and iproute2,
// without which tests of several ranks are skipped, and Chromium, without which those of pages are, no more.
// With --compile it installs nothing.
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')

const root = path.resolve(__dirname, '../..')
const log = (text) => process.stderr.write(`setup: ${text}\n`)

function fail(text) {
  log(text)
  process.exit(1)
}

function run(command, args, otherwise = fail) {
  log([command, ...args].join(' '))
  const started = Date.now()
  // Everything goes to stderr: stdout belongs to what the set-up was asked for.
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] })
  if (result.status !== 0) return otherwise(`${command} failed${result.error ? `: ${result.error.message}` : ''}`)
  log(`${command} took ${((Date.now() - started) / 1000).toFixed(1)} s`)
}

const works = (command) => spawnSync(command, [command === 'ip' ? '-V' : '--version'], { stdio: 'ignore' }).status === 0

/** Installs the packages whose command is missing; where that is not possible, `otherwise` says so. */
function systemPackages(wanted, otherwise) {
  const missing = Object.keys(wanted)
    .filter((command) => !works(command))
    .map((command) => wanted[command])
  if (missing.length === 0) return
  const line = `apt-get install -y --no-install-recommends ${missing.join(' ')}`
  if (process.getuid?.() !== 0 || !works('apt-get'))
    return otherwise(`missing ${missing.join(', ')}. As root run: ${line}`)
  run('apt-get', ['update', '-qq'], otherwise)
  run('apt-get', line.split(' ').slice(1), otherwise)
}

function npmPackages() {
  const folder = path.join(root, 'node_modules')
  if (fs.lstatSync(folder, { throwIfNoEntry: false })?.isSymbolicLink()) return // another checkout's: not ours to replace
  const stamp = path.join(folder, '.package-lock.json')
  if (fs.existsSync(stamp) && fs.statSync(stamp).mtimeMs >= fs.statSync(path.join(root, 'package-lock.json')).mtimeMs)
    return
  // Our own `prepare` would build once more; no dependency needs a script.
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'])
}

/** Newest modification below some paths, 0 when there are none. */
function newest(...paths) {
  let time = 0
  for (const name of paths) {
    const full = path.join(root, name)
    if (!fs.existsSync(full)) continue
    const stat = fs.statSync(full)
    if (!stat.isDirectory()) time = Math.max(time, stat.mtimeMs)
    else for (const entry of fs.readdirSync(full)) time = Math.max(time, newest(path.join(name, entry)))
  }
  return time
}

const tests = process.argv.includes('--tests')
const install = !process.argv.includes('--compile')
if (install) systemPackages({ 'g++': 'g++', cmake: 'cmake', make: 'make' }, fail)
if (install && tests) {
  const openMpi = { 'mpirun.openmpi': 'openmpi-bin', 'mpicxx.openmpi': 'libopenmpi-dev' }
  const mpich = { 'mpirun.mpich': 'mpich', 'mpicxx.mpich': 'libmpich-dev' }
  systemPackages({ ...openMpi, ...mpich, ip: 'iproute2' }, (text) =>
    log(`${text} (until then, tests of several ranks are skipped)`),
  )
  systemPackages({ chromium: 'chromium' }, (text) => log(`${text} (until then, tests of pages are skipped)`))
}
if (install) npmPackages()
// An MPI that was installed after the last build is found by the next one.
const transport = (mpi) => fs.existsSync(path.join(root, `build/Release/lateforge_mpi_${mpi}.so`))
const mpis = ['openmpi', 'mpich']
const withoutMpi =
  mpis.some((mpi) => works(`mpicxx.${mpi}`) && !transport(mpi)) || (works('mpicxx') && !mpis.some(transport))
const built = tests ? 'build/Release/.tests' : 'build/Release/lateforge.node'
if (withoutMpi || newest(built) < newest('native', 'CMakeLists.txt', ...(tests ? ['test/native'] : []))) {
  run(process.execPath, ['native/tools/cmake.cjs', ...(tests ? [] : ['--product'])])
  if (tests) fs.writeFileSync(path.join(root, built), '')
}
const tsc = (...options) => run(process.execPath, ['node_modules/typescript/bin/tsc', ...options])
if (tests && newest('build/js/.checked') < newest('lib', 'test', 'examples', 'bench', 'tsconfig.json')) {
  tsc(
    '-p',
    'tsconfig.json',
    '--noEmit',
    'false',
    '--outDir',
    'build/js',
    '--incremental',
    '--tsBuildInfoFile',
    'build/js/.tsbuildinfo',
  )
  fs.writeFileSync(path.join(root, 'build/js/.checked'), '')
}
if (newest('dist/index.js') === 0 || newest('build/.dist') < newest('lib', 'tsconfig.json', 'tsconfig.build.json')) {
  fs.rmSync(path.join(root, 'dist'), { recursive: true, force: true })
  tsc('-p', 'tsconfig.build.json', ...(tests ? ['--noCheck'] : [])) // types were checked with those of the tests
  fs.writeFileSync(path.join(root, 'build/.dist'), '')
}
