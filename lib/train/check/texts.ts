/** What the texts of a source become under a recipe: lengths, cuts, and some to look at. */
import type { Survey } from '../../data/survey.js'
import type { Featurizer } from '../../text/featurizer.js'
import type { BatchSizes } from './memory.js'

/** Lengths of texts in tokens, markers and prompt included, expansion not. */
export interface TextLengths {
  /** Texts that were looked at, and how many of them have more tokens than fit. */
  texts: number
  /** Texts with more tokens than fit. */
  cut: number
  /** Most tokens of a text. */
  limit: number
  /** Mean of the lengths before cutting. */
  mean: number
  /** Their median. */
  median: number
  /** Their maximum. */
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

/** Rows between two turns of the event loop. */
const BREATH = 16

/** Tokenizes the sample of a source, at most `most` documents of each row. */
export async function measureTexts({ sample }: Survey, featurizer: Featurizer, most: number): Promise<Measured> {
  const { expandTo, recipe } = featurizer
  const queries: Traced[] = []
  const documents: Traced[] = []
  const rows: Measured['rows'] = []
  for (const [i, { value }] of sample.entries()) {
    const query = traced(featurizer, value.query, 'query')
    const own = value.documents.slice(0, most).map((text) => traced(featurizer, text, 'document'))
    queries.push(query)
    documents.push(...own)
    const tokens = own.reduce((sum, { length }) => sum + length, 0)
    rows.push({ query: Math.max(query.length, expandTo), documents: tokens, documentCount: own.length })
    if (i % BREATH === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  return {
    queries: lengthsOf(queries, recipe.queryLength),
    documents: lengthsOf(documents, recipe.documentLength),
    rows,
  }
}

interface Traced {
  length: number
  cut: boolean
}

function traced(featurizer: Featurizer, text: string, role: 'query' | 'document'): Traced {
  const { ids, truncated: cut } = featurizer.features(text, role)
  return { length: ids.length, cut }
}

function lengthsOf(texts: readonly Traced[], limit: number): TextLengths {
  const lengths = texts.map(({ length }) => length).sort((a, b) => a - b)
  return {
    texts: texts.length,
    cut: texts.filter(({ cut }) => cut).length,
    limit,
    mean: lengths.reduce((sum, n) => sum + n, 0) / lengths.length,
    median: lengths[lengths.length >> 1]!,
    longest: lengths.at(-1)!,
  }
}

/**
 * A batch of the rows of a source with the most tokens, and a usual one, by its sample: as large a part of the sample as
 * the batch is of the source is in the worst one.
 */
export function batchSizes(
  { rows, documents }: Measured,
  batch: number,
  all: number,
): Record<'worst' | 'usual', BatchSizes> {
  const longestFirst = rows.toSorted((a, b) => b.query + b.documents - a.query - a.documents)
  const most = Math.min(rows.length, Math.max(1, Math.ceil((rows.length * batch) / all)))
  const of = (part: readonly Measured['rows'][number][]): BatchSizes => {
    const scaled = (of: keyof Measured['rows'][number]) =>
      (batch / part.length) * part.reduce((total, row) => total + row[of], 0)
    return {
      queries: scaled('query'),
      documents: scaled('documents'),
      longest: documents.longest,
      documentCount: scaled('documentCount'),
    }
  }
  return { worst: of(longestFirst.slice(0, most)), usual: of(rows) }
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
