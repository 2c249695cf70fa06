/** Why a document has its score: token by token. */
import { columnOf } from '../data/column.js'
import { ArgumentError, UnsupportedError } from '../errors.js'
import { checkOptions, flag, type Kinds, strings, whole } from '../options.js'
import { type Embeddings, type Role, vectorsAt } from '../retrieval/embeddings.js'
import { matchesIn, similaritiesOf, type TokenMatch } from '../retrieval/matches.js'
import { inTurns } from '../turns.js'
import { type Colbert, encodeOptions } from './colbert.js'
import type { EncodeOptions } from './encode.js'

/** What {@link TokenKind} names. */
export const tokenKinds = ['text', 'special', 'expansion', 'skipped', 'cut'] as const
/**
 * What becomes of a token. `text` and `special` ([CLS], a prefix, [SEP]) score; `expansion` fills a query up and scores;
 * `skipped` is read by the model and left out of scoring; `cut` is beyond the length and never seen by the model.
 */
export type TokenKind = (typeof tokenKinds)[number]

/** A token of a text that is explained. */
export interface ExplainedToken {
  /** Its number in the vocabulary. */
  id: number
  /** As a person reads it; of a word in pieces a piece. */
  text: string
  /** What becomes of it. */
  kind: TokenKind
  /** Whether other tokens of its text may attend to it; expansion tokens are masked in most models. */
  attended: boolean
}

/** A text as the model reads it. */
export interface ExplainedText {
  /** As it was given. */
  text: string
  /** All that the model reads, then the first of those that were cut. */
  tokens: ExplainedToken[]
  /** Whether more was cut than `tokens` shows. */
  goesOn: boolean
}

/** A query token and the document token that answers it. */
export interface ExplainedMatch extends TokenMatch {
  /** Its number in the query's tokens; `token` is one in the document's. */
  query: number
}

/** A document and how it answers the query. */
export interface ExplainedDocument extends ExplainedText {
  /** Its MaxSim score: the sum of the scores of `matches`. */
  score: number
  /** For each query token that scores, in order, who answers it. */
  matches: ExplainedMatch[]
  /** [query tokens that score][document tokens that score], in order; only where `similarities` asks for them. */
  similarities?: number[][]
}

/** Which document tokens answer which query tokens. Plain data: `JSON.stringify` gives its JSON form. */
export interface Explanation {
  /** The query. */
  query: ExplainedText
  /** The documents, in the order given. */
  documents: ExplainedDocument[]
  /** Negative similarities count as 0. */
  clampNegatives: boolean
}

/** Options of `explain`. */
export interface ExplainOptions extends EncodeOptions {
  /** All inner products, not the best alone. Default false. */
  similarities?: boolean
  /** Tokens of a text that are shown beyond those that fit. Default 64. */
  cutTokens?: number
}

const explainOptions: Kinds<ExplainOptions> = { ...encodeOptions, similarities: flag, cutTokens: whole(0) }

/**
 * Says which token of each document answers which token of a query, and how strongly; with tokens that are skipped,
 * masked or cut. Scores are those of `rank`, as exactly as float32 adds up.
 * @throws UnsupportedError ERR_UNSUPPORTED for a dense model, whose texts have one vector; ArgumentError ERR_ARGUMENT;
 *   AbortedError ERR_ABORTED
 */
export async function explain(
  model: Colbert,
  query: string,
  documents: readonly string[],
  options: ExplainOptions = {},
): Promise<Explanation> {
  checkOptions('explain', options, explainOptions)
  if (typeof query !== 'string' || !strings.is(documents))
    throw new ArgumentError('ERR_ARGUMENT', 'explain: expected a query and an array of documents, all of them texts')
  if (model.recipe.pooling !== 'none')
    throw new UnsupportedError(
      'ERR_UNSUPPORTED',
      `explain: this model makes one vector of a whole text (pooling ${model.recipe.pooling}), so no token answers ` +
        'another. Explain a late-interaction model',
    )
  const { similarities, cutTokens, ...encoding } = options
  const [asked, found] = [
    await model.encodeQueries([query], encoding),
    await model.encodeDocuments(documents, encoding),
  ]
  return inTurns(explainedInSteps(model, query, asked, documents, found, { similarities, cutTokens }))
}

/** `explain` of what is encoded already, that yields between small steps. */
export function* explainedInSteps(
  model: Colbert,
  query: string,
  asked: Embeddings<'query'>,
  documents: readonly string[],
  found: Embeddings<'document'>,
  {
    similarities: all = false,
    cutTokens = 64,
  }: { similarities?: boolean | undefined; cutTokens?: number | undefined } = {},
): Generator<void, Explanation> {
  const { clampNegatives, dim } = model
  const { scoring: rows, ...source } = yield* partInSteps(model, query, 'query', cutTokens)
  const explained: ExplainedDocument[] = []
  for (const [n, text] of documents.entries()) {
    const { scoring, ...own } = yield* partInSteps(model, text, 'document', cutTokens)
    const vectors = vectorsAt(found, n)
    const matches: ExplainedMatch[] = []
    const similarities: number[][] = []
    for (const [q, row] of rows.entries()) {
      const products = similaritiesOf(vectorsAt(asked, 0).subarray(q * dim, (q + 1) * dim), vectors, dim)
      const [{ token, score }] = matchesIn(products, 1, clampNegatives) as [TokenMatch]
      matches.push({ query: row, token: token < 0 ? -1 : scoring[token]!, score })
      if (all) similarities.push(Array.from(products))
      yield
    }
    const score = matches.reduce((sum, match) => sum + match.score, 0)
    explained.push({ ...own, score, matches, ...(all && { similarities }) })
  }
  return { query: source, documents: explained, clampNegatives }
}

/** A text's tokens, with the numbers of those that score. */
function* partInSteps(
  { featurizer, recipe }: Colbert,
  text: string,
  role: Role,
  cutTokens: number,
): Generator<void, ExplainedText & { scoring: number[] }> {
  const { ids, special, cut, goesOn } = yield* featurizer.partsInSteps(text, role, cutTokens)
  // The same column that is encoded says which rows are filled in, and which score.
  const column = columnOf(featurizer, [{ ids, truncated: cut.length > 0 }], role)
  const scoring = column.keep ? Array.from(column.keep) : [...column.ids.keys()]
  const scores = new Set(scoring)
  const tokens = Array.from(column.ids, (id, i): ExplainedToken => {
    const isExpansion = i >= ids.length
    const kind = !scores.has(i) ? 'skipped' : isExpansion ? 'expansion' : special[i] ? 'special' : 'text'
    return { id, text: readable(featurizer, id), kind, attended: !isExpansion || recipe.attendToExpansionTokens }
  })
  for (const id of cut) tokens.push({ id, text: readable(featurizer, id), kind: 'cut', attended: false })
  return { text, tokens, goesOn, scoring }
}

/** A token on its own for people to read; as the vocabulary has it where it is a part of a letter. */
function readable({ tokenizer }: Colbert['featurizer'], id: number): string {
  const token = tokenizer.idToToken(id) ?? `<${id}>`
  const text = tokenizer.decode([id]).trim()
  return text === '' || text.includes('\ufffd') ? token.trim() || token : text
}
