/**
 * Philox 4×32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): four words from a counter of four
 * and a key of two. The same generator as native/core/philox.h; nothing here has state.
 */
export function philox(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [a, b, c, d] = [counter[0] >>> 0, counter[1] >>> 0, counter[2] >>> 0, counter[3] >>> 0]
  let [k0, k1] = [key[0] >>> 0, key[1] >>> 0]
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = multiply(0xd2511f53, a)
    const [high1, low1] = multiply(0xcd9e8d57, c)
    a = (high1 ^ b ^ k0) >>> 0
    c = (high0 ^ d ^ k1) >>> 0
    b = low1
    d = low0
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  return [a, b, c, d]
}

/** High and low word of the 64-bit product. */
function multiply(x: number, y: number): [number, number] {
  const [xl, xh, yl, yh] = [x & 0xffff, x >>> 16, y & 0xffff, y >>> 16]
  const low = xl * yl
  const middle = xh * yl + (low >>> 16)
  const carried = xl * yh + (middle % 0x10000)
  const high = xh * yh + Math.floor(middle / 0x10000) + Math.floor(carried / 0x10000)
  return [high >>> 0, Math.imul(x, y) >>> 0]
}

/** FNV-1a of a name: which stream of a seed a parameter draws from. */
export function hashName(name: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193)
  return hash >>> 0
}

/** A seed's two words; seeds are integers of up to 53 bits. */
function seedWords(seed: number): [number, number] {
  return [(seed % 2 ** 32) >>> 0, Math.floor(seed / 2 ** 32) >>> 0]
}

/**
 * The dropout key of one sequence: two words from (seed, step, global row, column) alone, so that draws depend neither
 * on chunks nor on ranks nor on restarts.
 */
export function sequenceSeed(seed: number, step: number, row: number, column: number): [number, number] {
  const [low, high] = seedWords(row)
  return philox([step, low, high, column], seedWords(seed)).slice(0, 2) as [number, number]
}

/** Words of the stream (seed, name), four at a time. */
function* words(seed: number, name: string): Generator<[number, number, number, number], never> {
  const [low, high] = seedWords(seed)
  const key = [low, hashName(name)] as const
  for (let i = 0; ; i++) yield philox([i, Math.floor(i / 2 ** 32), high, 0], key)
}

/** Fills the values of one parameter, from (seed, parameter name) only. */
export type Initializer = (into: Float32Array, seed: number, name: string) => void

export const constant =
  (value: number): Initializer =>
  (into) => {
    into.fill(value)
  }

/** Normal with mean 0, by Box and Muller. Beyond ± cut · sigma values are drawn again (`cut` of torch's trunc_normal_). */
export const normal =
  (sigma: number, cut = Number.POSITIVE_INFINITY): Initializer =>
  (into, seed, name) => {
    let at = 0
    for (const block of words(seed, name)) {
      for (let pair = 0; pair < 4; pair += 2) {
        const radius = Math.sqrt(-2 * Math.log((block[pair]! + 1) / 2 ** 32))
        const angle = (2 * Math.PI * block[pair + 1]!) / 2 ** 32
        for (const z of [radius * Math.cos(angle), radius * Math.sin(angle)]) {
          if (at === into.length) return
          if (Math.abs(z) <= cut) into[at++] = sigma * z
        }
      }
      if (at === into.length) return
    }
  }

/** Uniform in ± bound. */
export const uniform =
  (bound: number): Initializer =>
  (into, seed, name) => {
    let at = 0
    for (const block of words(seed, name))
      for (const word of block) {
        if (at === into.length) return
        into[at++] = bound * (((word + 0.5) / 2 ** 32) * 2 - 1)
      }
  }
