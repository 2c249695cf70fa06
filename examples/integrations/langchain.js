// @ts-check
/** LangChain: npm install lateforge @langchain/core */
import { Document } from '@langchain/core/documents'
import { Colbert } from 'lateforge'
import { ColbertCompressor, ColbertRetriever } from 'lateforge/langchain'
import { documents, folder, query } from './shared.js'

const model = await Colbert.load(folder)
const kept = documents.map((pageContent) => new Document({ pageContent }))
// Over documents in memory; over an index: ColbertRetriever.overIndex(await Index.open('books/', { model })).
const retriever = await ColbertRetriever.overDocuments(model, kept, { topK: 3 })
const found = await retriever.invoke(query)
// Behind any other retriever; LangChain's ContextualCompressionRetriever takes one as its baseCompressor.
const best = await new ColbertCompressor(model, { topN: 2 }).compressDocuments(found, query)
for (const { pageContent, metadata } of best) console.log(metadata.relevanceScore.toFixed(3), pageContent)
model.dispose()
