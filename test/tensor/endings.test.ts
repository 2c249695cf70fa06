/**
 * Environments that end while steps, reads and collectives are pending: workers that are terminated, exit, throw or just
 * end, and processes that do. `LATEFORGE_TEST_ENDINGS` says how many of each, 10 by default.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { Device, raw, scope, Tensor } from '../../lib/tensor/index.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'
import { type End, exitCode, type Pending, type Task } from './busy.js'

const count = Number(process.env.LATEFORGE_TEST_ENDINGS ?? 10)
const file = new URL('./busy.js', import.meta.url)
const random = new Random(seed)

function pick<T>(...from: T[]): T {
  return from[random.integer(from.length)]!
}

function draw(...ends: End[]): Task {
  const collective = random.integer(2) === 0
  const device = pick('cpu', 'cpu', 'cpu-f64', 'cuda-host')
  return { device, collective, pool: random.integer(3) === 0, end: pick(...ends), delay: random.integer(30) }
}

/** What was surely pending: an op that waits for a rank which never answers, or far more than fits into the delay. */
function checkBusy(t: Test, task: Task, { jobs, promises, settled }: Pending): void {
  const least = task.collective ? 10 : 200
  const waits = task.end === 'natural' ? promises === 0 : promises >= 5
  if (!(jobs >= least && waits && settled === 0))
    t.fail(`${JSON.stringify(task)}: ${jobs} jobs and ${promises} promises pending, ${settled} settled`)
}

/** Runs a worker to its end. @returns how it ended */
async function endWorker(t: Test, task: Task): Promise<string> {
  const worker = new Worker(file, { workerData: task })
  let error = ''
  worker.on('error', (thrown: Error) => {
    error = thrown.message
  })
  const exit = new Promise<number>((resolve) => worker.on('exit', resolve)) // `once` would reject for an error
  const message = new Promise<Pending>((resolve) => worker.on('message', resolve))
  const said = await Promise.race([message, exit.then(() => null)])
  if (said === null) return `nothing said: ${error}`
  checkBusy(t, task, said)
  if (task.end === 'rest') {
    await setTimeout(task.delay)
    void worker.terminate()
  }
  const code = await exit
  return error || String(code)
}

/** Runs a process to its end. @returns its exit code, or signal, with what it wrote to stderr if that is unexpected */
async function endProcess(t: Test, task: Task): Promise<string> {
  const child = spawn(process.execPath, [fileURLToPath(file), JSON.stringify(task)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 120_000,
  })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text
  })
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  if (stdout) checkBusy(t, task, JSON.parse(stdout) as Pending)
  const clean = task.end === 'throw' ? stderr.includes('Error: on purpose') : stderr === ''
  return clean && !/Sanitizer|runtime error/.test(stderr) ? String(signal ?? code) : `${signal ?? code}: ${stderr}`
}

const workerEnds: Record<End, string> = { rest: '1', exit: `${exitCode}`, throw: 'on purpose', natural: '0' }
const processEnds: Record<Exclude<End, 'rest'>, string> = { exit: `${exitCode}`, throw: '1', natural: '0' }

t.test(`${count} workers end with work pending, others and this thread go on`, { timeout: 3_600_000 }, async (t) => {
  const device = Device.open('cpu')
  const before = device.memory()
  for (let done = 0; done < count; ) {
    const tasks = Array.from({ length: Math.min(1 + random.integer(3), count - done) }, () =>
      draw('rest', 'rest', 'rest', 'exit', 'throw', 'natural'),
    )
    done += tasks.length
    const result = scope(() => {
      const x = Tensor.from(device, new Float32Array(64 * 64).fill(1 / 64), [64, 64])
      let y = x
      for (let i = 0; i < 300; i++) y = raw.linear(y, x, null)
      return y
    })
    const ended = await Promise.all(tasks.map((task) => endWorker(t, task)))
    for (const [i, task] of tasks.entries()) t.equal(ended[i], workerEnds[task.end], JSON.stringify(task))
    t.ok((await result.values()).every((v) => Math.abs(v - 1 / 64) < 1e-6))
    result.dispose()
  }
  const after = device.memory()
  t.equal(after.tensors, before.tensors)
})

t.test(`${count} processes end with work pending`, { timeout: 3_600_000 }, async (t) => {
  for (let done = 0; done < count; done++) {
    const task = draw('exit', 'throw', 'natural')
    t.equal(await endProcess(t, task), processEnds[task.end as 'exit'], JSON.stringify(task))
  }
})
