/** A test collection, looked at before anybody evaluates on it. */
import type { Collection } from '../eval/collections.js'
import { type OnProgress, seldom } from '../progress.js'
import type { Featurizer } from '../text/featurizer.js'
import { lengthsOf, type TextLengths, tokensOf } from '../train/check/texts.js'

/** What a collection is. */
export interface CollectionInfo {
  name: string
  split: string
  counts: Collection['counts']
  /** Judged queries. */
  queries: number
  /** Judged pairs, and those of them that are relevant. */
  judgments: { all: number; relevant: number }
  lengths: { rows: number; unit: 'tokens' | 'characters'; queries: TextLengths; documents: TextLengths }
  examples: { query: string; text: string; relevant: string[] }[]
}

/** Reads its documents once. @param rows documents whose lengths are taken, evenly spread */
export async function inspectCollection(
  { name, split, counts, queries, documents, qrels }: Collection,
  options: { rows: number; examples: number; featurizer?: Featurizer | undefined; onProgress?: OnProgress },
): Promise<CollectionInfo> {
  const { rows, examples, featurizer, onProgress } = options
  const lengthOf = (role: 'query' | 'document', text: string): number | Promise<number> =>
    featurizer ? tokensOf(featurizer, text, role) : text.length
  const relevantOf = (id: string): string[] =>
    [...(qrels.get(id) ?? [])].filter(([, grade]) => grade > 0).map(([document]) => document)
  const asked = queries.ids.slice(0, examples)
  const wanted = new Map(asked.flatMap((id) => relevantOf(id).slice(0, 1)).map((id) => [id, '']))
  const total = documents.ids.length
  const step = Math.max(1, Math.ceil(total / rows))
  const tell = seldom(onProgress)
  const lengths: number[] = []
  let at = 0
  for await (const text of documents.texts) {
    const id = documents.ids[at]!
    if (wanted.has(id)) wanted.set(id, text)
    if (at++ % step === 0) lengths.push(await lengthOf('document', text))
    tell(() => ({ stage: 'reading', name, done: at, total, unit: 'documents' }))
  }
  const asks: number[] = []
  for (const text of queries.texts.slice(0, rows)) asks.push(await lengthOf('query', text))
  const limits = featurizer?.recipe
  const grades = [...qrels.values()].flatMap((judged) => [...judged.values()])
  return {
    ...{ name, split, counts, queries: queries.ids.length },
    judgments: { all: grades.length, relevant: grades.filter((grade) => grade > 0).length },
    lengths: {
      rows: lengths.length,
      unit: featurizer ? 'tokens' : 'characters',
      queries: lengthsOf(asks, limits?.queryLength ?? Number.POSITIVE_INFINITY),
      documents: lengthsOf(lengths, limits?.documentLength ?? Number.POSITIVE_INFINITY),
    },
    examples: asked.map((query, i) => ({
      query,
      text: queries.texts[i]!,
      relevant: relevantOf(query)
        .slice(0, 1)
        .map((id) => wanted.get(id)!),
    })),
  }
}
