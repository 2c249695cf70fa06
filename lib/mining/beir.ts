import type { Source } from '../data/sources.js'
import { DataError } from '../errors.js'
import { type Collection, loadBeir } from '../eval/collections.js'

/**
 * The judgments of a BEIR folder as rows to mine for, one for each document that is relevant to a query (a grade above 0),
 * and its documents.
 * @throws DataError ERR_DATA
 */
export async function beirRows(
  dir: string,
  { split = 'train' }: { split?: string } = {},
): Promise<{ data: Source; corpus: AsyncIterable<string> | Iterable<string>; counts: Collection['counts'] }> {
  const { name, documents, queries, qrels, counts } = await loadBeir(dir, { split, stream: true })
  const relevant = new Set<string>()
  for (const judged of qrels.values()) for (const [id, grade] of judged) if (grade > 0) relevant.add(id)
  const data: Source = {
    name,
    async *[Symbol.asyncIterator]() {
      const texts = new Map<string, string>()
      let d = 0
      for await (const text of documents.texts) {
        const id = documents.ids[d++]!
        if (relevant.has(id) && text.trim() !== '') texts.set(id, text)
      }
      for (const [q, id] of queries.ids.entries()) {
        const query = queries.texts[q]!
        if (query.trim() === '') continue
        for (const [document, grade] of qrels.get(id)!) {
          const positive = grade > 0 ? texts.get(document) : undefined
          if (positive !== undefined) yield { query, documents: [positive], id }
        }
      }
    },
  }
  if (relevant.size === 0)
    throw new DataError('ERR_DATA', `Split "${split}" of ${dir} judges no document as relevant.`, { dir, split })
  return { data, corpus: documents.texts, counts }
}
