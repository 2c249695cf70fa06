import path from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { benchInfoNce, type InfoNceResult, infoNceBytes } from '../../lib/bench/infonce.js'
import { rooflineOf } from '../../lib/bench/machine.js'
import { benchMaxSim, type MaxSimResult } from '../../lib/bench/maxsim.js'
import { infoNceShapesByName, maxsimFlops, maxsimShapes, maxsimShapesByName } from '../../lib/bench/shapes.js'
import { time } from '../../lib/bench/timing.js'
import { Device } from '../../lib/tensor/index.js'

t.test('shapes', async (t) => {
  t.equal(new Set(maxsimShapes.map((s) => s.name)).size, maxsimShapes.length, 'names are unique')
  for (const s of maxsimShapes) if (s.layout === 'grouped') t.equal(s.documents % s.queries, 0)
  t.equal(maxsimShapesByName([]).length, 5)
  const [all, groups] = maxsimShapesByName(['rerank-1k', 'distil-16x32']) as [never, never]
  t.equal(maxsimFlops(all, 128), 2 * 128 * 32 * 300 * 1000)
  t.equal(maxsimFlops(groups, 64), 2 * 64 * 32 * 180 * 512, 'a document meets its own query only')
  t.throws(() => maxsimShapesByName(['rerank-1kk']), { code: 'ERR_ARGUMENT', message: /did you mean "rerank-1k"/ })
})

t.test('timing leaves the first calls out', async (t) => {
  let calls = 0
  const timing = await time(async () => calls++, 0)
  t.match(timing, { calls: 5 })
  t.equal(calls, 7)
  t.ok(timing.low <= timing.median && timing.median <= timing.high)
  await t.rejects(
    time(async () => {}, 0, AbortSignal.abort()),
    { code: 'ERR_ABORTED' },
  )
})

t.test('a report', async (t) => {
  const device = Device.open('cpu')
  const before = device.memory()
  const names: string[] = []
  const report = await benchMaxSim({
    shapes: ['tiny', 'distil-16x32'],
    dim: 24,
    seconds: 0,
    onResult: ({ name }) => names.push(name),
  })
  t.same(names, ['tiny', 'distil-16x32'])
  t.ok(report.peak.fp32 > 1e8 && report.threads! >= 1 && report.isa)
  t.equal(report.results[0]!.onDevice, null, 'the CPU has no clock of its own')
  for (const r of report.results) {
    t.ok(r.error < 1e-5, `${r.name}: error ${r.error}`)
    t.ok(r.gflops > 0 && r.peakShare! > 0, r.name)
    t.match(r, { dim: 24, dtype: 'float32', forward: { calls: 5 }, withArgmax: { calls: 5 }, backward: { calls: 5 } })
  }
  t.equal(device.memory().tensors, before.tensors, 'nothing leaks')
})

t.test('the CUDA kernels run on the host: a clock of their own, no peak, 16 bits', async (t) => {
  const device = Device.open('cuda-host')
  const before = device.memory()
  for (const dtype of ['float32', 'float16', 'bfloat16'] as const) {
    const report = await benchMaxSim({ shapes: ['tiny'], dim: 8, seconds: 0, device: 'cuda-host', dtype })
    t.match(report, { what: 'maxsim', device: 'cuda-host', isa: null, peak: { fp32: 0, fp16: 0 } })
    const [result] = report.results as [MaxSimResult]
    t.match(result, { dtype, kernels: dtype === 'float32' ? 'simt' : 'mma', peakShare: null, roofline: null })
    t.equal(result.bytes, (4 * 8 + 16 * 20) * 8 * (dtype === 'float32' ? 4 : 2) + 4 * 16 * 4)
    t.ok(result.error < 1e-5, `${dtype}: against the vectors as they were rounded: ${result.error}`)
    const { forward, withArgmax, backward } = result.onDevice!
    for (const timing of [forward, withArgmax, backward])
      for (const { median, calls } of [timing.warm, timing.flushed]) t.ok(median > 0 && calls === 5)
  }
  t.equal(device.memory().tensors, before.tensors, 'nothing leaks')
})

t.test('the least time that a peak allows', async (t) => {
  const peak = { fp32: 1e12, fp16: 8e12, memory: 1e11, cache: 4e11 }
  const work = { operations: 4e9, bytes: 1e8 }
  t.match(rooflineOf(work, peak, 'fp32', 'memory'), { milliseconds: 4, bound: 'operations' })
  t.match(rooflineOf(work, peak, 'fp16', 'memory'), { milliseconds: 1, bound: 'bytes' })
  t.match(rooflineOf(work, peak, 'fp16', 'cache'), { milliseconds: 0.5, bound: 'operations' })
  t.equal(rooflineOf(work, { ...peak, memory: 0 }, 'fp16', 'memory'), null)
})

t.test('InfoNCE: right, and in the memory that it is said to take', async (t) => {
  for (const [name, dtype, blockQueries] of [
    ['cpu', 'float32', 1024],
    ['cpu', 'float32', 3],
    ['cuda-host', 'float32', 5],
    ['cuda-host', 'bfloat16', 8],
  ] as const) {
    const device = Device.open(name)
    const before = device.memory()
    const { results } = await benchInfoNce({
      shapes: ['loss-tiny'],
      dim: 16,
      seconds: 0,
      device: name,
      dtype,
      blockQueries,
    })
    const [r] = results as [InfoNceResult]
    for (const [what, error] of Object.entries(r.error)) t.ok(error < 1e-5, `${name} ${dtype} ${what}: ${error}`)
    t.ok(r.extraBytes > 0 && r.extraBytes < r.expectedBytes + 4096, `${r.extraBytes} bytes, said ${r.expectedBytes}`)
    t.equal(device.memory().tensors, before.tensors, 'nothing leaks')
  }
  // 16,384²: a block of 1,024 queries has 67 MB of scores and 537 MB of argmax.
  const whole = infoNceShapesByName(['loss-16384'])[0]!
  const bytes = infoNceBytes(whole, 128, 2, 1024)
  t.ok(bytes > 0.6e9 && bytes < 0.63e9, `${bytes}`)
})

t.test('tables of what a GPU machine sends back', async (t) => {
  const { ladder, scoring, largeBatches } = await import(
    pathToFileURL(path.join(process.cwd(), 'bench/cuda/table.mjs')).href
  )
  const lines = [
    { device: 'GPU', multiprocessors: 3, mma_sync_tflops: 7 },
    { shape: 'tiny', rung: 'rows-32', ms: 1.5, flushed_ms: 2, tflops: 3, of_mma_sync: 0.4286, lesson: 'why' },
  ]
  t.match(ladder(`${lines.map((l) => JSON.stringify(l)).join('\n')}\nFAIL`), [
    /^GPU, 3 multi/,
    '',
    /rung/,
    /---/,
    '| tiny | rows-32 | 1.50 | 2.00 | 3 | 43 % | why |',
  ])
  const ours = await benchMaxSim({ shapes: ['tiny'], dim: 8, seconds: 0, device: 'cuda-host', dtype: 'float16' })
  const median = 3 * ours.results[0]!.onDevice!.forward.warm.median
  const peers = { results: [{ name: 'tiny', peer: 'torch', forward: { median } }] }
  t.match(scoring({ ours, peers }), [/error \| torch \|$/, /---/, /^\| tiny \|.* x3\.00 \|$/])
  t.match(scoring({ ours, peers: { skipped: 'no Python' } }).at(-1), /no Python/)
  const loss = await benchInfoNce({ shapes: ['loss-tiny'], dim: 8, seconds: 0 })
  t.match(largeBatches(loss).at(-1), /^\| loss-tiny \| .* \| 0\.00 \| /)
})

t.test('bad input', async (t) => {
  const bad = { code: 'ERR_ARGUMENT' }
  await t.rejects(benchMaxSim({ shapes: ['nothing'] }), bad)
  await t.rejects(benchMaxSim({ dim: 12 }), bad)
  await t.rejects(benchMaxSim({ dtype: 'float64' as never }), { ...bad, message: /expected one of float32, float16/ })
  for (const dtype of ['float16', 'bfloat16'] as const) {
    await t.rejects(benchMaxSim({ dtype }), { code: 'ERR_DTYPE', message: /maxsim: q is .*float16|bfloat16/ })
    await t.rejects(benchInfoNce({ dtype }), { code: 'ERR_DTYPE' })
  }
  await t.rejects(benchInfoNce({ shapes: ['loss-1'] }), bad)
  await t.rejects(benchInfoNce({ blockQuery: 1 } as never), { ...bad, message: /did you mean "blockQueries"/ })
  await t.rejects(benchMaxSim({ seconds: -1 }), bad)
  await t.rejects(benchMaxSim({ second: 1 } as never), { ...bad, message: /did you mean "seconds"/ })
  await t.rejects(benchMaxSim({ device: 'abacus' }), { code: 'ERR_DEVICE' })
  await t.rejects(benchMaxSim({ seconds: 0, signal: AbortSignal.abort() }), { code: 'ERR_ABORTED' })
})
