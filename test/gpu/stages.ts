/**
 * What is checked on a machine with a GPU, each in a process of its own (verify.ts): a stage returns what it found and
 * whether it is as expected. On a machine without a GPU no stage runs.
 */
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { backendPath } from '../../lib/backends.js'
import { native } from '../../lib/native.js'
import { packageRoot } from '../../lib/packages.js'
import { Device, raw, Scope, scope, Tensor } from '../../lib/tensor/index.js'
import { fiftySteps } from '../cuda/fifty-steps.js'
import { Random } from '../random.js'
import { cases } from '../tensor/cases.js'
import { evaluate, inputsOf, rounded } from '../tensor/evaluate.js'
import { sanitizer } from './sanitizer.js'
import { largeBatches, scoring } from './scoring.js'
import { contest, demo, mixed } from './training.js'

export interface Found {
  ok: boolean
  /** Why there was nothing to check. */
  skipped?: string
  [fact: string]: unknown
}

const seed = Number(process.env.LATEFORGE_TEST_SEED ?? 1)
/** What is checked: `cuda`; or `cuda-host`, to rehearse the stages themselves without a GPU, at small sizes. */
export const target = process.env.LATEFORGE_VERIFY_DEVICE ?? 'cuda'
export const library = backendPath(target === 'cuda' ? 'lateforge_cuda' : 'lateforge_cuda_host')
const rehearsal = target !== 'cuda'

const relative = (got: ArrayLike<number>, want: ArrayLike<number>): number => {
  let [difference, norm] = [0, 0]
  for (let i = 0; i < want.length; i++) {
    difference += (got[i]! - want[i]!) ** 2
    norm += want[i]! ** 2
  }
  return got.length === want.length ? Math.sqrt(difference) / (Math.sqrt(norm) + 1e-6) : Number.POSITIVE_INFINITY
}

const same = (a: ArrayBufferView, b: ArrayBufferView): boolean =>
  Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength))

/** Median seconds of `run`, which enqueues; the first rounds are not counted. */
async function secondsOf(device: Device, rounds: number, run: () => void): Promise<number> {
  const times: number[] = []
  for (let i = 0; i < rounds + 3; i++) {
    const started = performance.now()
    run()
    await device.event()
    if (i >= 3) times.push((performance.now() - started) / 1000)
  }
  return times.sort((a, b) => a - b)[times.length >> 1]!
}

/** Driver, devices, libraries; how fast memory moves, how long a read takes. */
async function device(): Promise<Found> {
  const { devices, facts } = native().backendInfo(library)
  const gpu = Device.open(target)
  const bytes = (rehearsal ? 1 : 256) * 2 ** 20
  const host = new Float32Array(bytes / 4).map((_, i) => i % 8191)
  using scoped = new Scope()
  const tensor = scoped.run(() => Tensor.from(gpu, host, [bytes / 4]))
  const upload = await secondsOf(gpu, 5, () => tensor.write(host))
  const started = performance.now()
  const back = await tensor.data()
  const download = (performance.now() - started) / 1000
  const latency = await secondsOf(gpu, 200, () => {})
  return {
    ok: devices > 0 && same(back, host),
    facts: Object.fromEntries(facts),
    uploadGBs: bytes / upload / 1e9,
    downloadGBs: bytes / download / 1e9,
    eventMicroseconds: latency * 1e6,
    limit: gpu.memory().limit,
  }
}

/** A program of test/native/cuda or bench/cuda, compiled for the GPU. */
function program(name: string): () => Promise<Found> {
  return async () => {
    const result = spawnSync(path.join(packageRoot(), 'build/cuda', `gpu_${name}`), { encoding: 'utf8' })
    if (result.status === 77) return { ok: false, skipped: result.stdout.trim().split('\n').at(-1)! }
    return { ok: result.status === 0, output: `${result.stdout ?? ''}${result.stderr ?? ''}`.slice(-20_000) }
  }
}

/** Order, errors and large reads through the real stream. */
async function stream(): Promise<Found> {
  const gpu = Device.open(target)
  const problems: string[] = []
  const expect = (right: boolean, what: string): void => {
    if (!right) problems.push(what)
  }
  using scoped = new Scope()
  const [one, bad] = scoped.run(() => [Tensor.from(gpu, [1, 2, 3]), Tensor.from(gpu, [1, Number.NaN, 3])] as const)
  const failure = async (promise: Promise<unknown>): Promise<string> =>
    promise.then(
      () => '',
      (error: Error) => error.message,
    )
  raw.assertFinite(one)
  expect((await failure(gpu.event())) === '', 'finite values passed')
  raw.assertFinite(bad)
  raw.zero(one)
  expect(/assertFinite: element 1 of 3/.test(await failure(one.data())), 'a read names the op that failed')
  expect(/assertFinite/.test(await failure(gpu.synchronize())), 'synchronize reports it')
  expect(String(await one.values()) === '1,2,3', 'the op behind it was skipped, and the stream works again')
  const [size, additions] = rehearsal ? [1 << 8, 50] : [1 << 20, 5000]
  const many = scoped.run(() => Tensor.from(gpu, new Float32Array(size), [size]))
  const step = scoped.run(() => Tensor.from(gpu, new Float32Array(size).fill(1), [size]))
  let ticks = 0
  const timer = setInterval(() => ticks++, 1)
  for (let i = 0; i < additions; i++) raw.addInto(step, many)
  const values = await many.values()
  clearInterval(timer)
  expect(
    values.every((v) => v === additions),
    `${additions} additions in order`,
  )
  expect(rehearsal || ticks > 0, 'timers ran meanwhile')
  // Counted by the stream's own thread, which may still be about to.
  for (let i = 0; i < 100 && gpu.memory().pending > 0; i++) await new Promise((resolve) => setTimeout(resolve, 10))
  expect(gpu.memory().pending === 0, 'nothing is pending')
  return { ok: problems.length === 0, problems, ticks }
}

/** Every case of the op suite against float64 on the CPU, in float32 and bfloat16, twice with the same bits. */
async function ops(): Promise<Found> {
  const gpu = Device.open(target)
  const exact = Device.open('cpu-f64')
  const results: Record<string, unknown>[] = []
  for (const c of cases)
    for (const [storage, tolerance] of [
      ['float32', 5e-6],
      ['bfloat16', 1e-2],
    ] as const) {
      const name = `${c.name}, ${storage}`
      const drawn = inputsOf(c, new Random(seed))
      const values = storage === 'float32' ? drawn : rounded(drawn)
      try {
        const want = await evaluate(c, exact, values, seed, true)
        const got = await evaluate(c, gpu, values, seed, true, storage)
        const again = await evaluate(c, gpu, values, seed, true, storage)
        const off = [
          relative(got.y, want.y),
          ...got.gradients!.map((g, i) => relative(Float64Array.from(g), Float64Array.from(want.gradients![i]!))),
        ]
        const repeats = same(got.y, again.y) && got.gradients!.every((g, i) => same(g, again.gradients![i]!))
        results.push({ name, ok: off.every((x) => x <= tolerance) && repeats, off, repeats })
      } catch (error) {
        const { code, message } = error as { code?: string; message: string }
        results.push({ name, ok: false, code, message })
        await gpu.synchronize().catch(() => {})
      }
    }
  const failed = results.filter((r) => !r.ok).map((r) => r.name)
  return {
    ok: failed.length === 0 && gpu.memory().tensors === 0,
    failed,
    tensorsLeft: gpu.memory().tensors,
    results,
  }
}

/** Fifty steps of a small model in float32 with dropout, GradCache, clipping: against the CPU, and against itself. */
async function train(): Promise<Found> {
  const run = (name: string) => fiftySteps(Device.open(name), seed)
  const [cpu, first, second] = [await run('cpu'), await run(target), await run(target)]
  const lossOff = Math.max(...cpu.losses.map((loss, step) => Math.abs(first.losses[step]! / loss - 1)))
  const off = relative(first.parameters, cpu.parameters)
  const repeats = same(first.parameters as Float32Array, second.parameters as Float32Array)
  return { ok: lossOff <= 1e-3 && repeats, off, lossOff, repeats, losses: first.losses, cpu: cpu.losses }
}

/** Products at the shapes of ModernBERT-base, through the op `linear`. */
async function speed(): Promise<Found> {
  const gpu = Device.open(target)
  const rows: Record<string, unknown>[] = []
  const shapes = rehearsal
    ? [[64, 32, 16]]
    : [
        [32768, 768, 2304],
        [32768, 768, 768],
        [32768, 1152, 768],
        [8192, 4096, 4096],
      ]
  for (const [tokens, input, output] of shapes as [number, number, number][]) {
    using scoped = new Scope()
    const [x, w] = scoped.run(() => [
      Tensor.from(gpu, new Float32Array(tokens * input).fill(0.01), [tokens, input]),
      Tensor.from(gpu, new Float32Array(output * input).fill(0.01), [output, input]),
    ]) as [Tensor, Tensor]
    const seconds = await secondsOf(gpu, 20, () => scope(() => void raw.linear(x, w, null)))
    rows.push({
      tokens,
      input,
      output,
      type: 'float32',
      seconds,
      tflops: (2 * tokens * input * output) / seconds / 1e12,
    })
  }
  return { ok: true, rows }
}

/** In the order they run: what others rest on comes first. `seconds` is when a stage is ended. */
export const stages: Record<string, { seconds: number; run: () => Promise<Found> }> = {
  device: { seconds: 60, run: device },
  primitives: { seconds: 120, run: program('primitives_test') },
  peak: { seconds: 60, run: program('peak_test') },
  gemm: { seconds: 120, run: program('gemm_test') },
  attention: { seconds: 180, run: program('attention_test') },
  ranks: { seconds: 60, run: program('ranks_test') },
  nccl: { seconds: 120, run: program('nccl_test') },
  maxsim: { seconds: 180, run: program('maxsim_test') },
  stream: { seconds: 60, run: stream },
  ops: { seconds: 180, run: ops },
  train: { seconds: 120, run: train },
  mixed: { seconds: 60, run: () => mixed(target) },
  memcheck: { seconds: 300, run: () => sanitizer('memcheck') },
  racecheck: { seconds: 300, run: () => sanitizer('racecheck') },
  synccheck: { seconds: 200, run: () => sanitizer('synccheck') },
  speed: { seconds: 120, run: speed },
  attentionSpeed: { seconds: 180, run: program('attention_ladder') },
  maxsimSpeed: { seconds: 180, run: program('maxsim_ladder') },
  scoring: { seconds: 360, run: () => scoring(target, rehearsal) },
  largeBatches: { seconds: 300, run: () => largeBatches(target, rehearsal) },
  trainingSpeed: { seconds: 480, run: () => contest(target, rehearsal) },
  demo: { seconds: 300, run: () => demo(target, rehearsal) },
}
