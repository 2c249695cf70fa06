import { stream } from '../io/random.js'

/** Fills the values of one parameter, from (seed, parameter name) only; yields between small steps. */
export type Initializer = (into: Float32Array, seed: number, name: string) => Generator<void, void>

/** Values between two yields. */
const STEP = 1 << 12

/** Fills every value with `value`. */
export const constant = (value: number): Initializer =>
  function* (into) {
    into.fill(value)
    yield
  }

/** Normal with mean 0, by Box and Muller. Beyond ± cut · sigma values are drawn again (`cut` of torch's trunc_normal_). */
export const normal = (sigma: number, cut = Number.POSITIVE_INFINITY): Initializer =>
  function* (into, seed, name) {
    const words = new Uint32Array(4)
    const draw = stream(seed, name, words)
    let at = 0
    const offer = (z: number) => {
      if (at < into.length && Math.abs(z) <= cut) into[at++] = sigma * z
    }
    while (at < into.length) {
      for (const end = at + STEP; at < Math.min(end, into.length); ) {
        draw()
        for (let pair = 0; pair < 4; pair += 2) {
          const radius = Math.sqrt(-2 * Math.log((words[pair]! + 1) / 2 ** 32))
          const angle = (2 * Math.PI * words[pair + 1]!) / 2 ** 32
          offer(radius * Math.cos(angle))
          offer(radius * Math.sin(angle))
        }
      }
      yield
    }
  }

/** Uniform in ± bound. */
export const uniform = (bound: number): Initializer =>
  function* (into, seed, name) {
    const words = new Uint32Array(4)
    const draw = stream(seed, name, words)
    for (let at = 0; at < into.length; at++) {
      if (at % STEP === 0) yield
      if (at % 4 === 0) draw()
      into[at] = bound * (((words[at % 4]! + 0.5) / 2 ** 32) * 2 - 1)
    }
  }
