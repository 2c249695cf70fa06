/**
 * A model for `rerank` of the Vercel AI SDK (package `ai`, 7 or later). Its interface is written out here, so that nothing of it
 * has to be installed.
 */
import type { Colbert } from '../models/colbert.js'
import { checkOptions, func, type Kinds, text } from '../options.js'
import { checkModel, ranked, type ScoreOptions, scoreOptions } from './scores.js'

/** JSON of an object, as the AI SDK hands over documents that are not texts. */
export type JsonObject = { [key: string]: unknown }

/** What the AI SDK asks a reranking model. */
export interface RerankCall {
  /** Texts, or objects of JSON. */
  documents: { type: 'text'; values: string[] } | { type: 'object'; values: JsonObject[] }
  /** What the documents are ranked for. */
  query: string
  /** Documents to return; default all. */
  topN?: number
  /** Ends the call, with ERR_ABORTED. */
  abortSignal?: AbortSignal
}

/** What a reranking model answers. */
export interface RerankAnswer {
  /** The best first: the number of a document among those given, and its score. */
  ranking: { index: number; relevanceScore: number }[]
  /** What the caller should know. */
  warnings?: { type: 'compatibility'; feature: string; details?: string }[]
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
