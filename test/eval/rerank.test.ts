/** A model behind a first stage: the documents of a run in the order of its scores. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import {
  bm25Run,
  type Collection,
  loadBeir,
  modelRun,
  rankHits,
  rerankRun,
  writeBeir,
  writeRun,
} from '../../lib/eval/index.js'
import type { Colbert } from '../../lib/models/colbert.js'
import { lateforge } from '../command.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'
import { folder, saveTinyModel, tinyModel } from '../train/tiny.js'

const dir = folder(t)
const random = new Random(seed)
const text = (words: number) => Array.from({ length: words }, () => `w${random.integer(60)}`).join(' ')
let collection: Collection
let model: Colbert

t.before(async () => {
  const documents = Array.from({ length: 150 }, (_, d) => ({ id: `d${d}`, text: text(1 + random.integer(30)) }))
  const queries = Array.from({ length: 12 }, (_, q) => ({ id: `q${q}`, text: text(4) }))
  const qrels = { test: new Map(queries.map(({ id }, q) => [id, new Map([[`d${q}`, 1]])])) }
  await writeBeir(path.join(dir, 'beir'), { documents, queries, qrels })
  collection = await loadBeir(path.join(dir, 'beir'), { stream: true })
  model = await tinyModel(seed)
  await saveTinyModel(path.join(dir, 'model'))
})
t.teardown(() => model.dispose())

t.test('scores are those of a full search', async (t) => {
  const all = await modelRun(model, collection, { topK: 150 })
  const first = await bm25Run(collection, { topK: 40 })
  const { run, depth, counts } = await rerankRun(model, collection, first.run, { microBatchTokens: 100 })
  t.equal(depth, 40)
  t.equal(counts.truncatedDocuments! <= all.counts.truncatedDocuments!, true)
  for (const [query, hits] of run) {
    const scores = new Map(all.run.get(query)!.map(({ id, score }) => [id, score]))
    t.same(
      hits.map(({ id }) => id).sort(),
      first.run
        .get(query)!
        .map(({ id }) => id)
        .sort(),
      'the same documents',
    )
    for (const { id, score } of hits) t.ok(Math.abs(score - scores.get(id)!) < 1e-4, `${query} ${id}: ${score}`)
  }
  const top = await rerankRun(model, collection, first.run, { depth: 3 })
  for (const [query, hits] of top.run)
    t.same(
      new Set(hits.map(({ id }) => id)),
      new Set(
        rankHits(query, first.run.get(query)!)
          .slice(0, 3)
          .map(({ id }) => id),
      ),
    )
})

t.test('runs that do not belong', async (t) => {
  const foreign = new Map([['q0', [{ id: 'nowhere', score: 1 }]]])
  await t.rejects(rerankRun(model, collection, foreign), {
    code: 'ERR_DATA',
    message: /1 documents that beir lacks, as "nowhere"/,
  })
  await t.rejects(rerankRun(model, collection, new Map()), {
    code: 'ERR_DATA',
    message: /no document for any judged query/,
  })
  await t.rejects(rerankRun(model, collection, foreign, { signal: AbortSignal.abort() }), { code: 'ERR_ABORTED' })
})

t.test('eval --rerank and --mteb', async (t) => {
  const { run } = await bm25Run(collection, { topK: 20 })
  await writeRun(path.join(dir, 'first.trec'), run)
  const cli = (...args: string[]) => lateforge(['eval', 'model', ...args], dir)
  const { rows } = JSON.parse(cli('beir', '--rerank', 'first.trec', '--no-bm25', '--json').stdout).collections[0]
  t.match(rows, [{ name: 'run' }, { name: 'model', depth: 20, test: { difference: Number } }])
  t.equal(rows[0].scores['recall@100'].mean, rows[1].scores['recall@100'].mean, 'the same documents')
  t.match(cli('beir', '--rerank', 'nowhere.trec'), { status: 3, stderr: /nowhere\.trec does not exist/ })
  t.match(cli('beir', '--rerank', '.'), { status: 3, stderr: /holds no run for beir; expected one beir\.trec/ })
  t.match(cli('beir', '--mteb', 'mteb', '--top-k', '10'), { status: 2, stderr: /MTEB's results look at 1000/ })
  t.notOk(existsSync(path.join(dir, 'mteb')))
  t.match(cli('beir', '--mteb', 'mteb', '--no-bm25'), { status: 0 })
  const result = JSON.parse(readFileSync(path.join(dir, 'mteb/local__model/local/beir.json'), 'utf8'))
  t.match(result, { task_name: 'beir', scores: { test: [{ main_score: Number, hf_subset: 'default' }] } })
  const lines = readFileSync(path.join(dir, 'first.trec'), 'utf8').split('\n')
  writeFileSync(
    path.join(dir, 'beir.first.trec'),
    lines.map((line) => line.replace(/ 1 (\S+) lateforge$/, ' 99 $1 lateforge')).join('\n'),
  )
  t.match(cli('beir', '--rerank', '.', '--no-bm25'), {
    status: 0,
    stderr: /warn {2}beir: the ranks of [1-9]\d* queries/,
  })
})
