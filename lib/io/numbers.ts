/** Numbers of token embeddings in fewer bytes, and back. */
import { DataError } from '../errors.js'

/** Rows [from, to) of x [rows, dim] as int8 with scales [rows]. @throws DataError ERR_DATA for what is not finite */
export function toInt8(
  x: Float32Array,
  dim: number,
  from: number,
  to: number,
  made: Int8Array,
  scales: Float32Array,
): void {
  for (let row = from; row < to; row++) {
    let largest = 0
    for (let k = row * dim; k < (row + 1) * dim; k++) largest = Math.max(largest, Math.abs(x[k]!)) // NaN if one is
    if (!Number.isFinite(largest))
      throw new DataError('ERR_DATA', `token ${row} has a number that is not finite, which int8 cannot hold`, { row })
    const scale = Math.fround(largest / 127)
    scales[row] = scale
    // A token of zeros has scale 0; of numbers so small that theirs is 0 too, nothing is left.
    const by = scale > 0 ? 1 / scale : 0
    for (let k = row * dim; k < (row + 1) * dim; k++) made[k] = Math.max(-127, Math.min(127, Math.round(x[k]! * by)))
  }
}

/** To nearest, ties to even; subnormals and infinities are kept, a NaN stays one. */
export function toHalf(x: Float32Array, made: Uint16Array): void {
  const bits = new Uint32Array(x.buffer, x.byteOffset, x.length)
  const sum = new Float32Array(1)
  const sumBits = new Uint32Array(sum.buffer)
  for (let i = 0; i < x.length; i++) {
    const sign = (bits[i]! >>> 16) & 0x8000
    const magnitude = bits[i]! & 0x7fffffff
    let half: number
    if (magnitude > 0x7f800000) half = 0x7e00
    else if (magnitude >= 0x47800000) half = 0x7c00
    else if (magnitude >= 0x38800000) half = (magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13
    else {
      // Below 2^-14: adding 1/2 lets the float addition round to multiples of 2^-24.
      sum[0] = Math.abs(x[i]!) + 0.5
      half = sumBits[0]! - 0x3f000000
    }
    made[i] = sign | half
  }
}

/** The number that float16 bits stand for. */
export function halfValue(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (1024 + fraction) * 2 ** (exponent - 25)
}

let halves: Float32Array | undefined
/** The number of all float16 bits: a look into it takes a tenth of the time that `halfValue` takes. */
export function halfTable(): Float32Array {
  halves ??= Float32Array.from({ length: 1 << 16 }, (_, bits) => halfValue(bits))
  return halves
}

/** float16 bits as float32, exactly. */
export function fromHalf(x: Uint16Array, made: Float32Array = new Float32Array(x.length)): Float32Array {
  const table = halfTable()
  for (let i = 0; i < x.length; i++) made[i] = table[x[i]!]!
  return made
}

/** x [rows, dim] times scales [rows]. */
export function fromInt8(x: Int8Array, scales: Float32Array, dim: number): Float32Array {
  const made = new Float32Array(x.length)
  for (const [row, scale] of scales.entries()) for (let k = row * dim; k < (row + 1) * dim; k++) made[k] = x[k]! * scale
  return made
}
