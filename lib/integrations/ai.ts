/**
 * A model for `rerank` of the Vercel AI SDK (package `ai`, 7 or later). Its interface is written out here, so that nothing of it
 * has to be installed.
 */
import type { Colbert } from '../models/colbert.js'
import { checkOptions, func, type Kinds, text } from '../options.js'
import { checkModel, ranked, type ScoreOptions, scoreOptions } from './scores.js'

export type { ScoreOptions, ScoreScale } from './scores.js'

/** JSON of an object, as the AI SDK hands over documents that are not texts. */
export type JsonObject = { [key: string]: unknown }

/** Documents to rank that are texts. */
export interface TextDocuments {
  /** Tells them from objects. */
  type: 'text'
  /** One a document. */
  values: string[]
}

/** Documents to rank that are objects. */
export interface ObjectDocuments {
  /** Tells them from texts. */
  type: 'object'
  /** One a document. */
  values: JsonObject[]
}

/** What the AI SDK asks a reranking model. */
export interface RerankCall {
  /** What is ranked. */
  documents: TextDocuments | ObjectDocuments
  /** What it is ranked for. */
  query: string
  /** Documents to return; default all. */
  topN?: number
  /** Ends the call, with ERR_ABORTED. */
  abortSignal?: AbortSignal
}

/** A document of an answer. */
export interface RankedDocument {
  /** Its number among those that were given. */
  index: number
  /** Its score, on the scale that was asked for. */
  relevanceScore: number
}

/** What the caller of the AI SDK should know. */
export interface RerankWarning {
  /** Kind of warning. */
  type: 'compatibility'
  /** What it is about. */
  feature: string
  /** What was done. */
  details?: string
}

/** What a reranking model answers. */
export interface RerankAnswer {
  /** The best first. */
  ranking: RankedDocument[]
  /** None where there is nothing to say. */
  warnings?: RerankWarning[]
}

/** `RerankingModelV4` of @ai-sdk/provider, as far as a model of lateforge has it. */
export interface RerankingModel {
  /** Of the interface. */
  readonly specificationVersion: 'v4'
  /** `lateforge`. */
  readonly provider: string
  /** As it was called when it was made. */
  readonly modelId: string
  /** Ranks documents: the AI SDK calls it. Errors as of `Colbert.rank`. */
  doRerank(call: RerankCall): Promise<RerankAnswer>
}

/** Options of `rerankingModel`. */
export interface RerankingModelOptions extends ScoreOptions {
  /** What the model is called in telemetry; default `colbert`. */
  modelId?: string
  /** The text of a document that is an object. Default: its JSON, with a warning. */
  textOf?: (document: JsonObject) => string
}

const rerankingOptions: Kinds<RerankingModelOptions> = { ...scoreOptions, modelId: text, textOf: func }

/**
 * A reranking model for `rerank({ model, query, documents })` of the AI SDK. It does not own `model`: dispose of that yourself.
 * @throws ArgumentError ERR_ARGUMENT
 */
export function rerankingModel(model: Colbert, options: RerankingModelOptions = {}): RerankingModel {
  checkModel('rerankingModel', model)
  checkOptions('rerankingModel', options, rerankingOptions)
  const { modelId = 'colbert', textOf, scores } = options
  return {
    specificationVersion: 'v4',
    provider: 'lateforge',
    modelId,
    async doRerank({ documents, query, topN, abortSignal: signal }) {
      const asJson = documents.type === 'object' && !textOf
      const texts =
        documents.type === 'text'
          ? documents.values
          : documents.values.map((value) => (textOf ? textOf(value) : JSON.stringify(value)))
      const best = await ranked(model, query, texts, { scores, topN, signal })
      return {
        ranking: best.map(({ index, score }) => ({ index, relevanceScore: score })),
        ...(asJson && {
          warnings: [
            { type: 'compatibility', feature: 'object documents', details: 'read as JSON; textOf chooses a text' },
          ],
        }),
      }
    },
  }
}
