/** Models with random weights and batches of random token ids in given lengths, for benches of training steps. */
import type { TrainBatch } from '../data/collate.js'
import type { TokenColumn } from '../data/column.js'
import { shardRows } from '../distributed/shard-rows.js'
import { Random } from '../io/random.js'
import { Colbert } from '../models/colbert.js'
import type { CreateOptions } from '../models/options.js'
import { normal } from '../nn/index.js'
import { offsetsOf } from '../ragged.js'
import { BERT_SPECIAL_TOKENS } from '../text/tokenizer/bert.js'
import { Tokenizer } from '../text/tokenizer/tokenizer.js'
import { atOnce } from '../turns.js'

/** Tokens of each query and of its document. */
export interface Lengths {
  queries: number[]
  documents: number[]
}

export interface EncoderShape {
  layers: number
  width: number
  intermediate?: number
  heads: number
}

/** A ColBERT of ModernBERT's architecture, dimension 128. */
export function createModel(shape: EncoderShape, vocabulary: number, options: CreateOptions = {}): Promise<Colbert> {
  const words = Array.from({ length: vocabulary - 7 }, (_, i) => `w${i}`)
  const tokenizer = Tokenizer.fromVocabulary([...BERT_SPECIAL_TOKENS, ...words])
  const recipe = { queryExpansion: false, skiplistWords: [] }
  const config = { architecture: 'modernbert', ...shape, dim: 128, tokenizer, recipe } as const
  return Colbert.create(config, { seed: 1, ...options })
}

/**
 * Lengths as bench/peers/st6_step.py draws them, markers included: log-normal, medians 11 and 121, at most 32 and 180
 * (means about 12 and 122).
 */
export function drawLengths(batch: number, seed: number): Lengths {
  const draw = (name: string, median: number, spread: number, least: number, most: number): number[] => {
    const z = new Float32Array(batch)
    atOnce(normal(1)(z, seed, name))
    return Array.from(z, (x) => Math.min(most, Math.max(least, Math.round(median * Math.exp(spread * x)))))
  }
  return { queries: draw('queries', 11, 0.42, 4, 32), documents: draw('documents', 121, 0.55, 8, 180) }
}

function columnOf(
  rows: Int32Array,
  lengths: readonly number[],
  vocabulary: number,
  step: number,
  column: number,
): TokenColumn {
  const keyLengths = Int32Array.from(rows, (i) => lengths[i]!)
  const offsets = offsetsOf(keyLengths)
  const random = new Random(step, `column ${column}`)
  const ids = Int32Array.from({ length: offsets.at(-1)! }, () => 10 + random.integer(vocabulary - 20))
  return { ids, offsets, keyLengths, keep: null, keptOffsets: offsets, rows: Float64Array.from(rows), column }
}

/** One rank's part of a batch of pairs. */
export function batchOf(
  { queries, documents }: Lengths,
  step: number,
  vocabulary: number,
  { rank, size } = { rank: 0, size: 1 },
): TrainBatch {
  const { order, counts } = shardRows(
    queries.map((q, i) => q + documents[i]!),
    size,
  )
  const first = counts.slice(0, rank).reduce((sum, n) => sum + n, 0)
  const own = order.slice(first, first + counts[rank]!)
  return {
    step,
    source: 'synthetic',
    queries: columnOf(own, queries, vocabulary, step, 0),
    documents: columnOf(own, documents, vocabulary, step, 1),
    documentsPerQuery: new Int32Array(queries.length).fill(1),
    counts,
    queryOffsets: offsetsOf(Array.from(order, (i) => queries[i]!)),
    documentOffsets: offsetsOf(Array.from(order, (i) => documents[i]!)),
    queryDuplicateIds: order,
    documentDuplicateIds: order,
    scores: null,
  }
}
