import { existsSync } from 'node:fs'
import { defaultCacheDir } from '../data/cache.js'
import { DataError, FileError } from '../errors.js'
import { writeAtomic } from '../io/atomic.js'
import type { Colbert } from '../models/colbert.js'
import type { EncodeOptions } from '../models/encode.js'
import type { Range } from '../ragged.js'
import { abortIf, Turns } from '../turns.js'
import { chosenOf, passing, type Rules, rankedOf } from './choose.js'
import { type MineOptions, type MineProgress, type MineResult, rulesOf } from './options.js'
import { Pool } from './pool.js'
import { bm25Ranker, modelRanker, type Pair, type Ranked, scoresOf, type Through } from './rank.js'

/** A row as it is written: its documents by number, the positive first, and their scores. */
interface MinedRow {
  documents: number[]
  scores?: ArrayLike<number>
}

type Counts = Pick<
  MineResult,
  'written' | 'droppedRows' | 'shortRows' | 'negatives' | 'dropped' | 'notChosen' | 'excluded'
>

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
  const told = (stage: MineProgress['stage']) => (done: number, total?: number) =>
    options.onProgress?.({ stage, done, ...(total !== undefined && { total }) })
  const pool = await Pool.read(data, corpus, { cacheDir, signal, reading: told('reading') })
  try {
    const blocks = [...blocksOf(pool.queries.length, queryBlock)]
    let searched = 0
    const searching: Through = (done, total) => told('searching')(searched * total + done, blocks.length * total)
    const ranker =
      by === 'bm25'
        ? await bm25Ranker(pool, told('searching'), signal)
        : modelRanker(by, pool, { searching, scoring: told('scoring') }, encoding)
    const mined = new Mined(pool, rules, minerScores)
    for (const block of blocks) {
      const ranked = await ranker.rank({ block, ...mined.askedOf(block) })
      const rows = await mined.choose(block, ranked, signal)
      if (teacher) await mined.teach(teacher, block, rows, told('teaching'), encoding)
      searched++
    }
    const { counts } = mined
    if (counts.written === 0)
      throw new DataError(
        'ERR_DATA',
        `none of the ${pool.rows.length} rows of "${data.name}" got ${rules.minNegatives} negatives of ${pool.corpus} ` +
          `documents; dropped by rules: ${JSON.stringify(counts.dropped)}.`,
        { source: data.name, ...counts },
      )
    await writeAtomic(out, mined.lines(told('writing'), signal))
    return {
      ...{ out, rows: pool.rows.length, queries: pool.queries.length, documents: pool.corpus },
      ...{ repeatedDocuments: pool.repeated, emptyDocuments: pool.empty },
      ...counts,
      meanPositive: mined.sums.positives / counts.written,
      meanNegative: mined.sums.negatives / Math.max(1, counts.negatives),
      ...{ replaced: pool.replaced, unusedColumns: [...pool.unusedColumns] },
      ...{ truncatedQueries: ranker.truncatedQueries, truncatedDocuments: ranker.truncatedDocuments },
      teacherTruncated: mined.teacherTruncated,
    }
  } finally {
    await pool.close()
  }
}

function* blocksOf(queries: number, size: number): Generator<Range> {
  for (let first = 0; first < queries; first += size) yield { first, last: Math.min(first + size, queries) }
}

/** The rows as they will be written, block by block of their queries. */
class Mined {
  readonly counts: Counts = {
    ...{ written: 0, droppedRows: 0, shortRows: 0, negatives: 0 },
    dropped: { maxScore: 0, minScore: 0, dropAbove: 0, margin: 0 },
    ...{ notChosen: 0, excluded: 0 },
  }
  private readonly pool: Pool
  private readonly rules: Rules
  private readonly withScores: boolean
  /** By number of the row; rows that are left out have none. */
  private readonly rows: (MinedRow | undefined)[]
  /** Of scores by the miner. */
  readonly sums = { positives: 0, negatives: 0 }
  teacherTruncated = 0

  constructor(pool: Pool, rules: Rules, withScores: boolean) {
    this.pool = pool
    this.rules = rules
    this.withScores = withScores
    this.rows = new Array(pool.rows.length)
  }

  /** How deep is searched, so that all ranks are left beside what is excluded; and all positives, whose scores rules need. */
  askedOf({ first, last }: Range): { limits: number[]; pairs: Pair[] } {
    const { pool, rules } = this
    const limits: number[] = []
    const pairs: Pair[] = []
    for (let query = first; query < last; query++) {
      limits.push(rules.depth[1] + pool.excluded[query]!.length)
      for (const row of pool.rowsOf[query]!) pairs.push({ query, document: pool.rows[row]!.positive })
    }
    return { limits, pairs }
  }

  /** @returns the rows of the block that are written */
  async choose({ first, last }: Range, { hits, scores }: Ranked, signal: AbortSignal | undefined): Promise<number[]> {
    const { pool, rules, counts, sums } = this
    const written: number[] = []
    const turns = new Turns()
    let pair = 0
    for (let query = first; query < last; query++) {
      const { ranked, excluded } = rankedOf(hits[query - first]!, new Set(pool.excluded[query]), rules.depth[1])
      for (const row of pool.rowsOf[query]!) {
        const score = scores[pair++]!
        const passed = passing(ranked, score, rules, counts.dropped)
        const negatives = chosenOf(passed, row, rules)
        counts.excluded += excluded
        if (negatives.length < rules.minNegatives) {
          counts.droppedRows++
          counts.notChosen += passed.length
          continue
        }
        counts.written++
        counts.negatives += negatives.length
        counts.notChosen += passed.length - negatives.length
        if (negatives.length < rules.negatives) counts.shortRows++
        sums.positives += score
        for (const negative of negatives) sums.negatives += negative.score
        written.push(row)
        this.rows[row] = {
          documents: [pool.rows[row]!.positive, ...negatives.map(({ index }) => index)],
          ...(this.withScores && { scores: [score, ...negatives.map((negative) => negative.score)] }),
        }
      }
      if (!turns.due) continue
      abortIf(signal)
      await turns.take()
    }
    return written
  }

  /** Gives rows of a block the scores of a teacher. */
  async teach(
    teacher: Colbert,
    { first, last }: Range,
    rows: readonly number[],
    told: Through,
    options: EncodeOptions,
  ): Promise<void> {
    const { pool } = this
    const queries = await teacher.encodeQueries(pool.queries.slice(first, last), options)
    const pairs = rows.flatMap((row) => {
      const { query } = pool.rows[row]!
      return this.rows[row]!.documents.map((document) => ({ query, document }))
    })
    const { scores, truncated } = await scoresOf(teacher, queries, pool, { first, pairs }, told, options)
    this.teacherTruncated += queries.truncated! + truncated
    let at = 0
    for (const row of rows) {
      const mined = this.rows[row]!
      mined.scores = scores.subarray(at, (at += mined.documents.length))
    }
  }

  /** In the order in which the rows were read. */
  async *lines(told: Through, signal: AbortSignal | undefined): AsyncGenerator<string> {
    const { pool } = this
    const turns = new Turns()
    for (const [number, row] of this.rows.entries()) {
      if (!row) continue
      const { query, id } = pool.rows[number]!
      const line = {
        query: pool.queries[query],
        documents: row.documents.map((document) => pool.text(document)),
        ...(row.scores && { scores: Array.from(row.scores, shortest) }),
        ...(id !== undefined && { id }),
      }
      yield `${JSON.stringify(line)}\n`
      if (!turns.due) continue
      abortIf(signal)
      told(number + 1, this.rows.length)
      await turns.take()
    }
  }
}

/** As few digits as tell float32 numbers apart. */
const shortest = (score: number): number => Number(score.toPrecision(9))
