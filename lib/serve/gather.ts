/** Scoring of many requests, made together: while one call computes, what comes meanwhile is gathered for the next. */
import type { Filter, Index, IndexHit, IndexSearchOptions, Selection, Where } from '../indexing/index.js'
import type { Colbert } from '../models/colbert.js'
import { joinedRagged } from '../ragged.js'
import { countOf, type Embeddings, type Role, rowsOf } from '../retrieval/embeddings.js'
import { maxsim } from '../retrieval/maxsim.js'
import type { Hit } from '../retrieval/search.js'
import { Best } from '../retrieval/top-k.js'
import { left } from './refusal.js'

interface Waiting<Ask, Result> {
  ask: Ask
  signal: AbortSignal
  resolve(result: Result): void
  reject(error: unknown): void
}

/** Calls that are made together where they ask alike. */
export class Gathered<Ask, Result> {
  private readonly make: (asks: readonly Ask[]) => Promise<Result[]>
  private readonly sizeOf: (ask: Ask) => number
  private readonly most: number
  private readonly groups = new Map<string, Waiting<Ask, Result>[]>()
  private running = false

  /** `make` answers several, in order; of `most` in size together, or one that is larger. */
  constructor(make: (asks: readonly Ask[]) => Promise<Result[]>, sizeOf: (ask: Ask) => number, most: number) {
    this.make = make
    this.sizeOf = sizeOf
    this.most = most
  }

  /** `kind`: what asks must have in common. @throws RequestError when the signal fires before; what `make` throws */
  ask(ask: Ask, signal: AbortSignal, kind = ''): Promise<Result> {
    return new Promise((resolve, reject) => {
      const group = this.groups.get(kind) ?? []
      this.groups.set(kind, group)
      group.push({ ask, signal, resolve, reject })
      if (!this.running) void this.run()
    })
  }

  private async run(): Promise<void> {
    this.running = true
    for (const [kind, group] of this.groups) {
      this.groups.delete(kind)
      let size = 0
      let taken = 0
      while (taken < group.length && (taken === 0 || size + this.sizeOf(group[taken]!.ask) <= this.most))
        size += this.sizeOf(group[taken++]!.ask)
      if (taken < group.length) this.groups.set(kind, group.slice(taken)) // at the end: others have their turn
      await this.made(group.slice(0, taken))
    }
    this.running = false
  }

  private async made(group: readonly Waiting<Ask, Result>[]): Promise<void> {
    const here = group.filter(({ signal, reject }) => !signal.aborted || reject(left()))
    if (here.length === 0) return
    try {
      const results = await this.make(here.map(({ ask }) => ask))
      for (const [i, { resolve }] of here.entries()) resolve(results[i]!)
    } catch (error) {
      for (const { reject } of here) reject(error)
    }
  }
}

/** A search: queries, and what searches have to have in common to be made together. */
export interface SearchAsk {
  queries: Embeddings<'query'>
  way: Omit<IndexSearchOptions, 'signal' | 'among' | 'filter'> & { ids?: readonly string[]; where?: Where }
}
/** Searches of an index. */
export type Searches = Gathered<SearchAsk, IndexHit[][]>

/** Tests of metadata whose documents are remembered, the last ones that were asked for: a bit a document each. */
const mostSelections = 32

/** Queries that ask alike (`kind`: their `way`) pass over the index together. */
export function searchesOf(index: Index): Searches {
  const selections = new Map<string, Selection>()
  const selected = async (where: Where): Promise<Selection> => {
    const key = JSON.stringify(where)
    const found = selections.get(key) ?? (await index.select({ where }))
    selections.delete(key)
    selections.set(key, found) // the last
    if (selections.size > mostSelections) selections.delete(selections.keys().next().value!)
    return found
  }
  const filterOf = async ({ ids, where }: SearchAsk['way']): Promise<Filter | Selection | undefined> => {
    if (ids) return { ids, ...(where && { where }) }
    return where && selected(where)
  }
  return new Gathered(
    async (asks) => {
      const { ids, where, ...way } = asks[0]!.way
      const filter = await filterOf(asks[0]!.way)
      const found = await index.search(joined(asks.map(({ queries }) => queries)), {
        ...way,
        ...(filter && { filter }),
      })
      return asks.map(({ queries }) => found.splice(0, countOf(queries)))
    },
    ({ queries }) => countOf(queries),
    256,
  )
}

/** Documents in order of their score for one query. */
export interface RankAsk {
  query: Embeddings<'query'>
  documents: Embeddings<'document'>
  topK: number
}
/** Rankings by a model. */
export type Rankings = Gathered<RankAsk, Hit[]>

/** Token rows of documents in one operation: so many are copied to the device at a stretch, some milliseconds. */
const rankedRows = 1 << 14

/** Every query with its own documents, all in one operation. The same bits as one by one. */
export const rankingsOf = ({ device, storedAs: dtype, clampNegatives }: Colbert): Rankings =>
  new Gathered(
    async (asks) => {
      const documents = joined(asks.map((ask) => ask.documents))
      let first = 0
      const pairs = asks.flatMap(({ documents }, query) => {
        const own = Array.from({ length: countOf(documents) }, (_, i) => [query, first + i])
        first += own.length
        return own.flat()
      })
      const options = { layout: 'pairs', pairs, device, dtype, clampNegatives } as const
      const scores = await maxsim(joined(asks.map(({ query }) => query)), documents, options)
      let at = 0
      return asks.map(({ documents, topK }) => {
        const best = new Best(topK)
        best.offerRow(0, scores, at, countOf(documents))
        at += countOf(documents)
        return best.sorted()
      })
    },
    ({ documents }) => rowsOf(documents),
    rankedRows,
  )

/** Embeddings one behind the other. */
function joined<R extends Role>(parts: readonly Embeddings<R>[]): Embeddings<R> {
  const [first] = parts as [Embeddings<R>]
  return parts.length === 1 ? first : { ...first, ...joinedRagged(parts) }
}
