import t from 'tap'
import { benchStep, flopsOf, stepShapes } from '../../lib/bench/step.js'
import { drawLengths } from '../../lib/bench/synthetic.js'
import { Device } from '../../lib/tensor/index.js'

t.test('operations of a forward pass, counted one by one', async (t) => {
  const shape = { layers: 7, width: 64, intermediate: 96, heads: 1 }
  const lengths = [1, 64, 65, 66, 67, 180, 0]
  const offsets = Float64Array.from([0, ...lengths].map((_, i) => lengths.slice(0, i).reduce((a, b) => a + b, 0)))
  let want = 0
  for (const n of lengths) {
    want += 2 * n * 64 * 128 // projection
    for (let layer = 0; layer < 7; layer++) {
      want += 2 * n * (64 * 3 * 64 + 64 * 64 + 64 * 2 * 96 + 96 * 64)
      for (let q = 0; q < n; q++)
        for (let k = 0; k < n; k++) if (layer % 3 === 0 || Math.abs(q - k) <= 64) want += 2 * 2 * 64
    }
  }
  t.equal(flopsOf(shape, offsets), want)
  t.ok(stepShapes['modernbert-base'])
})

t.test('drawn lengths have the spread they should', async (t) => {
  const { queries, documents } = drawLengths(20000, 1)
  const mean = (list: number[]) => list.reduce((a, b) => a + b, 0) / list.length
  t.ok(Math.abs(mean(queries) - 12) < 0.5 && Math.abs(mean(documents) - 122) < 3, `${mean(queries)} ${mean(documents)}`)
  t.same([Math.min(...queries), Math.max(...queries), Math.max(...documents)], [4, 32, 180])
  t.same(drawLengths(5, 3), drawLengths(5, 3))
  t.not(String(drawLengths(5, 3).documents), String(drawLengths(5, 4).documents))
})

t.test('a report of every mode', async (t) => {
  const device = Device.open('cpu')
  const before = device.memory().tensors
  for (const mode of ['kept', 'recompute', 'encode'] as const) {
    const report = await benchStep({ shape: 'tiny', mode, batch: 3, steps: 2, warmup: 1 })
    t.match(report, { device: 'cpu', shape: 'tiny', mode, precision: 'float32', batch: 3 })
    t.equal(report.stepSeconds.length, 2)
    t.ok(report.tokensPerSecond > 0 && report.tflops > 0 && report.peakTensorBytes > 0)
    t.ok(report.utilization! > 0 && report.utilization! < 1 && report.peak.fp32 > 0)
    t.ok(report.range[0] <= report.tokensPerSecond && report.tokensPerSecond <= report.range[1])
  }
  const given = await benchStep({
    shape: 'tiny',
    steps: 1,
    warmup: 0,
    lengths: [{ queries: [5, 6], documents: [7, 80] }],
  })
  t.equal(given.batch, 2)
  t.equal(device.memory().tensors, before, 'nothing leaks')
})

t.test('settings without effect', async (t) => {
  const lengths = [{ queries: [5], documents: [7] }]
  for (const [options, key] of [
    [{ mode: 'encode', microBatchTokens: 64 }, 'microBatchTokens'],
    [{ mode: 'encode', activationMemory: 1 }, 'activationMemory'],
    [{ mode: 'recompute', activationMemory: 1 }, 'activationMemory'],
    [{ lengths, batch: 2 }, 'batch'],
  ] as const)
    await t.rejects(benchStep({ shape: 'tiny', steps: 1, warmup: 0, ...options }), {
      code: 'ERR_ARGUMENT',
      message: new RegExp(`^${key} has no effect .*; leave it out$`),
    })
})

t.test('bad input', async (t) => {
  await t.rejects(benchStep({ shape: 'tinny' }), { code: 'ERR_ARGUMENT', message: /did you mean "tiny"/ })
  await t.rejects(benchStep({ shape: 'tiny', steps: 0 }), { code: 'ERR_ARGUMENT', message: /steps is 0/ })
  await t.rejects(benchStep({ shape: 'tiny', precision: 'bfloat16' }), { code: 'ERR_UNSUPPORTED' })
  await t.rejects(benchStep({ shape: 'tiny', device: 'abacus' }), { code: 'ERR_DEVICE' })
  await t.rejects(benchStep({ shape: 'tiny', signal: AbortSignal.abort() }), { code: 'ERR_ABORTED' })
  // @ts-expect-error: not a mode
  await t.rejects(benchStep({ shape: 'tiny', mode: 'keep' }), {
    code: 'ERR_ARGUMENT',
    message: /kept, recompute, encode/,
  })
})
