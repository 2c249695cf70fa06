// The whole suite: native tests (ctest), TypeScript tests (tap, compiled first), and a part of both once more with
// AddressSanitizer and UndefinedBehaviorSanitizer. Ends with one plain line.
// Usage: node test/run.cjs [part of a file name …]     'sanitized' takes all that runs with sanitizers, and with parts of
// names just those files. It runs on the Node that it is started with: npx --yes -p node@24 -- node test/run.cjs
'use strict'
const { spawnSync } = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')

const root = path.resolve(__dirname, '..')
const filters = process.argv.slice(2)
let [passed, failed, skipped] = [0, 0, 0]

function capture(command, args) {
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  process.stdout.write(result.stdout)
  return result
}

function nativeTests(folder, ...options) {
  const ctest = capture('ctest', ['--test-dir', folder, ...options, '--output-on-failure', '--timeout', '600'])
  const counts = /(\d+) tests? failed out of (\d+)/.exec(ctest.stdout)
  if (!counts) {
    console.log('ctest did not run')
    failed++
    return
  }
  const skips = ctest.stdout.match(/\*\*\*Skipped/g)?.length ?? 0
  failed += Number(counts[1])
  skipped += skips
  passed += Number(counts[2]) - Number(counts[1]) - skips
  if (skips === 0) return
  const log = fs.readFileSync(path.join(root, folder, 'Testing/Temporary/LastTest.log'), 'utf8')
  for (const reason of new Set(log.match(/^no CUDA device: .*$/gm) ?? [])) console.log(`     skipped: ${reason}`)
}

/** Runs a compiled test file that lies in `folder`; counts its top-level TAP lines, the named tests of the file. */
function tapTests(folder, name, label = name, env = {}) {
  const started = Date.now()
  const result = spawnSync(process.execPath, [path.join(folder, name)], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    timeout: 900_000,
    env: { ...process.env, TAP: '1', TAP_TIMEOUT: '840', ...env },
  })
  const lines = result.stdout.split('\n')
  const ok = lines.filter((l) => /^ok /.test(l))
  const bad = lines.filter((l) => /^not ok /.test(l)).length
  const skips = ok.filter((l) => /# (SKIP|TODO)/i.test(l))
  const broken = bad === 0 && (result.status !== 0 || ok.length === 0) ? 1 : 0
  passed += ok.length - skips.length
  failed += bad + broken
  skipped += skips.length
  console.log(
    `${bad + broken ? 'FAIL' : 'ok  '} ${label}: ${ok.length - skips.length} passed, ${bad + broken} failed, ${skips.length} skipped (${((Date.now() - started) / 1000).toFixed(1)} s)`,
  )
  for (const line of skips) console.log(`     ${line.trim()}`)
  if (bad + broken) console.log(result.stdout, result.stderr)
}

function testFiles(folder) {
  return fs
    .readdirSync(folder, { withFileTypes: true })
    .flatMap((e) =>
      e.isDirectory()
        ? testFiles(path.join(folder, e.name))
        : e.name.endsWith('.test.js')
          ? [path.join(folder, e.name)]
          : [],
    )
}

/**
 * The addon, core, the CPU and the host emulation with sanitizers, in a build of their own: native tests, the op suite, hostile
 * input, damaged shards and training steps. A tree of its own (build/sanitized/root) is what the tests load them from.
 */
function sanitizedTests() {
  const build = capture(process.execPath, ['native/tools/cmake.cjs', '--sanitize'])
  if (build.status !== 0) {
    if (build.status === 3) skipped++
    else failed++
    return
  }
  const wanted = filters.filter((f) => f !== 'sanitized')
  if (wanted.length === 0)
    nativeTests('build/sanitized', '-R', '^(cuda_|arena|queue|runtime|team|kernels$|group|shard)', '-j2')
  const tree = path.join(root, 'build/sanitized/root')
  const runtime = fs.readFileSync(path.join(tree, 'runtime'), 'utf8')
  fs.rmSync(path.join(tree, 'build/js'), { recursive: true, force: true })
  fs.cpSync(path.join(root, 'build/js'), path.join(tree, 'build/js'), { recursive: true })
  fs.cpSync(path.join(root, 'package.json'), path.join(tree, 'package.json'))
  const env = {
    LD_PRELOAD: runtime,
    ASAN_OPTIONS: 'detect_leaks=0', // Node's own
    UBSAN_OPTIONS: 'print_stacktrace=1',
  }
  const names = ['tensor/ops', 'tensor/hostile', 'tensor/endings', 'tensor/dropout', 'data/shards', 'cuda/step']
  for (const name of names.filter((n) => wanted.length === 0 || wanted.some((f) => n.includes(f))))
    tapTests(path.join(tree, 'build/js'), `test/${name}.test.js`, `sanitized ${name}`, env)
}

if (filters.length === 0) {
  // Compiles every CUDA kernel; fetches NVIDIA's compiler where none is installed (native/tools/cuda-toolkit.cjs).
  const cuda = capture(process.execPath, ['native/tools/cuda.cjs', '--optional'])
  if (cuda.status === 3) skipped++
  else if (cuda.status !== 0) failed++
  else {
    passed++
    // The others there are those of build/cmake.
    nativeTests('build/cuda', '-R', '^(cuda_(runtime|lt|nccl.*)$|gpu_)')
  }
  nativeTests('build/cmake')
}

fs.rmSync(path.join(root, 'build/js'), { recursive: true, force: true })
const compiled = capture(process.execPath, [
  'node_modules/typescript/bin/tsc',
  '-p',
  'tsconfig.json',
  '--noEmit',
  'false',
  '--outDir',
  'build/js',
])
if (compiled.status !== 0) failed++

// One file at a time: the native thread team already uses every core.
const compiledTo = path.join(root, 'build/js')
const plain = filters.includes('sanitized') ? [] : testFiles(path.join(compiledTo, 'test'))
for (const file of plain.sort()) {
  const name = path.relative(compiledTo, file)
  if (filters.length && !filters.some((f) => name.includes(f))) continue
  tapTests(compiledTo, name)
}
if (filters.length === 0 || filters.includes('sanitized')) sanitizedTests()

console.log(`${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}`)
process.exit(failed ? 1 : 0)
