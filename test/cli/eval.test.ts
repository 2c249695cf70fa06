/** `lateforge eval` and `search` on collections as people have them. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { beirEvaluator, writeBeir } from '../../lib/eval/index.js'
import { Colbert } from '../../lib/models/colbert.js'
import { lateforge } from '../command.js'
import { folder, saveTinyModel, writeData } from '../train/tiny.js'

const text = (d: number) => Array.from({ length: 3 + (d % 17) }, (_, i) => `w${(d * 3 + i) % 60}`).join(' ')

const cwd = folder(t)
const cli = (...args: string[]) => lateforge(args, cwd)

/** Every third document is a query with its own id; the next one is right. */
async function collection(name: string, count: number, idOf = (d: number) => `d${d}`): Promise<string> {
  const all = Array.from({ length: count }, (_, d) => d)
  const asked = all.filter((d) => d % 3 === 0)
  await writeBeir(path.join(cwd, name), {
    documents: all.map((d) => ({ id: idOf(d), text: text(d) })),
    queries: asked.map((d) => ({ id: idOf(d), text: text(d) })),
    qrels: { test: new Map(asked.map((d) => [idOf(d), new Map([[idOf((d + 1) % count), 1]])])) },
  })
  return name
}

t.before(async () => {
  await saveTinyModel(path.join(cwd, 'model'))
})

t.test('the depth follows the metrics; a smaller --top-k is said in the table', async (t) => {
  await collection('deep', 240)
  const deep = JSON.parse(cli('eval', 'model', 'deep', '--json', '--metrics', 'recall@200,recall@5').stdout)
  t.equal(deep.topK, 200)
  const [bm25, model] = deep.collections[0].rows
  t.equal(model.counts.depth, 200, 'beside the query itself')
  t.ok(model.scores['recall@200'].mean > model.scores['recall@5'].mean)
  t.match(model.counts, { shallow: 0, withoutResults: 0 })
  t.ok(model.counts.truncatedDocuments > 10 && model.counts.truncatedQueries > 10)
  t.equal(bm25.counts.queriesWithoutTerms, 0)
  const table = cli('eval', 'model', 'deep', '--no-bm25', '--metrics', 'recall@200,recall@5', '--top-k', '5')
  t.match(table.stdout, /model: it holds at most 5 documents a query, and recall@200 looks no deeper\./)
  t.match(table.stdout, /documents longer than the model takes \(cut\): \d+/)
})

t.test('--run: bad ids are refused before anything is scored, equal names do not overwrite each other', async (t) => {
  await collection('x/same', 9)
  await collection('y/same', 12)
  await collection('x/blank', 9, (d) => `d ${d}`)
  const refused = cli('eval', 'model', 'x/same', 'x/blank', '--run', 'runs')
  t.match(refused, {
    status: 3,
    stdout: '',
    stderr: /^error ERR_DATA {2}The query id "d 0" cannot stand in a TREC run/,
  })
  t.notOk(existsSync(path.join(cwd, 'runs')))
  t.match(cli('eval', 'model', 'x/blank', '--no-bm25'), { status: 0, stdout: /3 judged queries/ })
  const both = cli('eval', 'model', 'x/same', 'y/same', '--run', 'runs', '--no-bm25')
  t.match(both, { status: 0, stdout: /^x\/same: 3 judged[\s\S]*\ny\/same: 4 judged[\s\S]*Mean over 2 collections/ })
  t.same(readdirSync(path.join(cwd, 'runs')).sort(), ['x', 'y'])
  const queriesOf = (file: string) =>
    new Set(
      readFileSync(path.join(cwd, 'runs', file), 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => line.split(' ')[0]),
    )
  t.equal(queriesOf('x/same.model.trec').size, 3)
  t.equal(queriesOf('y/same.model.trec').size, 4)
  t.match(cli('eval', 'model', 'x/same', 'x/same'), { status: 2, stderr: /given twice/ })
})

t.test('several collections: each, and their mean with an interval, against BM25; patterns of folders', async (t) => {
  const sizes = { 'many/a': 9, 'many/b': 15, 'many/deep/c': 21, other: 12 }
  for (const [name, count] of Object.entries(sizes)) await collection(name, count)
  const run = (...args: string[]) => JSON.parse(cli('eval', 'model', ...args, '--json').stdout)
  const { collections, mean } = run('many', 'other')
  t.match(
    collections.map(({ collection, split, queries }: Record<string, unknown>) => [collection, split, queries]),
    [
      ['a', 'test', 3],
      ['b', 'test', 5],
      ['c', 'test', 7],
      ['other', 'test', 4],
    ],
  )
  t.match(mean, { parts: [{ name: 'a' }, { name: 'b' }, { name: 'c' }, { name: 'other' }], queries: 19, missing: [] })
  for (const [r, { name, scores, test }] of mean.rows.entries()) {
    const means = collections.map((each: typeof mean) => each.rows[r].scores['ndcg@10'].mean)
    const macro = means.reduce((sum: number, value: number) => sum + value, 0) / 4
    t.ok(Math.abs(macro - scores['ndcg@10'].mean) < 1e-12, name)
    t.ok(scores['ndcg@10'].low <= macro && macro <= scores['ndcg@10'].high)
    if (name === 'model') t.ok(test.low <= test.difference && test.difference <= test.high && test.p > 0)
  }
  for (const { queryIds, rows } of collections)
    for (const { perQuery } of rows) t.equal(perQuery['ndcg@10'].length, queryIds.length)
  t.match(run('many/*'), { mean: { parts: [{ name: 'a' }, { name: 'b' }, { name: 'c' }] } })
  t.match(run('man?/*').mean.rows, run('many').mean.rows)
  t.match(cli('eval', 'model', 'none/*'), { status: 3, stderr: /no file matches "none\/\*/ })
  const { stdout } = cli('eval', 'model', 'many')
  t.match(
    stdout,
    /\nMean over 3 collections: 15 judged queries\n\nrun +nDCG@10 \[95 %\].*Δ nDCG@10 \[95 %\] +p\nBM25 .*\nmodel /,
  )
})

t.test('--against: another system on every collection, query by query', async (t) => {
  for (const [name, count] of Object.entries({ 'two/a': 30, 'two/b': 60 })) await collection(name, count)
  cli('eval', 'model', 'two', '--recipe', 'documentLength=5', '--run', 'short')
  t.same(readdirSync(path.join(cwd, 'short')).sort(), ['a.BM25.trec', 'a.model.trec', 'b.BM25.trec', 'b.model.trec'])
  const { collections, mean } = JSON.parse(cli('eval', 'model', 'two', '--against', 'short', '--json').stdout)
  for (const { rows, baseline } of [...collections, mean]) {
    t.match(rows, [{ name: 'BM25', test: {} }, { name: 'against' }, { name: 'model', test: { p: Number } }])
    t.equal(baseline, 'against')
    const difference = rows[2].scores['ndcg@10'].mean - rows[1].scores['ndcg@10'].mean
    t.ok(Math.abs(difference - rows[2].test.difference) < 1e-12)
  }
  const same = JSON.parse(
    cli('eval', 'model', 'two', '--recipe', 'documentLength=5', '--against', 'short', '--json').stdout,
  )
  t.match(same.mean.rows[2].test, { difference: 0, low: 0, high: 0, p: 1 }, 'a system against itself')
  const file = path.join(cwd, 'short/b.model.trec')
  t.match(cli('eval', 'model', 'two/b', '--against', file, '--no-bm25'), {
    status: 0,
    stdout: /\nagainst .* baseline\nmodel /,
  })
  t.match(cli('eval', 'model', 'two', '--against', file), { status: 2, stderr: /is one run for 2 collections/ })
  t.match(cli('eval', 'model', 'two', '--against', 'two'), {
    status: 3,
    stderr: /two holds no run for a; expected one a\.trec/,
  })
  t.match(cli('eval', 'model', 'two', '--rerank', 'short'), {
    status: 3,
    stderr: /holds a\.BM25\.trec, a\.model\.trec for a/,
  })
  await collection('foreign', 9, (d) => `x${d}`)
  t.match(cli('eval', 'model', 'foreign', '--against', file), {
    status: 3,
    stderr: /the run has no judged query of foreign/,
  })
})

t.test('a phase that is evaluated on several collections: the mean decides, each is told', async (t) => {
  for (const [name, count] of Object.entries({ 'p/one': 30, 'p/two': 60, 'q/two': 21 })) await collection(name, count)
  const { pairs } = writeData(cwd)
  const phase = `name: a, loss: contrastive, data: ${pairs}, batch: 8, steps: 6, learningRate: 1e-2`
  const config = (evaluate: string) => {
    writeFileSync(
      path.join(cwd, 'run.yaml'),
      `model: model\nout: run\nphases:\n  - { ${phase}, evaluate: ${evaluate} }\n`,
    )
    return 'run.yaml'
  }
  const trained = cli('train', config('{ data: ["p/*", q/two], split: test, every: 2, metric: mrr@10 }'), '--json')
  t.equal(trained.status, 0, trained.stderr)
  const events = trained.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const evaluated = events.filter(({ type }) => type === 'eval')
  t.equal(evaluated.length, 3)
  for (const { metrics, value } of evaluated) {
    const own = ['one', 'p/two', 'q/two'].map((name) => metrics[`${name} mrr@10`])
    t.ok(Math.abs(value - own.reduce((sum, one) => sum + one, 0) / 3) < 1e-12)
    t.equal(metrics['mrr@10'], value)
  }
  const { best, out } = { best: events.at(-1).best, out: path.join(cwd, 'run') }
  t.equal(best.value, Math.max(...evaluated.map(({ value }) => value)))
  const [board] = readdirSync(path.join(out, 'tensorboard'))
  for (const tag of ['mrr@10', 'one mrr@10', 'p/two mrr@10', 'q/two mrr@10'])
    t.ok(readFileSync(path.join(out, 'tensorboard', board!)).includes(`eval/${tag}`), tag)
  t.same(JSON.parse(readFileSync(path.join(out, 'config.json'), 'utf8')).phases[0].evaluate.data, [
    path.join(cwd, 'p/*'),
    path.join(cwd, 'q/two'),
  ])
  const trainedModel = await Colbert.load(path.join(out, 'model'))
  const places = ['p/one', 'p/two', 'q/two'].map((name) => path.join(cwd, name))
  const again = await (await beirEvaluator(places, { metrics: ['mrr@10', 'recall@100'] }))(trainedModel)
  t.equal(again['mrr@10'], evaluated.at(-1).value, 'the same function from TypeScript')
  trainedModel.dispose()

  const wrong: [evaluate: string, message: RegExp][] = [
    ['[p/one, nowhere]', /evaluate\.data .*nowhere holds no BEIR collection/],
    ['[p/one, p/one]', /evaluate\.data .*given twice/],
    [
      '{ data: [p/one, q/two] }',
      /p\/one\/qrels\/dev\.tsv does not exist. Splits found: test[\s\S]*q\/two\/qrels\/dev\.tsv/,
    ],
    ['{ data: [] }', /evaluate\.data is an array|evaluate\.data/],
    ['beir/nothing', /BEIR has no collection "nothing"/],
  ]
  for (const [evaluate, message] of wrong) {
    const { status, stderr } = cli('check', config(evaluate), 'out=other')
    t.ok(status !== 0 && message.test(stderr), `${evaluate}: ${stderr}`)
  }
})

t.test('search counts what it cuts; lines of a text file are named by their number', async (t) => {
  writeFileSync(path.join(cwd, 'texts.txt'), `w1 w2\n\n${text(16)}\n w5 \n`)
  const found = cli('search', 'model', 'texts.txt', 'w5', '--json')
  t.match(JSON.parse(found.stdout), {
    counts: { documents: 3, emptyDocuments: 0, truncatedQueries: 0, truncatedDocuments: 1 },
    results: [{ query: 'w5', hits: [{ text: String }, {}, {}] }],
  })
  const ids = JSON.parse(found.stdout).results[0].hits.map(({ id }: { id: string }) => id)
  t.same(ids.sort(), ['1', '3', '4'])
  writeFileSync(path.join(cwd, 'odd.jsonl'), '{"_id":"a","text":"w1","body":"w2"}\n{"_id":"b","text":""}\n')
  const odd = cli('search', 'model', 'odd.jsonl', 'w5')
  t.match(odd.stderr, /documents without text: 1\nfields that no text comes from: body/)
})
