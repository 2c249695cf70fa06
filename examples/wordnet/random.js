// @ts-check

/**
 * A small seeded generator (mulberry32) in [0, 1), of this example alone: the demo's data and figures rest on its bits. The label keeps the streams of different uses of one seed apart.
 * @param {number} seed
 * @param {string} label
 * @returns {() => number}
 */
export function seeded(seed, label) {
  let state = seed >>> 0
  for (const char of label) state = Math.imul(state ^ /** @type {number} */ (char.codePointAt(0)), 0x01000193) >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * A shuffled copy (Fisher and Yates).
 * @template T
 * @param {readonly T[]} items
 * @param {() => number} random
 * @returns {T[]}
 */
export function shuffled(items, random) {
  const copy = [...items]
  for (let i = copy.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[copy[i], copy[j]] = [copy[j], copy[i]]
  }
  return copy
}
