import type { Colbert } from '../models/colbert.js'
import type { EncodeOptions } from '../models/encode.js'
import type { Range } from '../ragged.js'
import type { Scored } from '../retrieval/top-k.js'
import { abortIf, Turns } from '../turns.js'
import { candidatesOf, chosenOf, passing } from './choose.js'
import type { MineResult, Rules } from './options.js'
import type { Pool } from './pool.js'
import { type Pair, type Ranked, scoresOf, type Through } from './rank.js'

/** A row as it is written: its documents by number, the positive first, and their scores. */
interface MinedRow {
  documents: number[]
  scores?: ArrayLike<number>
}

/** The rows as they will be written, block by block of their queries. */
export class Mined {
  private readonly counts = {
    ...{ written: 0, droppedRows: 0, shortRows: 0, negatives: 0, notChosen: 0, excluded: 0 },
    dropped: { maxScore: 0, minScore: 0, dropAbove: 0, margin: 0, dropWhen: 0 },
    ...{ truncatedQueries: 0, truncatedDocuments: 0, teacherTruncated: 0 },
  }
  /** Of scores by the miner. */
  private readonly sums = { positives: 0, negatives: 0 }
  private readonly pool: Pool
  private readonly rules: Rules
  private readonly withScores: boolean
  /** By number of the row; rows that are left out have none. */
  private readonly rows: (MinedRow | undefined)[]

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
  async choose({ first, last }: Range, ranked: Ranked, signal: AbortSignal | undefined): Promise<number[]> {
    const { pool, rules, counts, sums } = this
    counts.truncatedQueries += ranked.truncated.queries
    counts.truncatedDocuments = ranked.truncated.documents // of all documents, in every block
    const written: number[] = []
    const turns = new Turns()
    let pair = 0
    for (let query = first; query < last; query++) {
      const never = new Set(pool.excluded[query])
      const { candidates, excluded } = candidatesOf(ranked.hits[query - first]!, never, rules.depth)
      for (const row of pool.rowsOf[query]!) {
        const score = ranked.scores[pair++]!
        const passed = this.allowed(row, passing(candidates, score, rules, counts.dropped))
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

  /** Those that `dropWhen` does not drop. */
  private allowed(row: number, passed: Scored[]): Scored[] {
    const { pool, counts } = this
    const { dropWhen } = this.rules
    if (!dropWhen) return passed
    const { query, positive, id } = pool.rows[row]!
    const texts = { query: pool.queries[query]!, positive: pool.text(positive), ...(id !== undefined && { id }) }
    const kept = passed.filter(({ index }) => !dropWhen(texts, pool.text(index)))
    counts.dropped.dropWhen += passed.length - kept.length
    return kept
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
    this.counts.teacherTruncated += queries.truncated! + truncated
    let at = 0
    for (const row of rows) {
      const mined = this.rows[row]!
      mined.scores = scores.subarray(at, (at += mined.documents.length))
    }
  }

  result(out: string): MineResult {
    const { pool, counts, sums } = this
    return {
      ...{ out, rows: pool.rows.length, queries: pool.queries.length, documents: pool.corpus },
      ...{ repeatedDocuments: pool.repeated, emptyDocuments: pool.empty },
      ...counts,
      meanPositive: sums.positives / Math.max(1, counts.written),
      meanNegative: sums.negatives / Math.max(1, counts.negatives),
      ...{ replaced: pool.replaced, unusedColumns: [...pool.unusedColumns] },
    }
  }

  /** Lines of the file, in the order in which the rows were read. */
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
