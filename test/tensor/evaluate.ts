/** Runs a case of the op suite on a device: what the tests and the check on a GPU (test/gpu) compare. */
import { type Device, scope, Tape, Tensor } from '../../lib/tensor/index.js'
import { type Case, Random } from './cases.js'

const parameterNames = (c: Case): string[] =>
  Object.keys(c.inputs).filter((n) => ['w', 'b', 'g', 'table'].includes(n) && !c.name.startsWith('add'))

/** Fresh values for the differentiated inputs of a case. */
export function inputsOf(c: Case, random: Random): Record<string, Float64Array> {
  return Object.fromEntries(
    Object.entries(c.inputs).map(([name, { shape, scale, unit }]) => {
      const values = random.normals(
        shape.reduce((a, b) => a * b, 1),
        scale,
      )
      if (unit) {
        const d = shape[1]!
        for (let row = 0; row < values.length; row += d) {
          const norm = Math.hypot(...values.subarray(row, row + d))
          for (let j = row; j < row + d; j++) values[j]! /= norm
        }
      }
      return [name, values]
    }),
  )
}

/** Σ output ∘ weights and, when asked, its gradient with respect to every input. */
export async function evaluate(
  c: Case,
  device: Device,
  values: Record<string, Float64Array>,
  seed: number,
  withGradients: boolean,
) {
  const weights = new Random(seed ^ 0x5bd1e995)
  const results = scope(() => {
    const x: Record<string, Tensor> = {}
    for (const [name, data] of Object.entries(values)) {
      const tensor = Tensor.from(device, data, c.inputs[name]!.shape)
      tensor.requiresGradient = withGradients
      // Parameter gradients are accumulated by the op; activation gradients come back from the tape.
      tensor.gradient = null
      x[name] = tensor
    }
    for (const name of parameterNames(c)) {
      x[name]!.gradient = Tensor.from(device, new Float64Array(x[name]!.size), x[name]!.shape)
    }
    const tape = new Tape()
    const y = tape.run(() => c.build(x, device, new Random(seed + 1)))
    const w = weights.normals(y.size)
    if (!withGradients) return { y, w, gradients: null }
    const wanted = Object.values(x)
    const arrived = tape.backward(y, Tensor.from(device, w, y.shape), wanted)
    return { y, w, gradients: wanted.map((input, i) => input.gradient ?? arrived[i]!) }
  })
  const y = Float64Array.from(await results.y.values())
  const value = y.reduce((sum, v, i) => sum + v * results.w[i]!, 0)
  const gradients = results.gradients && (await Promise.all(results.gradients.map((g) => g.values())))
  results.y.dispose()
  for (const g of results.gradients ?? []) g.dispose()
  return { value, y, gradients }
}
