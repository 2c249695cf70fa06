import type { TrainBatch } from '../../lib/data/collate.js'
import { columnFromTexts } from '../../lib/data/column.js'
import type { Colbert } from '../../lib/models/colbert.js'

/** A batch of texts, with as many documents for each query; equal texts count as different ones. */
export function batchOfTexts(model: Colbert, queries: readonly string[], documents: readonly string[]): TrainBatch {
  const columns = {
    queries: columnFromTexts(model.featurizer, queries, 'query'),
    documents: columnFromTexts(model.featurizer, documents, 'document'),
  }
  return {
    step: 0,
    source: 'texts',
    ...columns,
    documentsPerQuery: new Int32Array(queries.length).fill(documents.length / queries.length),
    counts: [queries.length],
    queryOffsets: columns.queries.keptOffsets,
    documentOffsets: columns.documents.keptOffsets,
    queryDuplicateIds: Int32Array.from(queries.keys()),
    documentDuplicateIds: Int32Array.from(documents.keys()),
    scores: null,
  }
}
