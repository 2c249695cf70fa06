/**
 * An environment that ends with work under way, in a worker or in a process of its own. It gives native threads more than
 * they finish, says what is pending, and then ends as it was told. For endings.test.ts.
 */
import { isMainThread, parentPort, workerData } from 'node:worker_threads'
import { backendPath } from '../../lib/backends.js'
import { native } from '../../lib/native.js'
import { Device, raw, Tensor } from '../../lib/tensor/index.js'
import { realArray } from '../../lib/tensor/tensor.js'

/** `rest`: it is ended from outside. `natural`: nothing keeps it alive, so nobody may wait for a promise. */
export type End = 'rest' | 'exit' | 'throw' | 'natural'

export interface Task {
  device: 'cpu' | 'cpu-f64' | 'cuda-host'
  /** With one, the last op before the reads waits for a rank that never answers. */
  collective: boolean
  /** Work on Node's thread pool. */
  pool: boolean
  end: End
  /** Milliseconds between what it says and its end. */
  delay: number
}

/** What a busy environment says once it is busy. */
export interface Pending {
  /** Ops, copies and reads that the stream has not finished. */
  jobs: number
  /** Promises that are not settled, and those that are, which none should be. */
  promises: number
  settled: number
}

/** Of an `exit`, and of the file's own ends. */
export const exitCode = 3

const ops = 400

async function start({ device: name, collective, pool, end }: Task): Promise<Pending> {
  const device = Device.open(name)
  const width = name === 'cpu' ? 512 : 128
  const ones = realArray(device, new Float32Array(width * width).fill(1))
  const x = Tensor.from(device, ones, [width, width])
  let promises = 0
  let settled = 0
  const expect = (promise: Promise<unknown>) => {
    promises++
    const count = () => settled++
    promise.then(count, count)
  }
  const step = (count: number) => {
    for (let i = 0; i < count; i++) raw.linear(x, x, null).dispose()
    x.write(ones)
  }
  if (name === 'cpu') step(collective ? 10 : ops)
  if (collective) {
    native().groupOpen(backendPath('lateforge_silent'))
    const [, ticket] = native().groupCollective(2, x.handle, null, null, 0)
    native().groupWait(ticket)
    step(10)
    if (end !== 'natural') expect(native().groupExchange(new Uint8Array(8)))
  } else if (name !== 'cpu') step(ops)
  if (end !== 'natural') {
    for (let i = 0; i < 3; i++) expect(x.data())
    expect(device.event())
    expect(device.synchronize())
    if (name === 'cuda-host') expect(device.elapsed()!)
    if (pool) for (let i = 0; i < 6; i++) expect(native().peak(Device.open('cpu').id, 0.2))
  }
  await new Promise((resolve) => setImmediate(resolve))
  return { jobs: device.memory().pending, promises, settled }
}

function finish(task: Task): void {
  if (task.end === 'exit') process.exit(exitCode)
  if (task.end === 'throw') throw new Error('on purpose')
}

const task = (isMainThread ? JSON.parse(process.argv[2] ?? 'null') : workerData) as Task | null
if (task) {
  const said = await start(task)
  if (parentPort) parentPort.postMessage(said)
  else process.stdout.write(`${JSON.stringify(said)}\n`)
  if (task.end !== 'natural') setTimeout(finish, task.delay, task)
}
