/** Random token vectors that lie around a few directions, as those of real texts do. */
import type { Random } from '../../lib/io/random.js'
import { offsetsOf } from '../../lib/ragged.js'

/** Unit vectors, `noise` around the topics, in documents of 0 to 20 tokens, or queries of 8. */
export function textsAround(draws: Random, dim: number, topicCount: number, noise: number) {
  const topics = Array.from({ length: topicCount }, () => Float32Array.from({ length: dim }, () => draws.next() - 0.5))
  return <R extends 'query' | 'document'>(role: R, count: number, prefix: string = role) => {
    const lengths = Array.from({ length: count }, () => (role === 'query' ? 8 : Math.floor(draws.next() * 21)))
    const offsets = offsetsOf(lengths)
    const data = new Float32Array(offsets[count]! * dim)
    for (let row = 0; row < data.length / dim; row++) {
      const topic = topics[Math.floor(draws.next() * topics.length)]!
      const own = data.subarray(row * dim, (row + 1) * dim)
      for (let k = 0; k < dim; k++) own[k] = topic[k]! + noise * (draws.next() - 0.5)
      const norm = Math.hypot(...own)
      for (let k = 0; k < dim; k++) own[k]! /= norm
    }
    return { data, offsets, dim, role, ids: lengths.map((_, i) => `${prefix}${i}`) }
  }
}
