import type { Source } from '../data/sources.js'
import { ArgumentError } from '../errors.js'
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
import type { OnProgress, Progress } from '../progress.js'

/** Options of `mineNegatives`. */
export interface MineOptions {
  /** Rows of a query and its positive. Negatives and scores that they have are replaced. */
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
  /** The best of the documents that pass all rules, or some drawn among them. Default `top`. */
  sampling?: 'top' | 'random'
  /** Of the draws. Default 0. */
  seed?: number
  /** Documents that score this many times what the positive does, or more, are dropped; as 0.95. Default none are. */
  dropAbove?: number
  /** Documents that do not score lower than the positive by more than this are dropped. Default none are. */
  margin?: number
  /** Documents with a higher score are dropped. */
  maxScore?: number
  /** Documents with a lower score are dropped. */
  minScore?: number
  /** Asked about documents that pass all other rules: true drops one, as for being of the same group as the positive. */
  dropWhen?: (row: MiningRow, document: string) => boolean
  /** A model whose scores of the positive and of each negative are written. */
  teacher?: Colbert
  /** Write the scores of `by`. Default false. */
  minerScores?: boolean
  /**
   * Queries that a model searches at a time: their embeddings are held, and for each such block all documents are encoded
   * anew. Default 32,768.
   */
  queryBlock?: number
  /** Tokens encoded at a time. Default 8192. */
  microBatchTokens?: number
  /** Where texts lie meanwhile; default as for tokenized data. */
  cacheDir?: string
  /** Ends it, with ERR_ABORTED; nothing is written then. */
  signal?: AbortSignal
  /** Told how it stands. */
  onProgress?: OnProgress<MineProgress>
}

/** A row that negatives are found for, as `dropWhen` sees it. */
export interface MiningRow {
  /** The text of its query. */
  query: string
  /** The text of its positive. */
  positive: string
  /** Its name, if it has one. */
  id?: string
}

/** How mining stands. */
export interface MineProgress extends Progress {
  /**
   * `reading` documents and rows; `encoding` queries; `indexing` words for BM25; `searching`, by a model (documents, once for
   * each block of queries) or BM25 (queries); `scoring` positives and `teaching`, the scores of the teacher (documents of a
   * block); `writing` rows.
   */
  stage: 'reading' | 'encoding' | 'indexing' | 'searching' | 'scoring' | 'teaching' | 'writing'
  /** The source. */
  name: string
}

/** How many candidates each rule dropped. */
export interface Dropped {
  /** Score above `maxScore`. */
  maxScore: number
  /** Score below `minScore`. */
  minScore: number
  /** `dropAbove` times the positive's score, or more. */
  dropAbove: number
  /** Not lower than the positive's score by more than `margin`. */
  margin: number
  /** `dropWhen` said so. */
  dropWhen: number
}

/** What was mined, and what was left out. Counts of candidates are over all rows, documents at the ranks of `depth`. */
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
  /** Rows left out: they would have fewer than `minNegatives`. */
  droppedRows: number
  /** Rows, of those written, with fewer negatives than asked for. */
  shortRows: number
  /** Negatives in the rows written. */
  negatives: number
  /** Candidates that a rule dropped; of several rules the first in this order counts. */
  dropped: Dropped
  /** Candidates that passed all rules and were not chosen. */
  notChosen: number
  /** Documents that rank above the end of `depth` and are positives of the query, or the query itself. */
  excluded: number
  /** Mean score of the positives that were written, by the miner. */
  meanPositive: number
  /** Mean score of the negatives, by the miner. */
  meanNegative: number
  /** Negatives that the rows had before. */
  replaced: number
  /** Columns of the rows that are not in the file. */
  unusedColumns: readonly string[]
  /** Queries longer than the miner takes, cut. */
  truncatedQueries: number
  /** Documents longer than the miner takes, cut. */
  truncatedDocuments: number
  /** Queries and documents longer than the teacher takes, cut; once for each block of queries. */
  teacherTruncated: number
}

/** What decides which candidates become negatives, defaults filled in. */
export type Rules = Readonly<
  Required<Pick<MineOptions, 'negatives' | 'minNegatives' | 'depth' | 'sampling' | 'seed'>> &
    Pick<MineOptions, 'dropAbove' | 'margin' | 'maxScore' | 'minScore' | 'dropWhen'>
>

const model = instance('a Colbert', () => Colbert)
const rank = whole(1)
const mineOptions: Kinds<MineOptions> = {
  data: kind('a source of rows', (v) => typeof (v as Source | null)?.[Symbol.asyncIterator] === 'function'),
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
    (v) => Array.isArray(v) && v.length === 2 && v.every((end) => rank.is(end)) && v[0] <= v[1],
  ),
  sampling: oneOf('top', 'random'),
  seed: seedKind,
  dropAbove: above(0),
  margin: number(0),
  maxScore: number(),
  minScore: number(),
  dropWhen: func,
  teacher: model,
  minerScores: flag,
  queryBlock: whole(1),
  microBatchTokens: above(0),
  cacheDir: text,
  signal: aSignal,
  onProgress: func,
}

/** The rules of checked options. @throws ArgumentError ERR_ARGUMENT for bad options, and for those without effect */
export function rulesOf(options: MineOptions): Rules {
  checkOptions('mineNegatives', options, mineOptions)
  for (const key of ['data', 'by', 'out'] as const) required('mineNegatives', key, options?.[key], mineOptions[key])
  const { negatives = 10, minNegatives = 1, depth = [1, 100], sampling = 'top', seed = 0 } = options
  const { by, teacher, dropAbove, margin, maxScore, minScore, dropWhen } = options
  const fail = (message: string) => new ArgumentError('ERR_ARGUMENT', `mineNegatives: ${message}`)
  const ranks = depth[1] - depth[0] + 1
  if (negatives > ranks)
    throw fail(
      `depth has ${ranks} ranks, fewer than the ${negatives} negatives of a row; look deeper, or ask for fewer`,
    )
  if (minNegatives > negatives) throw fail(`minNegatives is ${minNegatives}, but a row has at most ${negatives}`)
  if (options.seed !== undefined && sampling === 'top') throw fail('seed has no effect: only sampling "random" draws')
  if (teacher && options.minerScores) throw fail('teacher and minerScores: a row has the scores of one of them')
  if (by === 'bm25' && options.queryBlock !== undefined) throw fail('queryBlock has no effect on BM25')
  if (by === 'bm25' && !teacher && options.microBatchTokens !== undefined)
    throw fail('microBatchTokens has no effect: nothing is encoded')
  if (maxScore !== undefined && minScore !== undefined && minScore > maxScore)
    throw fail(`minScore is ${minScore}, above maxScore, ${maxScore}`)
  return { negatives, minNegatives, depth, sampling, seed, dropAbove, margin, maxScore, minScore, dropWhen }
}
