/** What an index takes from its callers, and what it says of itself. */
import { ArgumentError } from '../errors.js'
import type { Colbert } from '../models/colbert.js'
import {
  checkOptions,
  flag,
  func,
  type Kinds,
  kind,
  list,
  number,
  object,
  oneOf,
  required,
  signal,
  strings,
  text,
  whole,
} from '../options.js'
import type { OnProgress } from '../progress.js'
import type { EmbeddingData, Embeddings } from '../retrieval/embeddings.js'
import type { PoolOptions } from '../retrieval/pool.js'
import type { Recipe } from '../text/recipe.js'
import { type IndexType, indexTypes, type Pooling, type SearchSetting } from './manifest.js'
import type { IndexSearchOptions } from './search.js'
import type { Metadata, VerifyOptions } from './segment.js'
import type { AddOptions, CompactOptions } from './writer.js'

/** A document to add. */
export interface IndexDocument {
  /** Its name, for ever: no two documents of an index have one. */
  id: string
  /** What is encoded, and kept. */
  text: string
  /** JSON that is kept beside it, for filters and hits. */
  metadata?: Metadata
}

/** Options of `Index.open`. */
export interface OpenIndexOptions {
  /** Encodes texts, by the index's recipe. Not needed to search with, and add, embeddings. */
  model?: Colbert
}

/** Options of `Index.create`. */
export interface CreateIndexOptions extends OpenIndexOptions {
  /**
   * What token embeddings are stored as: `int8`, with a scale for each token; `float16`; `float32`; or the compact `residual4` and
   * `residual2`, which keep of each number what it has beyond a centroid in 4 or 2 bits. These find less: `info` says what, once
   * a segment is large enough for them; smaller ones are int8. Default `int8`, which takes a quarter of float32.
   */
  type?: IndexType
  /**
   * Fewer token vectors of each document that `add` encodes, as `poolTokens` makes them: about 1 / factor of them, but for the
   * protected ones at its beginning. Default: all are kept. Not of `addEmbeddings`, which takes vectors as they are.
   */
  pooling?: Pick<PoolOptions, 'factor' | 'protectedTokens'>
  /**
   * Segments of so many tokens or more get lists, by which candidates are found without looking at every document. Below,
   * scoring all takes no longer. Default 131,072.
   */
  listsFrom?: number
  /** Without a model: the dimension of the vectors that will be added. */
  dim?: number
  /** Without a model: how their texts become tokens. Embeddings of another recipe are refused then. */
  recipe?: Recipe
  /** What `model` is called, as a folder or a name on the Hub; kept, for whoever opens the index. */
  modelName?: string
}

/** Of each query the documents that were judged for it, by id, and their grades: above 0 is relevant. */
export type Judgments = readonly ReadonlyMap<string, number>[]

/** Options of `Index.check`. */
export interface CheckOptions {
  /**
   * Queries to try: texts, embeddings, or how many to make of the index's own documents: their first words, or first token
   * vectors. Default 200.
   */
  queries?: number | readonly string[] | Embeddings<'query', EmbeddingData>
  /**
   * Of each of `queries`, for nDCG. Default: of queries that are made of documents, the document of each; else nDCG is not measured.
   */
  judgments?: Judgments
  /** Hits of a query; default 10. */
  topK?: number
  /** Share of the exact hits that has to be found; default 0.98. */
  target?: number
  /** Told how many queries each way to search has answered. */
  onProgress?: OnProgress
  /** Ends it, with ERR_ABORTED. */
  signal?: AbortSignal
}

/** What an index holds now. */
export interface IndexInfo {
  /** Those that are not deleted. */
  documents: number
  /** Deleted documents whose vectors are still there; `compact` removes them. */
  deleted: number
  /** Token vectors, those of deleted documents too. */
  tokens: number
  /** Parts that were added, or joined, together. */
  segments: number
  /** Of all files. */
  bytes: number
  /** Of a token vector. */
  dim: number
  /** What token vectors are stored as. */
  type: IndexType
  /**
   * What residual codes find of the ten best documents by the vectors that they were made of, a share: measured when they are made,
   * with documents of the same segment as queries. Null where there are none.
   */
  codesRecall: number | null
  /** As it was called when the index was made; null where it was not. */
  model: string | null
  /** How texts become tokens; null for vectors from elsewhere. */
  recipe: Recipe | null
  /** How token vectors of added documents are pooled; null: not at all. */
  pooling: Pooling | null
  /** Segments with lists, which are searched by candidates. */
  listed: number
  /** How they are searched, as `check` found out; null where it was never asked. */
  search: SearchSetting | null
}

export const openOptions: Kinds<OpenIndexOptions> = { model: object }
export const createOptions: Kinds<CreateIndexOptions> = {
  ...openOptions,
  ...{
    type: oneOf(...indexTypes),
    dim: whole(1),
    recipe: object,
    modelName: text,
    pooling: object,
    listsFrom: whole(1),
  },
}
const poolingOptions: Kinds<NonNullable<CreateIndexOptions['pooling']>> = {
  factor: number(1),
  protectedTokens: whole(0),
}
/** As it is kept; null: not at all. @throws ArgumentError ERR_ARGUMENT */
export function poolingOf(what: string, pooling: CreateIndexOptions['pooling']): Pooling | null {
  if (!pooling) return null
  checkOptions(`${what}: pooling`, pooling, poolingOptions)
  required(`${what}: pooling`, 'factor', pooling.factor, poolingOptions.factor)
  const { factor, protectedTokens = 1 } = pooling
  return { factor, protectedTokens }
}
export const addOptions: Kinds<AddOptions> = { existing: oneOf('refuse', 'replace', 'skip'), onProgress: func, signal }
export const checkedOptions: Kinds<CheckOptions> = {
  queries: kind(
    'texts, embeddings of queries, or how many',
    (v) => (typeof v === 'object' && v !== null) || whole(1).is(v),
  ),
  judgments: list(
    kind('a map of ids to grades', (v) => object.is(v) && typeof (v as ReadonlyMap<string, number>).get === 'function'),
  ),
  ...{ topK: whole(1), target: number(0, 1), onProgress: func, signal },
}
export const compactOptions: Kinds<CompactOptions> = { onProgress: func, signal }
export const verifyOptions: Kinds<VerifyOptions> = { onProgress: func, signal }
export const searchOptions: Kinds<IndexSearchOptions> = {
  onProgress: func,
  ...{ topK: whole(1), filter: object, among: list(strings), withTexts: flag, explain: flag, signal },
  ...{ exact: flag, probes: whole(1), candidates: whole(1), firstStage: oneOf('bm25') },
}
export const idList = kind(
  'a list of ids',
  (v) => typeof v !== 'string' && typeof (v as string[])?.[Symbol.iterator] === 'function',
)

/** @throws ArgumentError ERR_ARGUMENT */
export function checkId(id: unknown): void {
  if (typeof id !== 'string' || id === '' || Buffer.from(id).toString() !== id)
    throw new ArgumentError('ERR_ARGUMENT', `an id is ${JSON.stringify(id)}, expected a text that is not empty`, { id })
}

/** @throws ArgumentError ERR_ARGUMENT for what is no document */
export function checkDocument(document: IndexDocument): IndexDocument {
  if (!object.is(document))
    throw new ArgumentError('ERR_ARGUMENT', `add: expected documents { id, text, metadata }, got ${typeof document}`)
  const { id, text: given, metadata, ...rest } = document
  checkId(id)
  const fail = (message: string) => new ArgumentError('ERR_ARGUMENT', `add: document "${id}": ${message}`, { id })
  const [other] = Object.keys(rest)
  if (other !== undefined) throw fail(`nothing reads "${other}"; what is kept beside a document goes into metadata`)
  if (typeof given !== 'string') throw fail(`text is ${typeof given}, expected a text`)
  if (metadata !== undefined && !object.is(metadata)) throw fail('metadata is no object')
  return document
}
