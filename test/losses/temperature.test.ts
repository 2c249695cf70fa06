/** A fixed temperature is what was asked for, on every backend; only a learned one is clamped. */
import t from 'tap'
import { contrastive, distillation } from '../../lib/losses/index.js'
import { Device, Segments, scope, Tensor } from '../../lib/tensor/index.js'

for (const [name, tolerance] of [
  ['cpu', 2e-3],
  ['cpu-f64', 1e-9],
  ['cuda-host', 2e-3],
] as const)
  t.test(`scores 1 and .99 at temperature .001 on ${name}`, async (t) => {
    const device = Device.open(name)
    const angle = Math.acos(0.99)
    const at = (radians: number) => [Math.cos(radians), Math.sin(radians), 0, 0, 0, 0, 0, 0]
    const [loss, learned, distilled, taught] = scope(() => {
      const segments = Segments.fromLengths(device, [1, 1])
      const side = (...rows: number[][]) => ({ tokens: Tensor.from(device, rows.flat(), [rows.length, 8]), segments })
      const [q, d] = [side(at(0), at(angle)), side(at(0), at(angle))]
      const one = { tokens: q.tokens.rows(0, 1), segments: Segments.fromLengths(device, [1]) }
      return [
        contrastive(q, d, { temperature: 0.001 }),
        contrastive(q, d, { logScale: Tensor.from(device, [Math.log(1000)]) }),
        distillation(one, d, { teacher: [0, -1000], documentsPerQuery: 2, temperature: 0.001, normalizeScores: false }),
        distillation(one, d, {
          ...{ teacher: [5e8, -5e8], teacherTemperature: 1e-30 }, // no float32 holds the quotients
          ...{ documentsPerQuery: 2, temperature: 0.001, normalizeScores: false },
        }),
      ]
    })
    // Sums of a row are stored in float32: of 1 + e^-10 half a unit in the last place is 1.3e-3 of e^-10.
    const check = async (loss: Tensor, expected: number, what: string) => {
      const value = await loss.value()
      t.ok(Math.abs(value / expected - 1) <= tolerance, `${what}: ${value}, expected ${expected}`)
    }
    await check(loss, Math.log1p(Math.exp(-10)), 'fixed')
    await check(learned, Math.log1p(Math.exp(-1)), 'learned, so clamped at .01')
    await check(distilled, Math.log1p(Math.exp(-10)), 'distillation')
    await check(taught, Math.log1p(Math.exp(-10)), 'a teacher at 1e-30')
    for (const tensor of [loss, learned, distilled, taught]) tensor.dispose()
  })

t.test('a temperature that no float32 score can be divided by is refused', async (t) => {
  const device = Device.open('cpu')
  scope(() => {
    const side = {
      tokens: Tensor.from(device, [1, 0, 0, 0, 0, 0, 0, 0], [1, 8]),
      segments: Segments.fromLengths(device, [1]),
    }
    for (const temperature of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 1e-39, 1e39]) {
      const expected = { code: 'ERR_ARGUMENT', details: { option: 'temperature' } }
      t.throws(() => contrastive(side, side, { temperature }), expected, `${temperature}`)
      t.throws(
        () => distillation(side, side, { temperature, teacher: [1], documentsPerQuery: 1 }),
        expected,
        `${temperature}`,
      )
    }
    const logScale = Tensor.from(device, [0])
    t.throws(() => contrastive(side, side, { temperature: 1, logScale }), /temperature has no effect beside logScale/)
    const both = { logScale, temperatureSquared: true, teacher: [1], documentsPerQuery: 1 }
    t.throws(() => distillation(side, side, both), { code: 'ERR_ARGUMENT', details: { option: 'temperatureSquared' } })
    t.throws(() => distillation(side, side, { teacher: [1], documentsPerQuery: 1, teacherTemperature: 0 }), {
      code: 'ERR_ARGUMENT',
      details: { option: 'teacherTemperature' },
    })
    contrastive(side, side, { temperature: 1e-30 })
  })
})
