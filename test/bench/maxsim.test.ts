import t from 'tap'
import { benchMaxSim } from '../../lib/bench/maxsim.js'
import { maxsimFlops, maxsimShapes, maxsimShapesByName } from '../../lib/bench/shapes.js'
import { time } from '../../lib/bench/timing.js'
import { Device } from '../../lib/tensor/index.js'

t.test('shapes', async (t) => {
  t.equal(new Set(maxsimShapes.map((s) => s.name)).size, maxsimShapes.length, 'names are unique')
  for (const s of maxsimShapes) if (s.layout === 'groups') t.equal(s.documents % s.queries, 0)
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
  t.ok(report.peakGflops! > 0.1 && report.threads! >= 1 && report.isa)
  for (const r of report.results) {
    t.ok(r.error < 1e-5, `${r.name}: error ${r.error}`)
    t.ok(r.gflops > 0 && r.peakShare! > 0 && r.peakShare! < 2, r.name)
    t.match(r, { dim: 24, dtype: 'float32', forward: { calls: 5 }, withWinners: { calls: 5 }, backward: { calls: 5 } })
  }
  t.equal(device.memory().tensors, before.tensors, 'nothing leaks')
})

t.test('the CUDA kernels run on the host have no peak', async (t) => {
  const report = await benchMaxSim({ shapes: ['tiny'], dim: 8, seconds: 0, device: 'cuda-host' })
  t.match(report, { device: 'cuda-host', peakGflops: null, isa: null, results: [{ peakShare: null }] })
  t.ok(report.results[0]!.error < 1e-5)
})

t.test('bad input', async (t) => {
  const bad = { code: 'ERR_ARGUMENT' }
  await t.rejects(benchMaxSim({ shapes: ['nothing'] }), bad)
  await t.rejects(benchMaxSim({ dim: 12 }), bad)
  await t.rejects(benchMaxSim({ seconds: -1 }), bad)
  await t.rejects(benchMaxSim({ second: 1 } as never), { ...bad, message: /did you mean "seconds"/ })
  await t.rejects(benchMaxSim({ device: 'abacus' }), { code: 'ERR_DEVICE' })
  await t.rejects(benchMaxSim({ seconds: 0, signal: AbortSignal.abort() }), { code: 'ERR_ABORTED' })
})
