/** Token vectors as text. */
import { DataError } from '../errors.js'

/** Numbers of unit vectors need 7 to 10 decimals; arithmetic finds out how many much faster than text does. */
const scales = [1e6, 1e7, 1e8, 1e9, 1e10]

/** A short decimal that float32 reads as the same number. @throws DataError ERR_DATA for what is not finite */
export function decimal(x: number): string {
  if (!Number.isFinite(x)) throw new DataError('ERR_DATA', `a token vector has the number ${x}, which JSON cannot hold`)
  for (const scale of scales) {
    const rounded = Math.round(x * scale) / scale
    if (Math.fround(rounded) === x) return `${rounded}`
  }
  return `${Number(x.toPrecision(9))}` // always enough
}

/** Vectors [rows, dim], each made to a text. */
export function eachVector(vectors: Float32Array, dim: number, text: (vector: Float32Array) => string): string[] {
  return Array.from({ length: vectors.length / dim }, (_, i) => text(vectors.subarray(i * dim, (i + 1) * dim)))
}

/** JSON of one vector. */
export function vectorJson(vector: Float32Array): string {
  let text = ''
  for (const x of vector) text += `,${decimal(x)}`
  return `[${text.slice(1)}]`
}

/** JSON of vectors [rows, dim]: an array of arrays. */
export function vectorsJson(vectors: Float32Array, dim: number): string {
  return `[${eachVector(vectors, dim, vectorJson).join(',')}]`
}

/** The bits of a vector, eight hexadecimal digits a number, most significant first. */
export function vectorHex(vector: Float32Array): string {
  const bits = Buffer.alloc(vector.length * 4)
  for (const [i, x] of vector.entries()) bits.writeFloatBE(x, i * 4)
  return bits.toString('hex').toUpperCase()
}
