/**
 * Residual codes: of a token vector the number of its centroid, and what it has beyond that in 2 or 4 bits a number. A code
 * names a level, and a token's scale is such that centroid and levels together are as long as the vector was: without that,
 * recall is lower (docs/index-figures.md).
 */
import { toHalf } from '../io/numbers.js'
import { Turns } from '../turns.js'
import { type StoredRows, widened } from './cluster.js'
import type { Codebook } from './lists.js'

/** Residual codes of 4 or 2 bits a number. */
export type ResidualType = 'residual4' | 'residual2'

/** Levels of the least mean square error for a normal distribution (Max 1960), rising: a code is a number of one. */
export const residualLevels: Readonly<Record<ResidualType, Float32Array>> = {
  residual2: Float32Array.of(-1.51042, -0.45278, 0.45278, 1.51042),
  residual4: Float32Array.from(
    [0.12841, 0.3881, 0.65682, 0.94241, 1.25631, 1.61813, 2.0691, 2.73266].flatMap((level) => [-level, level]),
  ).sort(),
}

export const isResidual = (type: string): type is ResidualType => Object.hasOwn(residualLevels, type)

/** Bytes of a token's codes. */
export const codeBytes = (type: ResidualType, dim: number): number => (dim * Math.log2(residualLevels[type].length)) / 8

export interface ResidualCodes {
  /** [tokens, bytes of `codeBytes`], the first number in the lowest bits. */
  codes: Uint8Array
  /** [tokens], float16 as its bits. */
  scales: Uint16Array
  /** [tokens]: centroids of the codebook. */
  of: Int32Array
}

/** Token vectors that are widened at a time. */
const block = 1 << 13

/** @param rows [tokens, dim]; @param of the centroid of each */
export async function encodeResiduals(
  rows: StoredRows,
  of: Int32Array,
  { centroids, scales: factors }: Codebook,
  type: ResidualType,
): Promise<ResidualCodes> {
  const { dim } = rows
  const levels = residualLevels[type]
  const bits = Math.log2(levels.length)
  const bytes = codeBytes(type, dim)
  const borders = levels.slice(1).map((level, i) => (level + levels[i]!) / 2)
  const codes = new Uint8Array(of.length * bytes)
  const scales = new Float32Array(of.length)
  const [center, rest, named] = [new Float64Array(dim), new Float64Array(dim), new Float64Array(dim)]
  const turns = new Turns()
  for (let first = 0; first < of.length; first += block) {
    const count = Math.min(block, of.length - first)
    const values = widened(
      rows,
      Uint32Array.from({ length: count }, (_, i) => first + i),
    )
    for (let i = 0; i < count; i++) {
      const [token, from] = [of[first + i]! * dim, i * dim]
      const factor = factors[of[first + i]!]!
      let square = 0
      for (let k = 0; k < dim; k++) {
        center[k] = centroids[token + k]! * factor
        rest[k] = values[from + k]! - center[k]!
        square += rest[k]! ** 2
      }
      const by = square > 0 ? Math.sqrt(dim / square) : 0
      for (let k = 0; k < dim; k++) {
        const value = rest[k]! * by
        let code = 0
        for (let step = levels.length >> 1; step > 0; step >>= 1) if (value > borders[code + step - 1]!) code += step
        named[k] = levels[code]!
        codes[(first + i) * bytes + ((k * bits) >> 3)]! |= code << ((k * bits) & 7)
      }
      scales[first + i] = scaleOf(center, rest, named)
    }
    if (turns.due) await turns.take()
  }
  const halves = new Uint16Array(of.length)
  toHalf(scales, halves)
  return { codes, scales: halves, of }
}

/** s for which center + s · named is as long as center + rest; where none is, the one that comes closest to rest. */
function scaleOf(center: Float64Array, rest: Float64Array, named: Float64Array): number {
  let [nn, cn, rn, rr, cr] = [0, 0, 0, 0, 0]
  for (let k = 0; k < center.length; k++) {
    const [c, r, n] = [center[k]!, rest[k]!, named[k]!]
    nn += n * n
    cn += c * n
    rn += r * n
    rr += r * r
    cr += c * r
  }
  if (rr === 0) return 0
  const root = Math.sqrt(cn * cn + nn * (2 * cr + rr)) // NaN where there is none
  const scale = (root - cn) / nn
  return scale > 0 ? scale : rn / nn
}
