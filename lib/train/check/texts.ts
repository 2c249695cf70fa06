/** What the texts of a source become under a recipe: lengths, cuts, and some to look at. */
import type { Survey } from '../../data/survey.js'
import type { Featurizer } from '../../text/featurizer.js'
import { inTurns, Turns } from '../../turns.js'
import type { BatchSizes } from './memory.js'

/** Lengths of texts in tokens before they are cut, markers and prompt included, expansion not. */
export interface TextLengths {
  /** Texts that were looked at. */
  texts: number
  /** Those with more tokens than fit. */
  cut: number
  /** Share of all tokens that is cut away, 0 to 1. */
  lost: number
  /** Most tokens that fit. */
  limit: number
  /** Mean of the lengths. */
  mean: number
  /** Half of the texts have no more. */
  median: number
  /** Nine of ten have no more. */
  p90: number
  /** 99 of 100 have no more. */
  p99: number
  /** Their maximum; beyond 100,000 tokens a text is not looked at. */
  longest: number
}

/** A text as the model reads it. */
export interface SampleText {
  /** Its tokens, special ones included. */
  tokens: string[]
  /** Indices of tokens that the skiplist leaves out of scoring. */
  skipped: number[]
  /** Whether the text has more tokens than fit. */
  cut: boolean
  /** How many mask tokens come after it, each a vector of its own; queries only. */
  expansion: number
  /** The mask token. */
  mask: string
}

/** Tokens of the rows that were looked at. */
export interface Measured {
  queries: TextLengths
  documents: TextLengths
  /** Of each row: tokens of its query with expansion, tokens of its documents, and how many these are. */
  rows: { query: number; documents: number; documentCount: number }[]
}

/** Tokens of a text that are looked at beyond its limit. */
const LOOKED_AT = 100_000

/** Tokenizes the sample of a source, at most `most` documents of each row. */
export async function measureTexts({ sample }: Survey, featurizer: Featurizer, most: number): Promise<Measured> {
  const { expandTo, recipe } = featurizer
  const queries: number[] = []
  const documents: number[] = []
  const rows: Measured['rows'] = []
  const turns = new Turns()
  for (const { value } of sample) {
    const query = await tokensOf(featurizer, value.query, 'query')
    const own: number[] = []
    for (const text of value.documents.slice(0, most)) own.push(await tokensOf(featurizer, text, 'document'))
    queries.push(query)
    documents.push(...own)
    const tokens = own.reduce((sum, length) => sum + Math.min(length, recipe.documentLength), 0)
    const read = Math.max(Math.min(query, recipe.queryLength), expandTo)
    rows.push({ query: read, documents: tokens, documentCount: own.length })
    if (turns.due) await turns.take()
  }
  return {
    queries: lengthsOf(queries, recipe.queryLength),
    documents: lengthsOf(documents, recipe.documentLength),
    rows,
  }
}

/** Tokens of a text before it is cut. */
export async function tokensOf(featurizer: Featurizer, text: string, role: 'query' | 'document'): Promise<number> {
  const { ids, cut } = await inTurns(featurizer.partsInSteps(text, role, LOOKED_AT))
  return ids.length + cut.length
}

/** @param limit most that fit; Infinity where nothing is cut */
export function lengthsOf(lengths: readonly number[], limit: number): TextLengths {
  const sorted = Float64Array.from(lengths).sort()
  const total = sorted.reduce((sum, n) => sum + n, 0)
  const beyond = sorted.reduce((sum, n) => sum + Math.max(0, n - limit), 0)
  /** The least that so large a share of all has no more than. */
  const percentile = (share: number): number => sorted[Math.ceil(share * sorted.length) - 1]!
  return {
    texts: sorted.length,
    cut: sorted.filter((n) => n > limit).length,
    lost: beyond / total,
    limit,
    mean: total / sorted.length,
    median: percentile(0.5),
    p90: percentile(0.9),
    p99: percentile(0.99),
    longest: sorted.at(-1)!,
  }
}

/** A batch of the rows of a source with the most tokens, and a usual one, by its sample. */
export function batchSizes(measured: Measured, batch: number, all: number): Record<'worst' | 'usual', BatchSizes> {
  const { rows, documents } = measured
  const of = (part: readonly Measured['rows'][number][]): BatchSizes => {
    const scaled = (of: keyof Measured['rows'][number]) =>
      (batch / part.length) * part.reduce((total, row) => total + row[of], 0)
    return {
      queries: scaled('query'),
      documents: scaled('documents'),
      longest: Math.min(documents.longest, documents.limit),
      documentCount: scaled('documentCount'),
    }
  }
  return { worst: of(longestRows(measured, batch, all).map((i) => rows[i]!)), usual: of(rows) }
}

/** Those of a sample with the most tokens, as places in it: as large a part of it as the batch is of all rows. */
export function longestRows({ rows }: Measured, batch: number, all: number): number[] {
  const tokens = ({ query, documents }: Measured['rows'][number]): number => query + documents
  const longestFirst = [...rows.keys()].sort((a, b) => tokens(rows[b]!) - tokens(rows[a]!))
  return longestFirst.slice(0, Math.min(rows.length, Math.max(1, Math.ceil((rows.length * batch) / all))))
}

export function sampleText(featurizer: Featurizer, text: string, role: 'query' | 'document'): SampleText {
  const { tokenizer, expandTo, maskId } = featurizer
  const { ids, truncated: cut } = featurizer.features(text, role)
  const tokens = Array.from(ids, (id) => tokenizer.idToToken(id) ?? `<${id}>`)
  const skip = role === 'document' ? featurizer.skip : featurizer.querySkip
  const skipped = skip ? [...tokens.keys()].filter((i) => skip[ids[i]!]) : []
  const expansion = role === 'query' ? Math.max(0, expandTo - tokens.length) : 0
  return { tokens, skipped, cut, expansion, mask: tokenizer.idToToken(maskId) ?? `<${maskId}>` }
}
