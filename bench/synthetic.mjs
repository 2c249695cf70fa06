// Models with random weights and batches of random token ids in given lengths, for benches of training steps.
import { Colbert, Tokenizer } from 'lateforge'
import { deal } from '../dist/data/deal.js'

const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
let state = 1

/** A ColBERT of ModernBERT's architecture, dimension 128. */
export function createModel(shape, vocabulary) {
  const words = Array.from({ length: vocabulary - 7 }, (_, i) => `w${i}`)
  const tokenizer = Tokenizer.fromVocabulary([...special, ...words])
  const recipe = { queryExpansion: false, skiplist: [] }
  return Colbert.create({ architecture: 'modernbert', ...shape, dim: 128, tokenizer, recipe }, { seed: 1 })
}

function offsetsOf(lengths) {
  const offsets = new Float64Array(lengths.length + 1)
  for (const [i, n] of lengths.entries()) offsets[i + 1] = offsets[i] + n
  return offsets
}

function column(rows, lengths, vocabulary, number) {
  const keyCounts = Int32Array.from(rows, (i) => lengths[i])
  const offsets = offsetsOf([...keyCounts])
  const id = () => 10 + ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) % (vocabulary - 20))
  const ids = Int32Array.from({ length: offsets.at(-1) }, id)
  return { ids, offsets, keyCounts, keep: null, keptOffsets: offsets, rows: Float64Array.from(rows), column: number }
}

/** One rank's part of a batch of pairs with these numbers of tokens. */
export function batchOf({ queries, documents }, step, vocabulary, { rank, size } = { rank: 0, size: 1 }) {
  const { order, counts } = deal(
    queries.map((q, i) => q + documents[i]),
    size,
  )
  const first = counts.slice(0, rank).reduce((sum, n) => sum + n, 0)
  const own = order.slice(first, first + counts[rank])
  return {
    step,
    source: 'synthetic',
    queries: column(own, queries, vocabulary, 0),
    documents: column(own, documents, vocabulary, 1),
    perQuery: 1,
    counts,
    queryOffsets: offsetsOf(Array.from(order, (i) => queries[i])),
    documentOffsets: offsetsOf(Array.from(order, (i) => documents[i])),
    queryGroups: order,
    documentGroups: order,
    scores: null,
  }
}
