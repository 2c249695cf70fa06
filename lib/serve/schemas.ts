/** What requests may be, and answers are: the handler checks by these, and the OpenAPI description is made of them. */
import { z } from 'zod'
import { indexTypes } from '../indexing/manifest.js'
import { checkWhere, type Where } from '../indexing/where.js'
import { tokenKinds } from '../models/explain.js'
import type { Limits } from './options.js'
import type * as wire from './types.js'

/** Hits that a query may ask for. */
const mostHits = 1000

/** Values that tests of a request compare every document with. */
const mostValues = 256

const where = z
  .record(z.string(), z.unknown())
  .superRefine((value, context) => {
    try {
      if (checkWhere(value) > mostValues) context.addIssue(`more than ${mostValues} values to compare with`)
    } catch (error) {
      context.addIssue((error as Error).message.replace(/^where: /, '')) // which the path says
    }
  })
  .describe('only documents whose metadata pass: {"year": {"$gte": 1990}}') as unknown as z.ZodType<Where>

const count = z.int().min(0)
const score = z.number()
const usage: z.ZodType<wire.Usage> = z
  .strictObject({ tokens: count, truncated: count })
  .describe('tokens that were encoded, and texts that were cut')
const found = z.strictObject({ token: z.int().min(-1), score })
const explained = z.strictObject({
  text: z.string(),
  tokens: z.array(z.strictObject({ id: count, text: z.string(), kind: z.enum(tokenKinds), attended: z.boolean() })),
  goesOn: z.boolean(),
})

/** Schemas of all bodies, within limits. */
export function schemasOf({ maxTexts }: Pick<Limits, 'maxTexts'>) {
  const text = z.string()
  const texts = z.array(text).min(1).max(maxTexts)
  const topK = z.int().min(1).max(mostHits)
  const requests = {
    EmbedRequest: z.strictObject({
      role: z.enum(['query', 'document']),
      texts,
    }) satisfies z.ZodType<wire.EmbedRequest>,
    RankRequest: z.strictObject({
      query: text,
      texts,
      topK: z.int().min(1).optional().describe('default: all'),
    }) satisfies z.ZodType<wire.RankRequest>,
    SearchRequest: z.strictObject({
      queries: texts,
      topK: topK.optional().describe('default: 10'),
      ids: z.array(text.min(1)).min(1).optional().describe('only these documents may be found'),
      where: where.optional(),
      withTexts: z.boolean().optional().describe('texts and metadata of hits'),
      exact: z.boolean().optional().describe('every document is scored'),
      explain: z.boolean().optional().describe('which token vectors matched'),
    }) satisfies z.ZodType<wire.SearchRequest>,
    ExplainRequest: z.strictObject({ query: text, texts }) satisfies z.ZodType<wire.ExplainRequest>,
    RerankRequest: z.strictObject({
      model: z.string().optional().describe('if given, the name of the model that is served'),
      query: text,
      documents: z
        .array(z.union([text, z.strictObject({ text })]))
        .min(1)
        .max(maxTexts),
      top_n: z.int().min(1).optional(),
      return_documents: z.boolean().optional(),
    }) satisfies z.ZodType<wire.RerankRequest>,
  }
  return { ...requests, ...answers }
}

const answers = {
  EmbedResponse: z.strictObject({
    model: z.string(),
    role: z.enum(['query', 'document']),
    dim: count,
    recipe: z.string(),
    embeddings: z.array(z.array(z.array(z.number()))).describe('[texts][tokens][dim]'),
    usage,
  }) satisfies z.ZodType<wire.EmbedResponse>,
  RankResponse: z.strictObject({
    hits: z.array(z.strictObject({ index: count, score })),
    queryTokens: count,
    usage,
  }) satisfies z.ZodType<wire.RankResponse>,
  SearchResponse: z.strictObject({
    results: z.array(
      z.array(
        z.strictObject({
          id: z.string(),
          score,
          text: z.string().optional(),
          metadata: z.record(z.string(), z.unknown()).optional(),
          matches: z.array(found).optional(),
        }),
      ),
    ),
    usage,
  }) satisfies z.ZodType<wire.SearchResponse>,
  ExplainResponse: z.strictObject({
    query: explained,
    documents: z.array(explained.extend({ score, matches: z.array(found.extend({ query: count })) })),
    clampNegatives: z.boolean(),
    usage,
  }) satisfies z.ZodType<wire.ExplainResponse>,
  RerankResponse: z.strictObject({
    id: z.string(),
    model: z.string(),
    results: z.array(
      z.strictObject({
        index: count,
        relevance_score: score,
        document: z.strictObject({ text: z.string() }).optional(),
      }),
    ),
    usage: z.strictObject({ total_tokens: count }),
    meta: z.strictObject({ tokens: z.strictObject({ input_tokens: count }) }),
  }) satisfies z.ZodType<wire.RerankResponse>,
  HealthResponse: z.strictObject({
    status: z.enum(['ok', 'draining', 'lost']),
    version: z.string().optional(),
    model: z
      .strictObject({ name: z.string(), recipe: z.string(), dim: count, device: z.string(), precision: z.string() })
      .optional(),
    index: z
      .strictObject({ documents: count, tokens: count, segments: count, bytes: count, type: z.enum(indexTypes) })
      .nullable()
      .optional(),
    inFlight: count.optional(),
    waitingTokens: count.optional(),
  }) satisfies z.ZodType<wire.HealthResponse>,
  ErrorResponse: z.strictObject({
    error: z.strictObject({ reason: z.string(), message: z.string() }),
  }) satisfies z.ZodType<wire.ErrorResponse>,
}

/** Schemas by name. */
export type Schemas = ReturnType<typeof schemasOf>
