/** The command line in its surroundings: readers that leave, signals, variables that make no sense, a control group. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { durationFrom, homed, unknownVariables, variables } from '../../lib/environment.js'
import { writeBeir } from '../../lib/eval/index.js'
import { ended, main, read } from '../command.js'
import { folder, saveTinyModel, writeData } from '../train/tiny.js'

t.setTimeout(600_000)
const base = folder(t)
await saveTinyModel(path.join(base, 'm'))
const { pairs } = writeData(base)
const rows = readFileSync(pairs, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as { query: string; document: string })
await writeBeir(path.join(base, 'beir'), {
  documents: rows.map(({ document }, i) => ({ id: `d${i}`, text: document })),
  queries: rows.map(({ query }, i) => ({ id: `q${i}`, text: query })),
  qrels: { test: new Map(rows.map((_, i) => [`q${i}`, new Map([[`d${i}`, 1]])])) },
})

/** A folder with the config of a training. */
function prepare(t: Test, steps: number): string {
  const cwd = folder(t)
  writeFileSync(
    path.join(cwd, 'run.yaml'),
    `model: ${base}/m
out: out
workers: 0
cacheDir: ${base}/cache
phases: [{ name: a, loss: contrastive, data: ${pairs}, batch: 16, steps: ${steps}, learningRate: 1e-3 }]
`,
  )
  return cwd
}

const environment = { ...process.env, NO_COLOR: '1', LATEFORGE_THREADS: '1' }
const start = (cwd: string, args: string[], env: NodeJS.ProcessEnv = {}): ChildProcess =>
  spawn(process.execPath, [main, ...args], { cwd, env: { ...environment, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
const trained = (cwd: string): boolean => existsSync(path.join(cwd, 'out/model/model.safetensors'))
const checkpoints = (cwd: string): string[] =>
  existsSync(path.join(cwd, 'out/checkpoints')) ? readdirSync(path.join(cwd, 'out/checkpoints')) : []

t.test('a training goes on when whoever reads it leaves', async (t) => {
  for (const [name, args] of [
    ['stdout', ['--json', '--quiet']],
    ['stdout', []],
    ['stderr', []],
    ['both', ['--json']],
  ] as const) {
    const cwd = prepare(t, 60)
    const child = start(cwd, ['train', 'run.yaml', ...args])
    const found = read(child)
    for (const stream of name === 'both' ? (['stdout', 'stderr'] as const) : [name]) {
      if (stream === 'stdout' && args.length === 0)
        child.stdout!.destroy() // nothing comes before the end
      else child[stream]!.once('data', () => child[stream]!.destroy())
    }
    t.equal(await ended(child), 0, `${name} ${args}: ${found.err}`)
    t.ok(trained(cwd), 'the model is there')
    t.notMatch(found.err, /EPIPE/)
  }
})

t.test('verbs that only print end quietly without a reader; files are still written', async (t) => {
  const cwd = folder(t)
  for (const args of [
    ['eval', `${base}/m`, `${base}/beir`],
    ['eval', `${base}/m`, `${base}/beir`, '--json'],
    ['eval', `${base}/m`, `${base}/beir`, '--run', 'trec'],
    ['search', `${base}/m`, `${base}/beir`, 'w1 w2'],
    ['train', '--help'],
    ['bench', 'maxsim', '--list'],
  ]) {
    const child = start(cwd, args)
    const found = read(child)
    child.stdout!.destroy()
    t.equal(await ended(child), 0, args.join(' '))
    t.notMatch(found.err, /EPIPE|error/, args.join(' '))
  }
  t.ok(existsSync(path.join(cwd, 'trec/beir.model.trec')))
})

/** Sends a signal at the first step of a training; `command` starts it, and says which process it is. */
async function signalled(
  t: Test,
  signal: NodeJS.Signals,
  steps: number,
  shell = '',
): Promise<{ code: number | null; err: string; cwd: string }> {
  const cwd = prepare(t, steps)
  const args = ['train', 'run.yaml', '--json', '--quiet']
  const script = `${shell} "$0" "$@" 2>err & echo $! > pid; wait $!`
  const child = shell
    ? spawn('bash', ['-c', script, process.execPath, main, ...args], { cwd, env: environment })
    : start(cwd, args)
  const found = read(child)
  let sent = false
  child.stdout!.on('data', () => {
    if (sent || !found.out.includes('"type":"step"')) return
    sent = true
    process.kill(shell ? Number(readFileSync(path.join(cwd, 'pid'), 'utf8')) : child.pid!, signal)
  })
  const code = await ended(child)
  return { code, err: shell ? readFileSync(path.join(cwd, 'err'), 'utf8') : found.err, cwd }
}

/** As under nohup: what is started here does not hear it either. */
const hangupIgnored = (BigInt(`0x${/SigIgn:\s*(\w+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]}`) & 1n) === 1n

t.test('SIGHUP, SIGINT and SIGTERM save', async (t) => {
  for (const [signal, wanted] of [
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    if (signal === 'SIGHUP' && hangupIgnored) continue
    const { code, err, cwd } = await signalled(t, signal, 4000)
    t.equal(code, wanted)
    t.match(err, new RegExp(`${signal}: finishing the step and saving`))
    t.match(checkpoints(cwd), [/^step-\d+$/])
  }
})

t.test(
  'nohup: SIGHUP is not heard',
  { skip: spawnSync('nohup', ['--version']).status !== 0 && 'no nohup' },
  async (t) => {
    for (const shell of ['nohup', "trap '' HUP;"]) {
      const { code, err, cwd } = await signalled(t, 'SIGHUP', 60, shell)
      t.equal(code, 0, err)
      t.notMatch(err, /SIGHUP/)
      t.ok(trained(cwd), shell)
    }
  },
)

t.test(
  'a second signal ends at once; the same one twice is one',
  { skip: hangupIgnored && 'SIGHUP is ignored' },
  async (t) => {
    const cwd = folder(t)
    writeFileSync(path.join(cwd, 'texts.txt'), 'w1 w2\n')
    const child = spawn(process.execPath, [main, 'search', `${base}/m`, 'texts.txt'], { cwd, env: environment })
    const found = read(child)
    const code = ended(child)
    // It waits for queries, and has set up its signals once it has read the texts: nothing tells, so it is asked until it answers.
    while (!found.err.includes('SIGHUP') && child.exitCode === null && child.signalCode === null) {
      const signals = readFileSync(`/proc/${child.pid}/status`, 'utf8')
      if (BigInt(`0x${/SigCgt:\s*(\w+)/.exec(signals)![1]}`) & 1n) child.kill('SIGHUP')
      await setTimeout(50)
    }
    child.kill('SIGTERM') // from npm, say, which hands it on
    child.kill('SIGTERM')
    await setTimeout(700)
    t.equal(child.exitCode, null, 'still there')
    child.kill('SIGTERM')
    t.equal(await code, 143)
  },
)

t.test('variables that make no sense are refused by name', async (t) => {
  const cwd = folder(t)
  for (const [name, text, expected] of [
    ['LATEFORGE_THREADS', 'four', 'whole number from 1 to 8192'],
    ['LATEFORGE_THREADS', '99999', 'whole number from 1 to 8192'],
    ['LATEFORGE_THREADS', '0', 'whole number from 1 to 8192'],
    ['LATEFORGE_MATMUL', 'bfloat17', 'float32 or bfloat16'],
    ['LATEFORGE_NICE', '20', 'whole number from 0 to 19'],
    ['LATEFORGE_MEMORY_LIMIT', '8', 'as 8GB'],
    ['LATEFORGE_MEMORY_LIMIT', '8 apples', 'as 8GB'],
    ['LATEFORGE_ISA', 'avx1024', 'portable'],
  ] as const) {
    const child = start(cwd, ['search', `${base}/m`, `${base}/beir`, 'w1'], { [name]: text })
    const found = read(child)
    t.equal(await ended(child), 2, `${name}=${text}`)
    t.match(found.err, new RegExp(`^error ERR_CONFIG .*${name} is "${text}"; expected .*${expected}`))
  }
  const child = start(cwd, ['doctor', '--json'], { LATEFORGE_MEMORY_LIMIT: '3GiB', LATEFORGE_THREAD: '4' })
  const found = read(child)
  t.equal(await ended(child), 0)
  const { checks } = JSON.parse(found.out) as { checks: { name: string; found: string }[] }
  t.equal(checks.find(({ name }) => name === 'memory limit')!.found, '3.0 GiB')
  t.equal(found.err.match(/LATEFORGE_THREAD has no effect; did you mean LATEFORGE_THREADS\?/g)?.length, 1)

  t.teardown(() => {
    delete process.env.LATEFORGE_RANK_SILENCE
  })
  for (const [text, wanted] of [
    ['', 8],
    ['90', 90],
    ['1.5', 1.5],
    ['90s', 90],
    ['500ms', 0.5],
    ['10m', 600],
    ['2 h', 7200],
  ] as const) {
    process.env.LATEFORGE_RANK_SILENCE = text
    t.equal(durationFrom('LATEFORGE_RANK_SILENCE', 8), wanted, text)
  }
  for (const text of ['ten', '0', '-1', '1e3', '10 x', 'constructor', '1constructor', 'Infinity', 's']) {
    process.env.LATEFORGE_RANK_SILENCE = text
    t.throws(() => durationFrom('LATEFORGE_RANK_SILENCE', 8), {
      code: 'ERR_CONFIG',
      message: `LATEFORGE_RANK_SILENCE is "${text}"; expected a time`,
    })
  }
  t.throws(() => homed('~bob/x'), { code: 'ERR_ARGUMENT' })
})

t.test('every variable is documented, and none is unknown to the check of names', async (t) => {
  const text = readFileSync('docs/environment.md', 'utf8')
  for (const name of variables) t.match(text, `\`${name}\``)
  const files = ['lib', 'native', 'test'].flatMap((top) =>
    readdirSync(top, { recursive: true, withFileTypes: true })
      .filter((e) => e.isFile() && /\.(ts|cc|cu|cuh|h|cjs|mjs)$/.test(e.name))
      .map((e) => path.join(e.parentPath, e.name)),
  )
  const read = /(?:process\.env\.|getenv\("|setting\("|read(?:Count|Flag)\("|durationFrom\(')(LATEFORGE_\w+)/g
  const used = files.flatMap((file) => [...readFileSync(file, 'utf8').matchAll(read)].map(([, name]) => name!))
  t.ok(used.length > 10)
  t.same(unknownVariables(Object.fromEntries(used.map((name) => [name, '']))), [])
})

/** Two nested control groups with a memory limit on the outer one, or why there are none. */
function nested(): { enter: string; limit: number; remove(): void } | string {
  const versions = [
    ['/sys/fs/cgroup/memory', 'memory.limit_in_bytes'],
    ['/sys/fs/cgroup', 'memory.max'],
  ] as const
  for (const [root, file] of versions) {
    const outer = `${root}/lateforge-test-${process.pid}`
    const inner = `${outer}/inner`
    const remove = (): void => {
      for (const made of [inner, outer])
        try {
          rmdirSync(made)
        } catch {
          // it was not made
        }
    }
    try {
      mkdirSync(inner, { recursive: true })
      const limit = 2 ** 30
      writeFileSync(`${outer}/${file}`, String(limit))
      if (readFileSync(`${outer}/${file}`, 'utf8').trim() === String(limit))
        return { enter: `echo $$ > ${inner}/cgroup.procs`, limit, remove }
    } catch {
      // not here
    }
    remove()
  }
  return 'control groups cannot be made here'
}

const groups = nested()
t.test('the limits of nested control groups', { skip: typeof groups === 'string' && groups }, async (t) => {
  if (typeof groups === 'string') return
  t.teardown(groups.remove)
  const { status, stdout, stderr } = spawnSync(
    'sh',
    ['-c', `${groups.enter} && exec "$0" "$@"`, process.execPath, main, 'doctor', '--json'],
    {
      encoding: 'utf8',
      env: { ...environment, LATEFORGE_MEMORY_LIMIT: '' },
    },
  )
  t.equal(status, 0, stderr)
  const { checks } = JSON.parse(stdout) as { checks: { name: string; found: string }[] }
  t.equal(checks.find(({ name }) => name === 'memory limit')!.found, `${(0.9).toFixed(1)} GiB`)
})
