/** `lateforge/langchain` in chains of the real package. */
import path from 'node:path'
import { Document } from '@langchain/core/documents'
import { BaseRetriever } from '@langchain/core/retrievers'
import { BaseDocumentCompressor } from '@langchain/core/retrievers/document_compressors'
import { RunnableLambda } from '@langchain/core/runnables'
import t from 'tap'
import { Index } from '../../lib/indexing/index.js'
import { ColbertCompressor, ColbertRetriever } from '../../lib/integrations/langchain.js'
import { folder, tinyModel } from '../train/tiny.js'
import { close, expected, query, texts } from './scenario.js'

const model = await tinyModel()
const best = await expected(model)
const documents = texts.map((pageContent, i) => new Document({ id: `d${i}`, pageContent, metadata: { i } }))
const ids = best.map(({ index }) => `d${index}`)
const scoresOf = (found: readonly { metadata: Record<string, unknown> }[]) =>
  found.map(({ metadata }) => metadata.relevanceScore as number)
t.teardown(() => model.dispose())

t.test('a compressor keeps the best and leaves what it was given as it was', async (t) => {
  const compressor = new ColbertCompressor(model, { topN: 2 })
  t.ok(BaseDocumentCompressor.isBaseDocumentCompressor(compressor))
  const found = await compressor.compressDocuments(documents, query)
  t.same(
    found.map(({ id, metadata }) => [id, metadata.i]),
    best.slice(0, 2).map(({ index }) => [`d${index}`, index]),
  )
  t.ok(
    close(
      scoresOf(found),
      best.slice(0, 2).map(({ mean }) => mean),
    ),
  )
  t.same(documents[0]!.metadata, { i: 0 })
  t.same(await compressor.compressDocuments([], query), [])
  t.equal((await new ColbertCompressor(model).compressDocuments(documents, query)).length, 3)
})

t.test('a retriever over documents runs in a chain, with callbacks', async (t) => {
  const retriever = await ColbertRetriever.overDocuments(model, documents, { topK: 3, scores: 'sum' })
  t.ok(retriever instanceof BaseRetriever)
  const ended: string[] = []
  const chain = retriever.pipe(RunnableLambda.from((found: Document[]) => found))
  const found = await chain.invoke(query, {
    callbacks: [{ handleRetrieverEnd: (got: { id?: string }[]) => void ended.push(...got.map(({ id }) => id!)) }],
  })
  t.same(
    found.map(({ id }) => id),
    ids.slice(0, 3),
  )
  t.same(ended, ids.slice(0, 3))
  t.ok(
    close(
      scoresOf(found),
      best.slice(0, 3).map(({ sum }) => sum),
    ),
  )
  const [one] = await retriever.batch([query])
  t.same(one, found)
  t.same(await (await ColbertRetriever.overDocuments(model, [])).invoke(query), [])
})

t.test('a retriever over an index: its ids, texts and metadata, and a filter', async (t) => {
  const index = await Index.create(path.join(folder(t), 'idx'), { model, type: 'float32' })
  await index.add(texts.map((text, i) => ({ id: `d${i}`, text, metadata: { i } })))
  const found = await ColbertRetriever.overIndex(index).invoke(query)
  t.same(
    found.map(({ id, pageContent, metadata }) => [id, pageContent, metadata.i]),
    best.map(({ index }) => [`d${index}`, texts[index], index]),
  )
  t.ok(
    close(
      scoresOf(found),
      best.map(({ mean }) => mean),
    ),
  )
  const filtered = ColbertRetriever.overIndex(index, { topK: 1, filter: { where: ({ i }) => i === 4 } })
  t.match(await filtered.invoke(query), [{ id: 'd4' }])
  await index.close()
  const bare = await Index.open(index.dir)
  await t.rejects(ColbertRetriever.overIndex(bare).invoke(query), { message: /opened without a model/ })
  await bare.close()
})

t.test('what they refuse', async (t) => {
  t.throws(() => new ColbertCompressor(model, { topN: 0 }), { code: 'ERR_ARGUMENT', message: /topN is 0/ })
  t.throws(() => ColbertRetriever.overIndex(model as never), { code: 'ERR_ARGUMENT', message: /expected an index/ })
  await t.rejects(ColbertRetriever.overDocuments(model, ['w1'] as never), { message: /documents with a pageContent/ })
})
