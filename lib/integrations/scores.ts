/** What every integration needs of a model: the scores of texts for a query, on the scale that its framework expects. */
import { ArgumentError } from '../errors.js'
import { Colbert } from '../models/colbert.js'
import { type AskedDocument, scorePairs } from '../models/score-pairs.js'
import { instance, type Kinds, oneOf, required } from '../options.js'
import { countOf, type Embeddings } from '../retrieval/embeddings.js'

/**
 * `mean`: MaxSim divided by the number of the query's token vectors, at most 1, so that scores of queries of different lengths
 * compare. `sum`: MaxSim itself. They rank alike.
 */
export type ScoreScale = 'mean' | 'sum'

/** Options of every integration. */
export interface ScoreOptions {
  /** Scale of the scores; default `mean`, since frameworks and their thresholds expect scores up to 1. */
  scores?: ScoreScale
}

export const scoreOptions: Kinds<ScoreOptions> = { scores: oneOf('mean', 'sum') }
const aModel = instance('a model, as Colbert.load gives it', () => Colbert)

/** @throws ArgumentError ERR_ARGUMENT for what is no model */
export function checkModel(what: string, model: unknown): void {
  required(what, 'a model', model, aModel)
}

/** @throws ArgumentError ERR_ARGUMENT */
export function checkText(what: string, name: string, text: unknown): void {
  if (typeof text !== 'string')
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `${what}: ${name} is ${text === null ? 'null' : typeof text}, expected a text`,
    )
}

/** What a score of each query is divided by. A query without token vectors scores 0 on either scale. */
export function divisors({ offsets }: Pick<Embeddings, 'offsets'>, scale: ScoreScale = 'mean'): number[] {
  return Array.from({ length: countOf({ offsets }) }, (_, q) =>
    scale === 'sum' ? 1 : Math.max(1, offsets[q + 1]! - offsets[q]!),
  )
}

/**
 * Scores of documents for those of the queries that ask for them, in the order of the documents and their `queries`. Queries are
 * encoded once; documents are encoded some at a time and forgotten.
 * @throws AbortedError ERR_ABORTED
 */
export async function relevance(
  model: Colbert,
  queries: readonly string[],
  documents: readonly AskedDocument[],
  { scores: scale, signal }: ScoreOptions & { signal?: AbortSignal | undefined },
): Promise<number[]> {
  const options = signal ? { signal } : {}
  const encoded = await model.encodeQueries(queries, options)
  const by = divisors(encoded, scale)
  const asked = documents.flatMap((document) => document.queries)
  const scores: number[] = []
  for await (const part of scorePairs(model, encoded, documents, options))
    for (const score of part.scores) scores.push(score / by[asked[scores.length]!]!)
  return scores
}

/** A text by its number, with its score. */
export interface Ranked {
  index: number
  score: number
}

/** Texts in order of their score for a query, the best first and equal ones as they were given. */
export async function ranked(
  model: Colbert,
  query: string,
  texts: readonly string[],
  options: ScoreOptions & { topN?: number | undefined; signal?: AbortSignal | undefined },
): Promise<Ranked[]> {
  const documents = texts.map((text) => ({ text, queries: [0] }))
  const scores = texts.length > 0 ? await relevance(model, [query], documents, options) : []
  return scores
    .map((score, index) => ({ index, score }))
    .sort((a, b) => b.score - a.score || a.index - b.index)
    .slice(0, options.topN)
}
