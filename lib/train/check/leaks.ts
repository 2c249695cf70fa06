/** Texts of collections that a model will be judged by, in the data that it is trained on. */
import { contentKey, type RowKeys } from '../../data/content-hash.js'

/** How much of a collection is in the data of a phase; the same but for white space and composition. */
export interface Leak {
  /** Name of the collection. */
  collection: string
  /** Its split. */
  split: string
  /** Its queries, and how many of them are a row's query. */
  queries: LeakCount
  /** Its relevant documents, and how many of them are a row's positive. */
  documents: LeakCount
  /** Its queries with a relevant document, and how many of those are the query and the positive of a row. */
  pairs: LeakCount
  /** The first row with one of its queries, or null. */
  first: {
    /** Name of the source. */
    source: string
    /** From 1. */
    row: number
    /** The query. */
    query: string
  } | null
}

/** So many of how many. */
export interface LeakCount {
  /** How many there are. */
  of: number
  /** How many of them were found. */
  found: number
}

/** A collection to look for: what `loadBeir` loads is one. */
export interface JudgedTexts {
  /** Its name. */
  readonly name: string
  /** Name of the split. */
  readonly split: string
  /** Its documents. */
  readonly documents: {
    /** Their ids. */
    readonly ids: readonly string[]
    /** Their texts, in the same order. */
    readonly texts: Iterable<string> | AsyncIterable<string>
  }
  /** Its judged queries. */
  readonly queries: {
    /** Their ids. */
    readonly ids: readonly string[]
    /** Their texts, in the same order. */
    readonly texts: readonly string[]
  }
  /** Of each query, the grades of documents by id; above 0 is relevant. */
  readonly qrels: ReadonlyMap<string, ReadonlyMap<string, number>>
}

/** Looks for collections in the rows of a phase. */
export class LeakSearch {
  private readonly searched: Searched[]

  private constructor(searched: Searched[]) {
    this.searched = searched
  }

  static async of(collections: readonly JudgedTexts[]): Promise<LeakSearch> {
    return new LeakSearch(await Promise.all(collections.map(searchedOf)))
  }

  /** The same collections, in another phase's rows. */
  anew(): LeakSearch {
    return new LeakSearch(this.searched.map((one) => ({ ...one, ...nothingFound() })))
  }

  /** @param at where the row is, and its query */
  add({ query, positive }: RowKeys, at: NonNullable<Leak['first']>): void {
    for (const one of this.searched) {
      if (one.documents.has(positive)) one.foundDocuments.add(positive)
      const relevant = one.queries.get(query)
      if (!relevant) continue
      one.foundQueries.add(query)
      if (relevant.has(positive)) one.foundPairs.add(`${query} ${positive}`)
      one.first ??= at
    }
  }

  found(): Leak[] {
    return this.searched.map(({ name, split, queries, documents, pairs, ...one }) => ({
      collection: name,
      split,
      queries: { of: queries.size, found: one.foundQueries.size },
      documents: { of: documents.size, found: one.foundDocuments.size },
      pairs: { of: pairs, found: one.foundPairs.size },
      first: one.first,
    }))
  }
}

interface Searched {
  name: string
  split: string
  /** Keys of relevant documents, by the key of their query. */
  queries: ReadonlyMap<number, ReadonlySet<number>>
  documents: ReadonlySet<number>
  pairs: number
  foundQueries: Set<number>
  foundDocuments: Set<number>
  foundPairs: Set<string>
  first: Leak['first']
}

const nothingFound = (): Pick<Searched, 'foundQueries' | 'foundDocuments' | 'foundPairs' | 'first'> => ({
  foundQueries: new Set(),
  foundDocuments: new Set(),
  foundPairs: new Set(),
  first: null,
})

async function searchedOf({ name, split, documents, queries, qrels }: JudgedTexts): Promise<Searched> {
  const relevantOf = (query: string): string[] =>
    [...(qrels.get(query) ?? [])].filter(([, grade]) => grade > 0).map(([document]) => document)
  const wanted = new Set(queries.ids.flatMap(relevantOf))
  const keys = new Map<string, number>()
  let at = 0
  for await (const text of documents.texts) {
    const id = documents.ids[at++]!
    if (wanted.has(id)) keys.set(id, contentKey(text))
  }
  const asked = new Map<number, Set<number>>()
  for (const [i, id] of queries.ids.entries()) {
    const key = contentKey(queries.texts[i]!)
    const relevant = asked.get(key) ?? new Set<number>() // two ids may have one text
    for (const document of relevantOf(id)) if (keys.has(document)) relevant.add(keys.get(document)!)
    asked.set(key, relevant)
  }
  return {
    ...{ name, split, queries: asked, documents: new Set(keys.values()) },
    pairs: [...asked.values()].reduce((sum, relevant) => sum + relevant.size, 0),
    ...nothingFound(),
  }
}
