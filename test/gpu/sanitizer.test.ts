/** The stages under compute-sanitizer, with a pretend one: what it says, and how it ends, is what the check reports. */
import { spawnSync } from 'node:child_process'
import { chmodSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'

function verify(t: Test, stages: string, script: string | null, ...options: string[]) {
  const folder = t.testdir(script === null ? { out: {}, cache: {} } : { out: {}, 'compute-sanitizer': script })
  if (script !== null) chmodSync(path.join(folder, 'compute-sanitizer'), 0o755)
  const [out, calls] = [path.join(folder, 'out'), path.join(folder, 'calls')]
  const { status, stdout } = spawnSync(
    process.execPath,
    ['build/js/test/gpu/verify.js', '--out', out, '--only', stages, ...options],
    {
      encoding: 'utf8',
      env: {
        LATEFORGE_VERIFY_DEVICE: 'cuda-host',
        LATEFORGE_CUDA_LIB_PATH: script === null ? '' : folder,
        XDG_CACHE_HOME: path.join(folder, 'cache'),
        PATH: '/usr/bin:/bin',
        CALLS: calls,
      },
    },
  )
  return {
    status,
    stdout,
    read: (name: string) => JSON.parse(readFileSync(path.join(out, `${name}.json`), 'utf8')),
    calls: () => readFileSync(calls, 'utf8').trim().split('\n'),
  }
}

const pretend = (...lines: string[]) => `#!/bin/sh\necho "$@" >> "$CALLS"\n${lines.join('\n')}\n`
const help = '[ "$1" = --help ] && echo "  --kernel-name arg" && exit 0'
const problems = (found: { results: { problem: string }[] }) => found.results.map((r) => r.problem)

t.test('no compute-sanitizer: skipped, which is not passed', async (t) => {
  const { status, stdout, read } = verify(t, 'memcheck,racecheck', null)
  t.match(stdout, /^memcheck +skipped: no compute-sanitizer here/m)
  t.match(stdout, /^racecheck +skipped: no compute-sanitizer here/m)
  t.match(stdout, /^0 passed, 0 failed, 2 skipped; /m)
  t.equal(status, 0)
  t.match(read('memcheck'), { ok: false, skipped: /no compute-sanitizer/ })
})

t.test('nothing found', async (t) => {
  const clean = pretend(help, 'echo "========= ERROR SUMMARY: 0 errors"')
  const { status, stdout, read, calls } = verify(t, 'memcheck,synccheck', clean)
  t.match(stdout, /^2 passed, 0 failed, 0 skipped; /m)
  t.equal(status, 0)
  t.same(problems(read('memcheck')), ['', '', '', '', '', ''])
  const ran = calls().filter((line) => line !== '--help')
  t.equal(ran.length, 12)
  for (const line of ran.slice(0, 6)) t.match(line, /^--tool memcheck --error-exitcode \d+ --print-limit \d+ \//)
  t.match(ran[2], /\/gpu_attention_test tiny$/)
  t.match(ran[5], /exercise\.js cuda-host$/)
  for (const line of ran.slice(6)) t.match(line, /^--tool synccheck .* --kernel-name kns=lateforge \//)
})

t.test('what is found, and every other end, is a failure', async (t) => {
  const errors = verify(
    t,
    'memcheck,stream',
    pretend(help, 'echo "========= Invalid __global__ read"', 'echo "========= ERROR SUMMARY: 3 errors"', 'exit 86'),
  )
  t.equal(errors.status, 1)
  t.match(errors.stdout, /^memcheck +FAILED/m)
  t.match(errors.stdout, /^stream +ok/m, 'other stages run')
  t.equal(problems(errors.read('memcheck'))[0], 'ERROR SUMMARY: 3 errors')
  t.match(errors.read('memcheck').results[0].output, /Invalid __global__ read/)

  const hazard = 'echo "========= RACECHECK SUMMARY: 1 hazard displayed (0 errors, 1 warning)"'
  const race = verify(t, 'racecheck', pretend(help, hazard))
  t.equal(race.status, 1)
  t.match(problems(race.read('racecheck')).at(-1), /^RACECHECK SUMMARY: 1 hazard/)

  for (const [lines, problem] of [
    [['exit 0'], /^no summary/],
    [['echo "cannot attach"', 'exit 1'], /^exit code 1: cannot attach/],
    [['kill -SEGV $$'], /^ended by SIGSEGV/],
  ] as const) {
    const { status, read } = verify(t, 'memcheck', pretend(help, ...lines))
    t.equal(status, 1)
    for (const text of problems(read('memcheck'))) t.match(text, problem)
  }
})

t.test('a tool that hangs is ended, with what it started', async (t) => {
  const mark = `9${process.pid}${Date.now() % 1000}`
  const { status, read } = verify(t, 'memcheck', pretend(help, `sleep ${mark} & wait`), '--seconds', '10')
  t.equal(status, 1)
  const all = problems(read('memcheck'))
  t.match(all[0], /^ended after \d+ s/)
  for (const text of all) t.match(text, /^(ended after \d+ s|no time was left)/)
  const left = spawnSync('ps', ['-eo', 'args'], { encoding: 'utf8' }).stdout
  t.notMatch(left, new RegExp(`sleep ${mark}`))
})
