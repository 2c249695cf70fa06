/**
 * LangChain's document compressor and retriever (package `@langchain/core`, 1 or later, which is to be installed beside
 * lateforge): they extend its classes, whose methods run callbacks and tracing.
 */
import { Document, type DocumentInterface } from '@langchain/core/documents'
import { BaseRetriever, type BaseRetrieverInput } from '@langchain/core/retrievers'
import { BaseDocumentCompressor } from '@langchain/core/retrievers/document_compressors'
import { ArgumentError } from '../errors.js'
import { Index } from '../indexing/document-index.js'
import type { Filter, Selection } from '../indexing/filter.js'
import type { Colbert } from '../models/colbert.js'
import { checkOptions, instance, type Kinds, object, required, whole } from '../options.js'
import { checkModel, divisors, ranked, type ScoreOptions, scoreOptions } from './scores.js'

export type { ScoreOptions, ScoreScale } from './scores.js'

/** Options of `ColbertCompressor`. */
export interface ColbertCompressorOptions extends ScoreOptions {
  /** Documents to keep; default 3, as of other rerankers of LangChain. */
  topN?: number
}

/**
 * Keeps the best of the documents that a retriever has found, best first, each with its score in `metadata.relevanceScore`. For
 * LangChain's `ContextualCompressionRetriever`. It does not own its model: dispose of that yourself.
 */
export class ColbertCompressor extends BaseDocumentCompressor {
  private readonly model: Colbert
  private readonly options: ColbertCompressorOptions

  /** @throws ArgumentError ERR_ARGUMENT */
  constructor(model: Colbert, options: ColbertCompressorOptions = {}) {
    super()
    checkModel('ColbertCompressor', model)
    checkOptions('ColbertCompressor', options, { ...scoreOptions, topN: whole(1) })
    this.model = model
    this.options = options
  }

  /** Errors as of `Colbert.rank`. */
  async compressDocuments(documents: DocumentInterface[], query: string): Promise<DocumentInterface[]> {
    const { topN = 3, scores } = this.options
    const texts = documents.map(({ pageContent }) => pageContent)
    const best = await ranked(this.model, query, texts, { topN, scores })
    return best.map(({ index, score }) => scored(documents[index]!, score))
  }
}

/** Options of `ColbertRetriever`. */
export interface ColbertRetrieverOptions extends ScoreOptions {
  /** Documents of a query; default 10. */
  topK?: number
}

/** Options of `ColbertRetriever.overIndex`. */
export interface IndexRetrieverOptions extends ColbertRetrieverOptions {
  /** Which documents may be found. Default: all. */
  filter?: Filter | Selection
}

const retrieverOptions: Kinds<ColbertRetrieverOptions> = { ...scoreOptions, topK: whole(1) }
const anIndex = instance('an index, as Index.open gives it', () => Index)

/** The best documents of a query, best first. */
type Find = (query: string) => Promise<DocumentInterface[]>

/**
 * Finds documents in an index (`overIndex`), or among documents in memory (`overDocuments`), best first, each with its score in
 * `metadata.relevanceScore`. It owns neither index nor model: close and dispose of those yourself.
 */
export class ColbertRetriever extends BaseRetriever {
  /** Where LangChain looks it up. */
  lc_namespace = ['lateforge', 'langchain']
  private readonly find: Find

  /** What LangChain calls it. */
  static override lc_name(): string {
    return 'ColbertRetriever'
  }

  private constructor(find: Find, fields?: BaseRetrieverInput) {
    super(fields)
    this.find = find
  }

  /**
   * Over an index that was opened with its model. Documents have the index's ids, texts and metadata.
   * @param fields LangChain's own: `callbacks`, `tags`, `metadata`, `verbose`
   * @throws ArgumentError ERR_ARGUMENT
   */
  static overIndex(index: Index, options: IndexRetrieverOptions = {}, fields?: BaseRetrieverInput): ColbertRetriever {
    required('ColbertRetriever.overIndex', 'an index', index, anIndex)
    checkOptions('ColbertRetriever.overIndex', options, { ...retrieverOptions, filter: object })
    const { topK = 10, filter, scores } = options
    return new ColbertRetriever(async (query) => {
      const encoded = await index.encodeQueries([query])
      const [hits] = await index.search(encoded, { topK, withTexts: true, ...(filter && { filter }) })
      const [by] = divisors(encoded, scores)
      return hits!.map(({ id, score, text = '', metadata = {} }) =>
        scored(new Document({ id, pageContent: text, metadata }), score / by!),
      )
    }, fields)
  }

  /**
   * Over documents in memory, which are encoded once, now, and searched exhaustively.
   * @param fields as of `overIndex`
   * @throws ArgumentError ERR_ARGUMENT; what `Colbert.encodeDocuments` throws
   */
  static async overDocuments(
    model: Colbert,
    documents: readonly DocumentInterface[],
    options: ColbertRetrieverOptions = {},
    fields?: BaseRetrieverInput,
  ): Promise<ColbertRetriever> {
    checkModel('ColbertRetriever.overDocuments', model)
    checkOptions('ColbertRetriever.overDocuments', options, retrieverOptions)
    if (!Array.isArray(documents) || documents.some((document) => typeof document?.pageContent !== 'string'))
      throw new ArgumentError('ERR_ARGUMENT', 'ColbertRetriever.overDocuments: expected documents with a pageContent')
    const { topK = 10, scores } = options
    const kept = [...documents]
    const embeddings = await model.encodeDocuments(kept.map(({ pageContent }) => pageContent))
    return new ColbertRetriever(async (query) => {
      if (kept.length === 0) return []
      const encoded = await model.encodeQueries([query])
      const [hits] = await model.search(encoded, embeddings, { topK })
      const [by] = divisors(encoded, scores)
      return hits!.map(({ index, score }) => scored(kept[index]!, score / by!))
    }, fields)
  }

  /** LangChain calls it, for `invoke`. Errors as of `Index.search` and `Colbert.search`. */
  override _getRelevantDocuments(query: string): Promise<DocumentInterface[]> {
    return this.find(query)
  }
}

/** A copy of a document with its score. */
function scored({ id, pageContent, metadata }: DocumentInterface, score: number): Document {
  return new Document({
    ...(id !== undefined && { id }),
    pageContent,
    metadata: { ...metadata, relevanceScore: score },
  })
}
