/**
 * The one source of random numbers. Ours and no package: training draws by counter, not from a state, and the kernels of
 * native/ draw the same bits. Three older draws stay as they are, since data and figures rest on them, and say so: the
 * order of rows (data/plan.ts), resampling (eval/significance.ts), vectors shared with Python (bench/vectors.ts).
 */

/**
 * Philox 4×32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): four words from a counter of four
 * and a key of two. The same generator as native/runtime/philox.h.
 */
export function philox(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  const words = new Uint32Array(4)
  block(words, counter[0], counter[1], counter[2], counter[3], key[0], key[1])
  return [...words] as [number, number, number, number]
}

function block(words: Uint32Array, c0: number, c1: number, c2: number, c3: number, key0: number, key1: number): void {
  let [a, b, c, d] = [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0]
  let [k0, k1] = [key0 >>> 0, key1 >>> 0]
  for (let round = 0; round < 10; round++) {
    const high0 = highWord(0xd2511f53, a)
    const low0 = Math.imul(0xd2511f53, a)
    const high1 = highWord(0xcd9e8d57, c)
    const low1 = Math.imul(0xcd9e8d57, c)
    a = (high1 ^ b ^ k0) >>> 0
    c = (high0 ^ d ^ k1) >>> 0
    b = low1 >>> 0
    d = low0 >>> 0
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  words[0] = a
  words[1] = b
  words[2] = c
  words[3] = d
}

/** Of the 64-bit product, by halves that a double holds. */
function highWord(x: number, y: number): number {
  const [xl, xh, yl, yh] = [x & 0xffff, x >>> 16, y & 0xffff, y >>> 16]
  const middle = xh * yl + ((xl * yl) >>> 16)
  const carried = xl * yh + (middle & 0xffff)
  return (xh * yh + (middle >>> 16) + (carried >>> 16)) >>> 0
}

/** FNV-1a of a name: which stream of a seed a parameter draws from. */
function hashName(name: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193)
  return hash >>> 0
}

/** A seed's two words; seeds are integers of up to 53 bits. */
function seedWords(seed: number): [number, number] {
  return [(seed % 2 ** 32) >>> 0, Math.floor(seed / 2 ** 32) >>> 0]
}

/** Names the draws of one training step: dropout depends on it, on the row and on the position, never on micro-batches. */
export interface StepKey {
  /** The run's seed. */
  seed: number
  /** The step, from 0. */
  step: number
}

/**
 * The dropout key of one sequence: two words from (seed, step, global row, column) alone, so that draws depend neither
 * on micro-batches nor on ranks nor on restarts.
 */
export function sequenceSeed(seed: number, step: number, row: number, column: number): [number, number] {
  const [low, high] = seedWords(row)
  return philox([step, low, high, column], seedWords(seed)).slice(0, 2) as [number, number]
}

/** The stream (seed, name): each call of what is returned puts the next four words into `words`, and makes no array. */
export function stream(seed: number, name: string, words: Uint32Array): () => void {
  const [low, high] = seedWords(seed)
  const key = hashName(name)
  let i = 0
  return () => {
    block(words, i, Math.floor(i / 2 ** 32), high, 0, low, key)
    i++
  }
}

/** The stream (seed, name), a number at a time. */
export class Random {
  private readonly words = new Uint32Array(4)
  private readonly draw: () => void
  private used = 0

  constructor(seed: number, name = '') {
    this.draw = stream(seed, name, this.words)
  }

  /** Uniform in [0, 1), in steps of 2⁻³². */
  next(): number {
    if (this.used % 4 === 0) this.draw()
    return this.words[this.used++ % 4]! / 2 ** 32
  }

  /** Uniform among 0 … `below` - 1. */
  integer(below: number): number {
    return Math.floor(this.next() * below)
  }
}
