import { existsSync } from 'node:fs'
import { defaultCacheDir } from '../data/cache.js'
import type { Source } from '../data/sources.js'
import { ArgumentError, FileError } from '../errors.js'
import { writeAtomic } from '../io/atomic.js'
import { Colbert } from '../models/colbert.js'
import {
  above,
  signal as aSignal,
  checkOptions,
  either,
  flag,
  func,
  instance,
  type Kinds,
  kind,
  number,
  oneOf,
  required,
  seed as seedKind,
  text,
  whole,
} from '../options.js'
import { abortIf, Turns } from '../turns.js'
import { chooseNegatives, type Dropped, type Rules } from './choose.js'
import { Pool } from './pool.js'
import { type Block, bm25Ranker, modelRanker, type Pair, type Ranker, scorePairs } from './rank.js'

/** Options of `mineNegatives`. */
export interface MineOptions {
  /** Rows of a query and its positive. Negatives that they have are replaced. */
  data: Source
  /** What ranks documents: a model, or BM25. */
  by: Colbert | 'bm25'
  /** File that is written, .jsonl or .jsonl.gz: `query`, `documents` with the positive first, and `scores` if asked for. */
  out: string
  /** Replace a file that is there. Default false. */
  overwrite?: boolean
  /** Texts of the documents to choose from. Default all documents of `data`. */
  corpus?: Iterable<string> | AsyncIterable<string>
  /** Negatives of a row, at most. Default 10. */
  negatives?: number
  /** Rows that get fewer are left out. Default 1. */
  minNegatives?: number
  /**
   * Ranks to choose from, both included: the best document has rank 1. Positives of the query, and the query itself, have
   * none. Default [1, 100].
   */
  depth?: readonly [from: number, to: number]
  /** The best of the documents that pass, or some drawn among them. Default `top`. */
  sampling?: 'top' | 'random'
  /** Of the draws. Default 0. */
  seed?: number
  /** Documents with this many times the score of the positive, or more, are dropped; as 0.95. */
  dropAbove?: number
  /** Documents that score less than this below the positive are dropped. */
  margin?: number
  /** Documents with a higher score are dropped. */
  maxScore?: number
  /** Documents with a lower score are dropped. */
  minScore?: number
  /** A model whose scores of the positive and of each negative are written. */
  teacher?: Colbert
  /** Write the scores of `by`. Default false. */
  minerScores?: boolean
  /** Queries that are searched at a time; for each such block all documents are encoded anew. Default 65,536. */
  queryBlock?: number
  /** Tokens encoded at a time. */
  microBatchTokens?: number
  /** Where texts lie meanwhile; default as for tokenized data. */
  cacheDir?: string
  /** Ends it, with ERR_ABORTED; nothing is written then. */
  signal?: AbortSignal
  /** Told how it stands. */
  onProgress?: (progress: MineProgress) => void
}

/** How mining stands. */
export interface MineProgress {
  /**
   * `reading` rows and documents; `searching` by a model (documents, of all blocks) or BM25 (queries); `scoring` positives,
   * `teaching` scores of the teacher (documents, of a block); `writing` rows.
   */
  stage: 'reading' | 'searching' | 'scoring' | 'teaching' | 'writing'
  /** How many are through. */
  done: number
  /** Of how many; absent while reading. */
  total?: number
}

/** What was mined. */
export interface MineResult {
  /** The file. */
  out: string
  /** Rows read. */
  rows: number
  /** Different queries. */
  queries: number
  /** Documents to choose from. */
  documents: number
  /** Documents that were left out because another one has the same text. */
  repeatedDocuments: number
  /** Documents that were left out because they have no text. */
  emptyDocuments: number
  /** Rows written. */
  written: number
  /** Negatives in them. */
  negatives: number
  /** Rows, of those written, with fewer negatives than asked for. */
  shortRows: number
  /** Rows left out: they would have fewer than `minNegatives`. */
  droppedRows: number
  /** Negatives that the rows had before. */
  replaced: number
  /** Documents at the ranks of `depth` that rules dropped, over all rows: the first rule counts. */
  dropped: Dropped
  /** Documents above the end of `depth` that are positives of the query, or the query itself, over all rows. */
  excluded: number
  /** Queries longer than the model takes, cut. */
  truncatedQueries: number
  /** Documents longer than the model takes, cut. */
  truncatedDocuments: number
}

const model = instance('a Colbert', () => Colbert)
const mineOptions: Kinds<MineOptions> = {
  data: kind('a source of rows', (v) => typeof (v as Source)?.[Symbol.asyncIterator] === 'function'),
  by: either(model, oneOf('bm25')),
  out: kind('the name of a .jsonl or .jsonl.gz file', (v) => typeof v === 'string' && /\.jsonl(\.gz)?$/.test(v)),
  overwrite: flag,
  corpus: kind(
    'an iterable of texts',
    (v) => typeof v === 'object' && v !== null && (Symbol.iterator in v || Symbol.asyncIterator in v),
  ),
  negatives: whole(1),
  minNegatives: whole(0),
  depth: kind(
    'two ranks [from, to], from 1',
    (v) => Array.isArray(v) && v.length === 2 && v.every((rank) => whole(1).is(rank)) && v[0] <= v[1],
  ),
  sampling: oneOf('top', 'random'),
  seed: seedKind,
  dropAbove: above(0),
  margin: number(0),
  maxScore: number(),
  minScore: number(),
  teacher: model,
  minerScores: flag,
  queryBlock: whole(1),
  microBatchTokens: above(0),
  cacheDir: text,
  signal: aSignal,
  onProgress: func,
}

/**
 * Finds hard negatives: documents that a model, or BM25, ranks high for a query and that are not its positives. Writes rows
 * that training reads as they are. Documents are told apart by their text; equal scores rank by the order of documents.
 * @throws ArgumentError ERR_ARGUMENT for bad options; DataError ERR_DATA for bad data; FileError ERR_FILE for a file that is
 *   there already or cannot be written; AbortedError ERR_ABORTED
 */
export async function mineNegatives(options: MineOptions): Promise<MineResult> {
  const rules = checked(options)
  const { out, data, by, corpus, teacher, signal, overwrite = false, minNegatives = 1 } = options
  const { cacheDir = defaultCacheDir(), queryBlock = 1 << 16, onProgress = () => {}, microBatchTokens } = options
  if (!overwrite && existsSync(out))
    throw new FileError('ERR_FILE', `${out} is there already; name another file, or overwrite it`, { path: out })
  const encoding = { ...(signal && { signal }), ...(microBatchTokens !== undefined && { microBatchTokens }) }
  const report = (stage: MineProgress['stage']) => (done: number, total?: number) =>
    onProgress({ stage, done, ...(total !== undefined && { total }) })
  const pool = await Pool.read(data, corpus, { cacheDir, signal, onProgress: report('reading') })
  try {
    const { rows, queries, excluded, rowsOf } = pool
    const dropped: Dropped = { maxScore: 0, minScore: 0, dropAbove: 0, margin: 0 }
    const truncated = { truncatedQueries: 0, truncatedDocuments: 0 }
    const blocks: Block[] = []
    for (let first = 0; first < queries.length; first += queryBlock)
      blocks.push({ first, last: Math.min(first + queryBlock, queries.length) })
    let block = 0
    const searching = report('searching')
    const rank: Ranker =
      by === 'bm25'
        ? await bm25Ranker(pool, signal, searching)
        : modelRanker(
            by,
            pool,
            encoding,
            {
              search: (done, total) => searching(block * total + done, blocks.length * total),
              pairs: report('scoring'),
            },
            truncated,
          )
    /** Of each row that is written: its documents, the positive first, and what is written of their scores. */
    const chosen = new Array<{ documents: number[]; scores?: ArrayLike<number> }>(rows.length)
    const result = { written: 0, negatives: 0, shortRows: 0, droppedRows: 0, excluded: 0 }
    const turns = new Turns()
    for (; block < blocks.length; block++) {
      const { first, last } = blocks[block]!
      const limits = excluded.slice(first, last).map(({ length }) => rules.depth[1] + length)
      const asked: Pair[] = []
      for (let query = first; query < last; query++)
        for (const row of rowsOf[query]!) asked.push({ query, document: rows[row]!.positive })
      const { hits, scores } = await rank(blocks[block]!, { limits, pairs: asked })
      let pair = 0
      const written: number[] = []
      for (let query = first; query < last; query++) {
        const never = new Set(excluded[query])
        const ranked = hits[query - first]!.filter(({ index }) => !never.has(index))
        const found = hits[query - first]!.length - ranked.length
        for (const row of rowsOf[query]!) {
          const positive = scores[pair++]!
          const negatives = chooseNegatives(ranked, positive, row, rules, dropped)
          result.excluded += found
          if (negatives.length < minNegatives) {
            result.droppedRows++
            continue
          }
          result.written++
          result.negatives += negatives.length
          if (negatives.length < rules.negatives) result.shortRows++
          written.push(row)
          chosen[row] = {
            documents: [rows[row]!.positive, ...negatives.map(({ index }) => index)],
            ...(options.minerScores && { scores: [positive, ...negatives.map(({ score }) => score)] }),
          }
        }
        if (turns.due) {
          abortIf(signal)
          await turns.take()
        }
      }
      if (!teacher) continue
      const encoded = await teacher.encodeQueries(queries.slice(first, last), encoding)
      const pairs = written.flatMap((row) =>
        chosen[row]!.documents.map((document) => ({ query: rows[row]!.query, document })),
      )
      const taught = await scorePairs(teacher, encoded, pool, blocks[block]!, pairs, encoding, report('teaching'))
      let at = 0
      for (const row of written) {
        const { documents } = chosen[row]!
        chosen[row] = { documents, scores: taught.subarray(at, (at += documents.length)) }
      }
    }
    await writeAtomic(out, linesOf(pool, chosen, report('writing'), signal))
    return {
      out,
      rows: rows.length,
      queries: queries.length,
      documents: pool.corpus,
      repeatedDocuments: pool.repeated,
      emptyDocuments: pool.empty,
      replaced: pool.replaced,
      ...result,
      dropped,
      ...truncated,
    }
  } finally {
    await pool.close()
  }
}

async function* linesOf(
  pool: Pool,
  chosen: readonly ({ documents: number[]; scores?: ArrayLike<number> } | undefined)[],
  through: (done: number, total: number) => void,
  signal: AbortSignal | undefined,
): AsyncGenerator<string> {
  const turns = new Turns()
  for (const [row, { query, id }] of pool.rows.entries()) {
    const made = chosen[row]
    if (!made) continue
    const line = {
      query: pool.queries[query],
      documents: made.documents.map((document) => pool.text(document)),
      ...(made.scores && { scores: Array.from(made.scores, (score) => Number(score.toPrecision(9))) }),
      ...(id !== undefined && { id }),
    }
    yield `${JSON.stringify(line)}\n`
    if (!turns.due) continue
    abortIf(signal)
    through(row, pool.rows.length)
    await turns.take()
  }
}

/** @throws ArgumentError ERR_ARGUMENT */
function checked(options: MineOptions): Rules {
  checkOptions('mineNegatives', options, mineOptions)
  for (const key of ['data', 'by', 'out'] as const) required('mineNegatives', key, options?.[key], mineOptions[key])
  const { negatives = 10, minNegatives = 1, depth = [1, 100], sampling = 'top', seed = 0 } = options
  const { dropAbove, margin, maxScore, minScore } = options
  const fail = (message: string) => new ArgumentError('ERR_ARGUMENT', `mineNegatives: ${message}`)
  const ranks = depth[1] - depth[0] + 1
  if (negatives > ranks) throw fail(`${negatives} negatives of ${ranks} ranks; look deeper, or ask for fewer`)
  if (minNegatives > negatives) throw fail(`minNegatives is ${minNegatives}, but a row has at most ${negatives}`)
  if (options.seed !== undefined && sampling === 'top') throw fail('seed has no effect: only sampling: random draws')
  if (options.teacher && options.minerScores) throw fail('teacher and minerScores: a row has one set of scores')
  if (options.by === 'bm25' && options.queryBlock !== undefined) throw fail('queryBlock has no effect on BM25')
  if (options.by === 'bm25' && !options.teacher && options.microBatchTokens !== undefined)
    throw fail('microBatchTokens has no effect: nothing is encoded')
  if (maxScore !== undefined && minScore !== undefined && minScore > maxScore)
    throw fail(`minScore is ${minScore}, above maxScore, ${maxScore}`)
  return { negatives, depth, sampling, seed, dropAbove, margin, maxScore, minScore }
}
