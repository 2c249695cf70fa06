/** Dropout draws: the Philox bits that TypeScript computes, the rate that was asked for, nothing else that matters. */
import t from 'tap'
import { philox } from '../../lib/io/random.js'
import { Device, ops, Segments, scope, Tensor } from '../../lib/tensor/index.js'

const lengths = [3, 1, 40]
const width = 21
const seeds = Int32Array.from([1, -2, 77, 12345678, -1, 9])
const site = 515

async function dropped(device: Device, p: number): Promise<ArrayLike<number>> {
  const rows = lengths.reduce((a, b) => a + b)
  const y = scope(() =>
    ops.dropout(
      Tensor.from(device, new Float64Array(rows * width).fill(1), [rows, width]),
      Segments.fromLengths(device, lengths),
      { p, site, seeds: Tensor.fromInt32(device, seeds, [3, 2]) },
    ),
  )
  const values = await y.values()
  y.dispose()
  return values
}

for (const name of ['cpu', 'cpu-f64', 'cuda-host'])
  t.test(`${name}: every draw is Philox(key of the sequence; feature block, position, site)`, async (t) => {
    const p = 0.3
    const got = await dropped(Device.open(name), p)
    const threshold = Math.floor(p * 2 ** 32)
    let at = 0
    for (const [s, length] of lengths.entries())
      for (let position = 0; position < length; position++)
        for (let f = 0; f < width; f++) {
          const words = philox([f >> 2, position, site, 0], [seeds[2 * s]!, seeds[2 * s + 1]!])
          const want = words[f & 3]! >= threshold ? 1 / (1 - p) : 0
          if (Math.abs(got[at]! - want) > 1e-6)
            return t.fail(`sequence ${s}, position ${position}, feature ${f}: ${got[at]}, expected ${want}`)
          at++
        }
    t.equal(at, got.length)
  })

t.test('the rate', async (t) => {
  const device = Device.open('cpu')
  for (const p of [0.01, 0.1, 0.5, 0.9]) {
    const rows = 4000
    const y = scope(() =>
      ops.dropout(
        Tensor.from(device, new Float32Array(rows * 32).fill(1), [rows, 32]),
        Segments.fromLengths(device, [rows]),
        {
          p,
          site: 1,
          seeds: Tensor.fromInt32(device, Int32Array.from([5, 6]), [1, 2]),
        },
      ),
    )
    const values = await y.values()
    y.dispose()
    const share = values.filter((v) => v === 0).length / values.length
    const sigma = Math.sqrt((p * (1 - p)) / values.length)
    t.ok(Math.abs(share - p) < 5 * sigma, `${share} dropped, ${p} asked for`)
  }
})
