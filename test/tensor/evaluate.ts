/** Runs a case of the op suite on a device: what the tests and the check on a GPU (test/gpu) compare. */
import { type Device, ops, scope, Tape, Tensor } from '../../lib/tensor/index.js'
import type { DType } from '../../lib/tensor/tensor.js'
import { Random } from '../random.js'
import type { Case } from './cases.js'

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

const as = (dtype: DType, x: Tensor): Tensor => (x.dtype === dtype ? x : ops.cast(x, dtype))

/** To the nearest bfloat16, so that a reference sees what kernels on bfloat16 see. */
export function rounded(values: Record<string, Float64Array>): Record<string, Float64Array> {
  const word = new Uint32Array(1)
  const real = new Float32Array(word.buffer)
  const round = (v: number) => {
    real[0] = v
    word[0] = (word[0]! + 0x7fff + ((word[0]! >>> 16) & 1)) & 0xffff0000
    return real[0]!
  }
  return Object.fromEntries(Object.entries(values).map(([name, data]) => [name, data.map(round)]))
}

/**
 * Σ output ∘ weights and, when asked, its gradient with respect to every input. In bfloat16, inputs and activations are
 * stored so, and gradients of parameters, of scores and of rows of length 1 stay float32.
 */
export async function evaluate(
  c: Case,
  device: Device,
  values: Record<string, Float64Array>,
  seed: number,
  withGradients: boolean,
  storage: DType = device.real,
) {
  const weights = new Random(seed ^ 0x5bd1e995)
  const results = scope(() => {
    const x: Record<string, Tensor> = {}
    for (const [name, data] of Object.entries(values)) {
      const tensor = as(storage, Tensor.from(device, data, c.inputs[name]!.shape))
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
    if (!withGradients) return { y: as(device.real, y), w, gradients: null }
    const wanted = Object.values(x)
    const dy = as(y.dtype === 'bfloat16' ? 'bfloat16' : device.real, Tensor.from(device, w, y.shape))
    const arrived = tape.backward(y, dy, wanted)
    return {
      y: as(device.real, y),
      w,
      gradients: wanted.map((input, i) => as(device.real, input.gradient ?? arrived[i]!)),
    }
  })
  const y = Float64Array.from(await results.y.values())
  const value = y.reduce((sum, v, i) => sum + v * results.w[i]!, 0)
  const gradients = results.gradients && (await Promise.all(results.gradients.map((g) => g.values())))
  results.y.dispose()
  for (const g of results.gradients ?? []) g.dispose()
  return { value, y, gradients }
}
