import { existsSync } from 'node:fs'
import { defaultCacheDir } from '../data/cache.js'
import { DataError, FileError } from '../errors.js'
import { writeAtomic } from '../io/atomic.js'
import type { EncodeOptions } from '../models/encode.js'
import type { Range } from '../ragged.js'
import { abortIf } from '../turns.js'
import { Mined } from './mined.js'
import { type MineOptions, type MineProgress, type MineResult, rulesOf } from './options.js'
import { Pool } from './pool.js'
import { bm25Ranker, modelRanker, type Through } from './rank.js'

/**
 * Finds hard negatives: documents that a model, or BM25, ranks high for a query, and that are not its positives. Writes rows
 * that training reads as they are. Documents are told apart by their text; equal scores rank by the order of documents.
 * @throws ArgumentError ERR_ARGUMENT for bad options; DataError ERR_DATA for bad data, and when no row is left; FileError
 *   ERR_FILE for a file that is there already or cannot be written; AbortedError ERR_ABORTED
 */
export async function mineNegatives(options: MineOptions): Promise<MineResult> {
  const rules = rulesOf(options)
  const { data, by, out, overwrite = false, corpus, teacher, minerScores = false, signal } = options
  const { cacheDir = defaultCacheDir(), queryBlock = 1 << 15, microBatchTokens } = options
  abortIf(signal)
  if (!overwrite && existsSync(out))
    throw new FileError('ERR_FILE', `${out} is there already; name another file, or overwrite it`, { path: out })
  const encoding: EncodeOptions = { signal, ...(microBatchTokens !== undefined && { microBatchTokens }) }
  const told =
    (stage: MineProgress['stage'], unit: MineProgress['unit'] = 'documents') =>
    (done: number, total?: number) =>
      options.onProgress?.({ stage, name: data.name, done, ...(total !== undefined && { total }), unit })
  const pool = await Pool.read(data, corpus, { cacheDir, signal, reading: told('reading', 'texts') })
  try {
    const blocks = [...blocksOf(pool.queries.length, queryBlock)]
    let searched = 0
    const searching: Through = (done, total) => told('searching')(searched * total + done, blocks.length * total)
    const rank =
      by === 'bm25'
        ? await bm25Ranker(pool, { indexing: told('indexing'), searching: told('searching', 'queries') }, signal)
        : modelRanker(
            by,
            pool,
            { encoding: told('encoding', 'queries'), searching, scoring: told('scoring') },
            encoding,
          )
    const mined = new Mined(pool, rules, minerScores)
    for (const block of blocks) {
      const ranked = await rank({ block, ...mined.askedOf(block) })
      const rows = await mined.choose(block, ranked, signal)
      if (teacher) await mined.teach(teacher, block, rows, told('teaching'), encoding)
      searched++
    }
    const result = mined.result(out)
    if (result.written === 0)
      throw new DataError(
        'ERR_DATA',
        `none of the ${result.rows} rows of "${data.name}" got ${rules.minNegatives} negatives of ${result.documents} ` +
          `documents; dropped by rules: ${JSON.stringify(result.dropped)}.`,
        { source: data.name, ...result },
      )
    await writeAtomic(out, mined.lines(told('writing', 'rows'), signal))
    return result
  } finally {
    await pool.close()
  }
}

function* blocksOf(queries: number, size: number): Generator<Range> {
  for (let first = 0; first < queries; first += size) yield { first, last: Math.min(first + size, queries) }
}
