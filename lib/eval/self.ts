import { ArgumentError } from '../errors.js'
import type { Depth, ScoredId } from '../retrieval/metrics.js'
import type { Scored } from '../retrieval/top-k.js'
import type { Collection } from './collections.js'

/**
 * Retrieval of `topK` documents beside the query itself, where queries are documents: one more is retrieved, and `kept`
 * gives it back unless the query is among them. `evaluate` drops the hit with the query's id, and topK are left.
 * @throws ArgumentError ERR_ARGUMENT
 */
export function beside({ documents: { ids } }: Collection, topK: number) {
  if (!Number.isInteger(topK) || topK < 1)
    throw new ArgumentError('ERR_ARGUMENT', `topK is ${topK}, expected a whole number ≥ 1`)
  const depth: Depth = topK < ids.length ? topK : 'all'
  const kept = (query: string, hits: readonly Readonly<Scored>[]): ScoredId[] => {
    const found = hits.map(({ index, score }) => ({ id: ids[index]!, score }))
    if (found.length > topK && !found.some(({ id }) => id === query)) found.pop()
    return found
  }
  return { depth, retrieved: topK + 1, kept }
}
