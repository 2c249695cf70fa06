/** Everything that may take a while tells how it stands, in one shape. */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { memorySource } from '../lib/data/sources.js'
import { bm25Run } from '../lib/eval/baseline.js'
import { loadBeir, writeBeir } from '../lib/eval/collections.js'
import { beirEvaluator, modelRun } from '../lib/eval/model.js'
import { rerankRun } from '../lib/eval/rerank.js'
import { exportIndex } from '../lib/export/export.js'
import { EncodedDocuments, encodeCorpus, Index } from '../lib/indexing/index.js'
import { mineNegatives } from '../lib/mining/mine.js'
import { Colbert } from '../lib/models/colbert.js'
import type { Progress } from '../lib/progress.js'
import { poolTokens } from '../lib/retrieval/pool.js'
import { openData } from '../lib/train/data.js'
import { checkRun } from '../lib/train/loop/check-run.js'
import { train } from '../lib/train/loop/run.js'
import { folder, saveTinyModel, tinyRun, writeData } from './train/tiny.js'

t.setTimeout(300_000)

const text = (d: number): string => Array.from({ length: 4 + (d % 9) }, (_, i) => `w${(d * 3 + i) % 60}`).join(' ')
const texts = Array.from({ length: 600 }, (_, d) => text(d))
const documents = texts.map((each, d) => ({ id: `d${d}`, text: each }))

t.test('every onProgress', async (t) => {
  const dir = folder(t)
  const at = (name: string): string => path.join(dir, name)
  await saveTinyModel(at('model'))
  for (const name of ['one', 'two'])
    await writeBeir(at(name), {
      documents,
      queries: [0, 1, 2].map((q) => ({ id: `q${q}`, text: text(q) })),
      qrels: { test: new Map([0, 1, 2].map((q) => [`q${q}`, new Map([[`d${q}`, 1]])])) },
    })
  /** What was told while something was done, checked as far as it holds for all. */
  const told = async <R>(
    what: string,
    expected: RegExp,
    work: (onProgress: (progress: Progress) => void) => Promise<R>,
  ): Promise<R> => {
    const seen: Progress[] = []
    const result = await work((progress) => seen.push(progress))
    const stages = [...new Set(seen.map(({ stage, unit }) => `${stage} ${unit}`))].join(', ')
    t.match(stages, expected, what)
    for (const [i, { stage, name, part, done, total }] of seen.entries()) {
      if (!(done >= 0 && done <= (total ?? done))) t.fail(`${what}: ${done} of ${total}`)
      const before = seen[i - 1]
      const same = before?.stage === stage && before.name === name && before.part === part
      if (same && done < before.done) t.fail(`${what}: ${done} after ${before.done}`)
    }
    return result
  }
  const model = await told('load', /^loading tensors$/, (onProgress) => Colbert.load(at('model'), { onProgress }))
  const few = { microBatchTokens: 200 }
  const queries = await told('encodeQueries', /^tokenizing queries, encoding queries$/, (onProgress) =>
    model.encodeQueries(texts.slice(0, 40), { ...few, onProgress }),
  )
  const encoded = await told('encodeDocuments', /^tokenizing documents, encoding documents$/, (onProgress) =>
    model.encodeDocuments(texts, { ...few, onProgress }),
  )
  await told('streamDocuments', /^encoding documents$/, async (onProgress) => {
    for await (const _ of model.streamDocuments(texts, { ...few, onProgress }));
  })
  await told('search', /^searching documents$/, (onProgress) => model.search(queries, encoded, { onProgress }))
  await told('pool', /^pooling documents$/, (onProgress) => poolTokens(encoded, { factor: 2, onProgress }))

  const index = await Index.create(at('books'), { model, listsFrom: 1000 })
  await told('add', /^indexing documents, clustering tokens$/, (onProgress) => index.add(documents, { onProgress }))
  await index.delete(['d0'])
  await told('compact', /^merging documents, clustering tokens$/, (onProgress) => index.compact({ onProgress }))
  await told('verify', /^verifying bytes$/, (onProgress) => index.verify({ onProgress }))
  await told('check', /^tokenizing queries, encoding queries, searching queries$/, (onProgress) =>
    index.check({ queries: queriesOf(3), onProgress }),
  )
  await told('index.search', /^tokenizing queries, encoding queries, searching documents$/, (onProgress) =>
    index.search(texts.slice(0, 3), { exact: true, onProgress }),
  )
  await told('export', /^writing documents$/, (onProgress) => exportIndex('qdrant', index, at('out'), { onProgress }))
  await told('encodeCorpus', /^encoding documents$/, (onProgress) =>
    encodeCorpus(at('encoded'), documents, { model, onProgress }),
  )
  const parts = await EncodedDocuments.open(at('encoded'))
  await told('verify of shards', /^verifying bytes$/, (onProgress) => parts.verify({ onProgress }))
  await index.close()

  const collection = await told('loadBeir', /^reading documents$/, (onProgress) => loadBeir(at('one'), { onProgress }))
  const { run } = await told('modelRun', /evaluating documents$/, (onProgress) =>
    modelRun(model, collection, { ...few, onProgress }),
  )
  await told('rerankRun', /evaluating documents$/, (onProgress) => rerankRun(model, collection, run, { onProgress }))
  await told('bm25Run', /^indexing documents/, (onProgress) => bm25Run(collection, { onProgress }))
  const evaluator = await told('beirEvaluator', /^reading documents$/, (onProgress) =>
    beirEvaluator([at('one'), at('two')], { onProgress }),
  )
  const which: string[] = []
  await told('an evaluation', /evaluating documents$/, (onProgress) =>
    evaluator(model, {
      onProgress(progress) {
        onProgress(progress)
        if (progress.stage === 'evaluating') which.push(`${progress.name} ${progress.part}`)
      },
    }),
  )
  t.same([...new Set(which)], ['one 1 of 2', 'two 2 of 2'], 'which of several it is')

  const rows = memorySource(
    'rows',
    texts.map((each, d) => ({ query: `w${d % 60}`, documents: [each] })),
  )
  const mining = { data: rows, overwrite: true, out: at('mined.jsonl') }
  await told('mine by BM25', /writing rows/, (onProgress) => mineNegatives({ ...mining, by: 'bm25', onProgress }))
  await told('mine', /encoding queries, searching documents.*teaching documents, writing rows/, (onProgress) =>
    mineNegatives({ ...mining, by: model, teacher: model, onProgress }),
  )
  const { pairs } = writeData(dir)
  const data = await told('openData', /^tokenizing rows$/, (onProgress) =>
    openData({ data: pairs, model, batch: 8, seed: 1, cacheDir: at('cache'), onProgress }),
  )
  data.close()
  model.dispose()

  const large = at('large.jsonl')
  writeFileSync(large, `${JSON.stringify({ query: 'w1', document: 'w2' })}\n`.repeat(3000))
  const phase = { name: 'a', loss: 'contrastive', data: large, batch: 8, steps: 1, learningRate: 1e-3 } as const
  const config = tinyRun(dir, at('model'), 'run', [phase])
  await told('checkRun', /^loading tensors, checking rows$/, (onProgress) =>
    checkRun(config, { onProgress: (event) => event.type === 'progress' && onProgress(event) }),
  )
  await told('train', /^loading tensors, checking rows, tokenizing rows$/, async (onProgress) => {
    const run = train(config)
    for await (const event of run) if (event.type === 'progress') onProgress(event)
    ;(await run.result).model.dispose()
  })
})

const queriesOf = (count: number): string[] => texts.slice(0, count)
