// @ts-check
/** Mastra: npm install lateforge @mastra/core @mastra/rag */
import { rerankWithScorer } from '@mastra/rag'
import { Colbert } from 'lateforge'
import { relevanceScorer } from 'lateforge/mastra'
import { documents, folder, query } from './shared.js'

const model = await Colbert.load(folder)
// As a vector store answers.
const results = documents.map((text, i) => ({ id: `${i}`, score: 0.5, metadata: { text } }))
const found = await rerankWithScorer({ results, query, scorer: relevanceScorer(model), options: { topK: 2 } })
for (const { details, result } of found) console.log(details.semantic.toFixed(3), result.metadata?.text)
model.dispose()
