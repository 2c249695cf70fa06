import { ArgumentError } from '../errors.js'
import { type Device, ops, raw, Scope, Segments, Tensor } from '../tensor/index.js'

/** What token vectors may be made of. */
export const realTypes = ['float32', 'float16', 'bfloat16'] as const
export type RealType = (typeof realTypes)[number]

export const bytesOf = (dtype: RealType): number => (dtype === 'float32' ? 4 : 2)

/** Token embeddings on a device, and the very same numbers on the host. */
export interface BenchEmbeddings extends ops.TokenEmbeddings {
  data: Float32Array
}

/** Rows of unit norm, the same for the same seed; `bench/peers/maxsim.py` draws them likewise. */
export function unitVectors(rows: number, dim: number, seed: number): Float32Array {
  const data = new Float32Array(rows * dim)
  let state = seed
  for (let row = 0; row < data.length; row += dim) {
    let norm = 0
    for (let k = row; k < row + dim; k++) {
      // Xorshift32 (Marsaglia 2003), not io/random.ts: it is as short in Python.
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      const x = state / 2 ** 31
      data[k] = x
      norm += x * x
    }
    const scale = 1 / Math.sqrt(norm)
    for (let k = row; k < row + dim; k++) data[k]! *= scale
  }
  return data
}

/** `count` texts of `length` random tokens each, owned by `owner`. */
export async function vectorsOf(
  owner: Scope,
  device: Device,
  count: number,
  length: number,
  dim: number,
  dtype: RealType,
  seed: number,
): Promise<BenchEmbeddings> {
  const data = unitVectors(count * length, dim, seed)
  const segments = owner.run(() => Segments.fromLengths(device, Array(count).fill(length)))
  const shape = [count * length, dim]
  if (dtype === device.real) return { tokens: owner.run(() => Tensor.from(device, data, shape)), segments, data }
  using scope = new Scope()
  const wide = scope.run(() => Tensor.from(device, data, shape))
  const tokens = owner.run(() => ops.cast(wide, dtype))
  const rounded = scope.run(() => ops.cast(tokens, device.real))
  return { tokens, segments, data: Float32Array.from(await rounded.values()) }
}

/**
 * @throws ArgumentError ERR_ARGUMENT for no such type or dimension; DTypeError ERR_DTYPE where the device has no MaxSim
 * for the type
 */
export function checkVectors(device: Device, dtype: string, dim: number): asserts dtype is RealType {
  if (!(realTypes as readonly string[]).includes(dtype))
    throw new ArgumentError('ERR_ARGUMENT', `dtype is "${dtype}", expected one of ${realTypes.join(', ')}`)
  if (!Number.isInteger(dim) || dim < 8 || dim % 8)
    throw new ArgumentError('ERR_ARGUMENT', `dim is ${dim}, expected a multiple of 8`)
  using scope = new Scope()
  scope.run(() => {
    const token = Tensor.empty(device, [1, dim], dtype as RealType)
    raw.zero(token)
    const segments = Segments.of(device, [0, 1])
    raw.maxsim(token, segments, token, segments, null, { layout: 0, wantArgmax: 0, clampNegatives: 0 })
  })
}
