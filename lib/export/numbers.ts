/** Token vectors as text. */
import { DataError } from '../errors.js'

/** Decimals that numbers of unit vectors need, with the power of ten of each. */
const decimals = [6, 7, 8, 9].map((digits) => ({ digits, scale: 10 ** digits }))

/**
 * A decimal that float32 reads as the same number. Whole numbers become text several times faster than fractions, and these are
 * most of what an export computes. @throws DataError ERR_DATA for what is not finite
 */
export function decimal(x: number): string {
  const size = Math.abs(x)
  if (size < 1)
    for (const { digits, scale } of decimals) {
      const whole = Math.round(size * scale)
      if (Math.fround(whole / scale) === size && whole < scale)
        return `${x < 0 ? '-' : ''}0.${String(whole).padStart(digits, '0')}`
    }
  if (!Number.isFinite(x)) throw new DataError('ERR_DATA', `a token vector has the number ${x}, which JSON cannot hold`)
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
