// Everything the package exports, as a strict project sees it, and the first things that one does.
import { Colbert, type Embeddings, type Hit, LateforgeError, type RunConfig, train } from 'lateforge'
import { type RerankingModel, rerankingModel } from 'lateforge/ai'
import * as evaluation from 'lateforge/eval'
import { exportIndex } from 'lateforge/export'
import { Index } from 'lateforge/index'
import * as losses from 'lateforge/losses'
import { relevanceScorer } from 'lateforge/mastra'
import { maxsim } from 'lateforge/maxsim'
import * as mining from 'lateforge/mining'
import * as nn from 'lateforge/nn'
import * as onnx from 'lateforge/onnx'
import * as tensor from 'lateforge/tensor'
import * as training from 'lateforge/train'

export async function firstThings(texts: string[]): Promise<Hit[]> {
  const model = await Colbert.load('model/')
  const documents: Embeddings<'document'> = await model.encodeDocuments(texts)
  const queries: Embeddings<'query'> = await model.encodeQueries(texts)
  const scores: Float32Array = await maxsim(queries, documents, { layout: 'all' })
  // @ts-expect-error: roles are in the types
  await model.search(documents, queries)
  // @ts-expect-error: an unknown option
  await model.rank('a query', texts, { top: 3 })
  const hits: Hit[][] = await model.search(queries, documents, { topK: scores.length })
  return hits[0]!
}

export async function firstTraining(config: RunConfig): Promise<void> {
  const run = train(config)
  for await (const event of run) if (event.type === 'step') event.loss.toFixed(3)
  await run.result.catch((error: unknown) => {
    if (error instanceof LateforgeError) throw new Error(error.code)
  })
}

export async function firstIndex(model: Colbert): Promise<number> {
  const index = await Index.open('index/', { model })
  const [hits] = await index.search(['a query'], { filter: { ids: ['a'] } })
  // @ts-expect-error: hits of an index have no numbers
  hits![0]!.index
  return hits!.length
}

export async function firstSteps(model: Colbert, index: Index): Promise<number> {
  const reranker: RerankingModel = rerankingModel(model, { scores: 'sum' })
  await exportIndex('qdrant', index, `${reranker.modelId}/`)
  return relevanceScorer(model).getRelevanceScore('a query', 'a text')
}

export const all = { evaluation, losses, mining, nn, onnx, tensor, training }
