// What float16 on the wire does to the gradient: unit vectors of queries rounded as `commDtype: float16` rounds them, everything
// else in float64, against no rounding. No ranks are needed for that.
//
// usage: node bench/comm-dtype.mjs      48 × 48 pairs, 32 and 180 random tokens, dimension 128, three seeds
import { contrastive } from 'lateforge/losses'
import { Device, raw, Segments, Tape, Tensor } from 'lateforge/tensor'

const device = Device.open('cpu-f64')
const [count, dim] = [48, 128]
const float16 = 6 // native/runtime/dtype.h

function gradients(q, d, temperature, rounded) {
  const tokens = (data, length) => Tensor.from(device, data, [count * length, dim])
  const segments = (length) => Segments.fromLengths(device, Array(count).fill(length))
  const exact = tokens(q, 32)
  const queries = rounded ? raw.cast(raw.cast(exact, { dtype: float16 }), { dtype: 1 }) : exact
  const documents = tokens(d, 180)
  queries.requiresGradient = documents.requiresGradient = true
  const tape = new Tape()
  const loss = tape.run(() =>
    contrastive(
      { tokens: queries, segments: segments(32) },
      { tokens: documents, segments: segments(180) },
      { temperature },
    ),
  )
  return Promise.all(tape.backward(loss, undefined, [queries, documents]).map((g) => g.values()))
}

const difference = (a, b) => Math.sqrt(a.reduce((s, x, i) => s + (x - b[i]) ** 2, 0) / b.reduce((s, x) => s + x * x, 0))

for (const seed of [1, 2, 3]) {
  let state = seed // not io/random.ts: the figures in docs/ are of these vectors
  const draw = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32
  const normal = () => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw())
  const unit = (rows) => {
    const data = Float64Array.from({ length: rows * dim }, normal)
    for (let r = 0; r < rows; r++) {
      const row = data.subarray(r * dim, (r + 1) * dim)
      const norm = Math.hypot(...row)
      for (let i = 0; i < dim; i++) row[i] /= norm
    }
    return data
  }
  const [q, d] = [unit(count * 32), unit(count * 180)]
  for (const temperature of [0.02, 0.1, 1]) {
    const [[dq, dd], [rq, rd]] = [await gradients(q, d, temperature, false), await gradients(q, d, temperature, true)]
    console.log(
      `seed ${seed}, temperature ${temperature}: queries ${difference(rq, dq).toExponential(1)}, documents ${difference(rd, dd).toExponential(1)}`,
    )
  }
}
