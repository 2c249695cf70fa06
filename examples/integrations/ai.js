// @ts-check
/** Vercel AI SDK: npm install lateforge ai */
import { rerank } from 'ai'
import { Colbert } from 'lateforge'
import { rerankingModel } from 'lateforge/ai'
import { documents, folder, query } from './shared.js'

const model = await Colbert.load(folder)
const { ranking } = await rerank({ model: rerankingModel(model), query, documents, topN: 2 })
for (const { score, document } of ranking) console.log(score.toFixed(3), document)
model.dispose()
