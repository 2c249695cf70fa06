import type { Source } from '../data/sources.js'
import { DataError } from '../errors.js'
import { type CollectionCounts, loadBeir } from '../eval/collections.js'
import { checkOptions, text } from '../options.js'

/** The judgments of a BEIR folder, to mine for. */
export interface JudgedRows {
  /** A row for each relevant document of each query. */
  data: Source
  /** Texts of all documents. */
  corpus: Iterable<string> | AsyncIterable<string>
  /** What the folder holds, and what of it is not used. */
  counts: CollectionCounts
}

/**
 * The judgments of a BEIR folder as rows to mine for, one for each document that is relevant to a query (a grade above 0),
 * and its documents.
 * @throws DataError ERR_DATA
 */
export async function beirRows(
  dir: string,
  options: { /** Default `train`. */ split?: string } = {},
): Promise<JudgedRows> {
  checkOptions('beirRows', options, { split: text })
  const { split = 'train' } = options
  const { name, documents, queries, qrels, counts } = await loadBeir(dir, { split, stream: true })
  const relevant = new Set<string>()
  for (const judged of qrels.values()) for (const [id, grade] of judged) if (grade > 0) relevant.add(id)
  const data: Source = {
    name,
    async *[Symbol.asyncIterator]() {
      const texts = new Map<string, string>()
      let d = 0
      for await (const content of documents.texts) {
        const id = documents.ids[d++]!
        if (relevant.has(id) && content.trim() !== '') texts.set(id, content)
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
