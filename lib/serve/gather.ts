/** Searches of many requests, made together. */
import type { Index, IndexHit, IndexSearchOptions } from '../indexing/index.js'
import { offsetsOf } from '../ragged.js'
import type { Embeddings } from '../retrieval/embeddings.js'
import { left } from './refusal.js'

interface Asked {
  queries: Embeddings<'query'>
  signal: AbortSignal
  resolve(hits: IndexHit[][]): void
  reject(error: unknown): void
}

/** What searches may differ in and not be made together. */
type Way = Omit<IndexSearchOptions, 'signal' | 'among' | 'filter'> & { ids?: readonly string[] }

/** Queries of requests that ask alike pass over the index together, as soon as those before them are through. */
export class Searches {
  private readonly index: Index
  private readonly waiting = new Map<string, { way: Way; asked: Asked[] }>()
  private running = false

  constructor(index: Index) {
    this.index = index
  }

  /** @throws as `Index.search`; RequestError when the signal fires */
  search(queries: Embeddings<'query'>, way: Way, signal: AbortSignal): Promise<IndexHit[][]> {
    const key = JSON.stringify(way)
    const group = this.waiting.get(key) ?? { way, asked: [] }
    this.waiting.set(key, group)
    return new Promise((resolve, reject) => {
      group.asked.push({ queries, signal, resolve, reject })
      if (!this.running) void this.run()
    })
  }

  private async run(): Promise<void> {
    this.running = true
    for (const [key, { way, asked }] of this.waiting) {
      this.waiting.delete(key)
      await this.made(way, asked)
    }
    this.running = false
  }

  private async made({ ids, ...way }: Way, asked: readonly Asked[]): Promise<void> {
    const here = asked.filter(({ signal, reject }) => !signal.aborted || reject(left()))
    if (here.length === 0) return
    try {
      const found = await this.index.search(together(here), { ...way, ...(ids && { filter: { ids } }) })
      for (const { queries, resolve } of here) resolve(found.splice(0, queries.offsets.length - 1))
    } catch (error) {
      for (const { reject } of here) reject(error)
    }
  }
}

/** Queries of all, in order. */
function together(asked: readonly Asked[]): Embeddings<'query'> {
  const [{ queries: first }] = asked as [Asked]
  if (asked.length === 1) return first
  const data = new Float32Array(asked.reduce((sum, { queries }) => sum + queries.data.length, 0))
  const lengths: number[] = []
  let at = 0
  for (const { queries } of asked) {
    data.set(queries.data, at)
    at += queries.data.length
    for (let i = 1; i < queries.offsets.length; i++) lengths.push(queries.offsets[i]! - queries.offsets[i - 1]!)
  }
  return { ...first, data, offsets: offsetsOf(lengths) }
}
