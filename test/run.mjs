/**
 * Runs parts of the suite, each by its own runner, and ends with one line of sums. Docs: docs/testing.md.
 * Usage: node test/run.mjs [tests] [lint] [cuda] [sanitized] [long]      default: tests
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Parser } from 'tap-parser'

const jobs = `${os.availableParallelism()}`
const total = { passed: 0, failed: 0, skipped: 0 }
const times = []

/** Runs a command whose success is one test, and 3 its being skipped. @returns whether what follows from it can run */
function must(command, ...args) {
  const { status, error } = spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'] })
  if (error) console.log(`${command}: ${error.message}`)
  total[status === 0 ? 'passed' : status === 3 ? 'skipped' : 'failed']++
  return status === 0
}

/** Native tests of a preset, a program each. */
function ctest(preset) {
  const report = `build/results/${preset}.xml`
  mkdirSync('build/results', { recursive: true })
  rmSync(report, { force: true })
  spawnSync('ctest', ['--preset', preset, '-j', jobs, '--output-junit', path.resolve(report)], { stdio: 'inherit' })
  const tests = existsSync(report) ? readFileSync(report, 'utf8').split('<testcase ').slice(1) : []
  if (tests.length === 0) total.failed++ // it says why
  for (const test of tests) {
    const [, status] = /status="(\w+)"/.exec(test)
    // A program that is not there counts as skipped for ctest.
    const skipped = status === 'notrun' && test.includes('<skipped message="SKIP_RETURN_CODE')
    total[skipped ? 'skipped' : status === 'run' ? 'passed' : 'failed']++
    if (skipped)
      console.log(`     skipped: ${/name="(\w+)"/.exec(test)[1]}: ${/^no CUDA device: .*$/m.exec(test)?.[0] ?? ''}`)
  }
}

/** Test files, several at a time: the top-level tests of each are counted. */
async function tap(files, env = {}) {
  // A thread for each file beside another: together they use every core.
  const threads = { LATEFORGE_THREADS: process.env.LATEFORGE_THREADS ?? '1' }
  const child = spawn('node_modules/.bin/tap', ['--reporter=tap', `--jobs=${jobs}`, ...files], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...threads, ...env },
  })
  const parser = new Parser()
  let [name, found, skips] = ['', {}, []]
  parser.on('child', (file) => {
    ;[name, found, skips] = [file.name, { passed: 0, failed: 0, skipped: 0 }, []]
    file.on('assert', ({ ok, name, skip, todo }) => {
      found[!ok && !todo ? 'failed' : skip || todo ? 'skipped' : 'passed']++
      if (skip) skips.push(`     skipped: ${name}: ${skip}`)
    })
  })
  parser.on('assert', ({ ok, time }) => {
    const { passed, failed, skipped } = found
    // It may also end before its tests do, after them with an error, or without having any.
    const wrong = failed || (ok && passed + skipped > 0 ? 0 : 1)
    total.passed += passed
    total.failed += wrong
    total.skipped += skipped
    const counts = `${passed} passed, ${wrong} failed, ${skipped} skipped (${(time / 1000).toFixed(1)} s)`
    console.log([`${wrong ? 'FAIL' : 'ok  '} ${name}: ${counts}`, ...skips].join('\n'))
    const said = `.tap/test-results/${name}.tap`
    if (wrong && existsSync(said)) console.log(readFileSync(said, 'utf8'))
  })
  child.stdout.pipe(parser)
  const [code] = await once(child, 'close')
  if (code !== 0 && total.failed === 0) total.failed++ // tap itself
}

/** A minute each: in `long` only. */
const slow = ['test/distributed/faults.test.ts', 'test/package/packed.test.ts']

const parts = {
  async tests() {
    ctest('default')
    const files = readdirSync('test', { recursive: true }).map((name) => path.join('test', name))
    await tap(files.filter((file) => file.endsWith('.test.ts') && !slow.includes(file)))
  },
  lint() {
    for (const script of ['lint:biome', 'lint:assets', 'lint:format', 'lint:tidy', 'docs'])
      must('npm', 'run', '--silent', script)
  },
  /** nvcc compiles every kernel; what needs no GPU runs. */
  cuda() {
    if (must(process.execPath, 'native/tools/cuda.cjs', '--optional')) ctest('cuda')
  },
  /**
   * Runtime, CPU kernels and the CUDA kernels on the host with AddressSanitizer and UndefinedBehaviorSanitizer. The addon
   * lies in a tree of its own, from which test/plain.mjs runs the test files.
   */
  async sanitized() {
    if (!must(process.execPath, 'native/tools/cmake.cjs', '--sanitize')) return
    ctest('sanitized')
    const tree = 'build/sanitized/tree'
    for (const name of ['build/js', 'package.json']) cpSync(name, `${tree}/${name}`, { recursive: true })
    const names = [
      'tensor/ops',
      'tensor/hostile',
      'tensor/endings',
      'tensor/dropout',
      'data/shards',
      'cuda/step',
      'indexing/fuzz',
    ]
    await tap(
      names.map((name) => `test/${name}.test.ts`),
      { LATEFORGE_TEST_SANITIZED: '1' },
    )
    // What is threads and locks, with ThreadSanitizer.
    if (must('cmake', '--build', '--preset', 'threads', '-j', jobs)) ctest('threads')
  },
  /** Files that take a minute each, and those that do more when there is time (test/long.ts). */
  async long() {
    const more = ['test/cuda/trajectory.test.ts', 'test/serve/load.test.ts', 'test/serve/hostile.test.ts']
    await tap([...slow, ...more], { LATEFORGE_TEST_LONG: '1' })
  },
}

const wanted = process.argv.length > 2 ? process.argv.slice(2) : ['tests']
for (const name of wanted) {
  if (!parts[name]) throw new Error(`unknown part "${name}", expected ${Object.keys(parts).join(', ')}`)
  const started = Date.now()
  try {
    await parts[name]()
  } catch (error) {
    total.failed++
    console.log(error)
  }
  times.push(`${name} ${((Date.now() - started) / 1000).toFixed(0)} s`)
}
console.log(times.join(', '))
const { passed, failed, skipped } = total
console.log(`${passed} passed, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}`)
process.exit(failed ? 1 : 0)
