// The whole suite: native tests (ctest), then TypeScript tests (tap, compiled first). Ends with one plain line.
// Usage: node test/run.cjs [part of a file name …]
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
  } else {
    failed += Number(counts[1])
    passed += Number(counts[2]) - Number(counts[1])
  }
}

if (filters.length === 0) {
  // Compiles every CUDA kernel; fetches NVIDIA's compiler where none is installed (native/tools/cuda-toolkit.cjs).
  const cuda = capture(process.execPath, ['native/tools/cuda.cjs', '--optional'])
  if (cuda.status === 3) skipped++
  else if (cuda.status !== 0) failed++
  else {
    passed++
    nativeTests('build/cuda', '-R', '^cuda_(runtime|lt|nccl.*)$') // the others there are those of build/cmake
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

// One file at a time: the native thread team already uses every core.
for (const file of testFiles(path.join(root, 'build/js/test')).sort()) {
  const name = path.relative(path.join(root, 'build/js'), file)
  if (filters.length && !filters.some((f) => name.includes(f))) continue
  const started = Date.now()
  const result = spawnSync(process.execPath, [file], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    timeout: 900_000,
    env: { ...process.env, TAP: '1', TAP_TIMEOUT: '840' },
  })
  // Top-level TAP lines are the named tests of the file.
  const lines = result.stdout.split('\n')
  const ok = lines.filter((l) => /^ok /.test(l))
  const bad = lines.filter((l) => /^not ok /.test(l)).length
  const skips = ok.filter((l) => /# (SKIP|TODO)/i.test(l))
  const broken = bad === 0 && (result.status !== 0 || ok.length === 0) ? 1 : 0
  passed += ok.length - skips.length
  failed += bad + broken
  skipped += skips.length
  console.log(
    `${bad + broken ? 'FAIL' : 'ok  '} ${name}: ${ok.length - skips.length} passed, ${bad + broken} failed, ${skips.length} skipped (${((Date.now() - started) / 1000).toFixed(1)} s)`,
  )
  for (const line of skips) console.log(`     ${line.trim()}`)
  if (bad + broken) console.log(result.stdout, result.stderr)
}

console.log(`${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}`)
process.exit(failed ? 1 : 0)
