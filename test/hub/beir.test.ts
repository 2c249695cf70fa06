/** BEIR by name: from the Hub, in either layout that its data sets have had, to means of `eval` and of a phase. */
import { spawn } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { parquetWriteBuffer } from 'hyparquet-writer'
import t from 'tap'
import { beirFolder, beirNames, findCollections, loadBeir, privateBeirNames } from '../../lib/eval/index.js'
import { ended, main, read } from '../command.js'
import { folder, saveTinyModel, writeData } from '../train/tiny.js'
import { failure, hub, variables, withVariables } from './hub.js'
import type { HubServer } from './server.js'

const forums = [
  ...['android', 'english', 'gaming', 'gis', 'mathematica', 'physics'],
  ...['programmers', 'stats', 'tex', 'unix', 'webmasters', 'wordpress'],
]

type Row = Record<string, string>
const parquet = (rows: Row[]): Buffer => {
  const columns = Object.keys(rows[0]!).map((name) => ({ name, data: rows.map((row) => row[name]) }))
  return Buffer.from(parquetWriteBuffer({ columnData: columns } as never))
}
const jsonl = (rows: Row[]): Buffer => gzipSync(rows.map((row) => `${JSON.stringify(row)}\n`).join(''))

/** Five documents, one of them without text; q2 is judged in another split alone. */
function texts(i: number, offset = 0): { corpus: Row[]; queries: Row[] } {
  const corpus = Array.from({ length: 5 }, (_, d) => ({
    _id: `d${d}`,
    title: d === 1 ? `w${i}` : '',
    text: d === 4 ? '' : `w${d + offset} w${d + i} w${d + 7}`,
  }))
  return { corpus, queries: [0, 1, 2].map((q) => ({ _id: `q${q}`, text: `w${q + offset} w${q + i}` })) }
}
const tsv = (...pairs: [query: number, document: number, grade?: number][]): string =>
  `query-id\tcorpus-id\tscore\n${pairs.map(([q, d, grade = 1]) => `q${q}\td${d}\t${grade}\n`).join('')}`

/** The layout of today is Parquet in folders; before it was files in gzip and a script. */
const tables = ({ corpus, queries }: ReturnType<typeof texts>, prefix = ''): Record<string, Buffer> => ({
  [`${prefix}corpus/corpus-00000-of-00002.parquet`]: parquet(corpus.slice(0, 3)),
  [`${prefix}corpus/corpus-00001-of-00002.parquet`]: parquet(corpus.slice(3)),
  [`${prefix}queries/queries-00000-of-00001.parquet`]: parquet(queries),
})

function publish(server: HubServer): void {
  for (const [i, name] of beirNames.entries()) {
    const id = `datasets/BeIR/${name}`
    if (name === 'cqadupstack') {
      server.commit(id, Object.assign({}, ...forums.map((forum, f) => tables(texts(i, f), `${forum}/`))))
      const judged = forums.map((forum, f) => [`${forum}/test.tsv`, tsv([0, f % 4], [1, 1])])
      server.commit(`${id}-qrels`, { 'README.md': '', ...Object.fromEntries(judged) })
      continue
    }
    const { corpus, queries } = texts(i)
    const old = { 'corpus.jsonl.gz': jsonl(corpus), 'queries.jsonl.gz': jsonl(queries), [`${name}.py`]: 'import' }
    server.commit(id, i % 2 ? tables({ corpus, queries }) : old)
    const test = tsv([0, 0, 2], [1, i % 4])
    const splits: Record<string, string> = { 'README.md': '', 'test.tsv': test }
    if (name === 'nfcorpus') splits['test.tsv'] += 'q1\td0\t1\nq1\td0\t3\n' // judged twice
    if (name === 'msmarco') splits['dev.tsv'] = tsv([0, 0], [1, 2], [2, 2])
    if (name === 'scifact') splits['train.tsv'] = tsv([2, 2])
    server.commit(`${id}-qrels`, splits)
  }
}

t.test('from the Hub to means', async (t) => {
  const { server, settings } = await hub(t)
  publish(server)
  const dir = folder(t)
  const env = { ...variables(settings), LATEFORGE_CACHE: path.join(dir, 'cache') }
  withVariables(t, env)
  const lateforge = async (...args: string[]) => {
    const child = spawn(process.execPath, [main, ...args], { cwd: dir, env: { ...process.env, ...env, NO_COLOR: '1' } })
    const found = read(child)
    return { code: await ended(child), ...found }
  }

  const scifact = await beirFolder('scifact')
  const loaded = await loadBeir(scifact)
  t.match(loaded, { name: 'scifact', split: 'test', counts: { documents: 5, emptyDocuments: 1, unjudgedQueries: 1 } })
  t.same(loaded.queries.ids, ['q0', 'q1'])
  t.equal(loaded.documents.texts[1], `w14 w1 w15 w8`, 'title and text')
  t.same([...loaded.qrels.get('q0')!], [['d0', 2]], 'grades')
  t.same((await loadBeir(scifact, { split: 'train' })).queries.ids, ['q2'])
  const twice = await loadBeir(await beirFolder('nfcorpus'))
  t.equal(twice.qrels.get('q1')!.get('d0'), 3, "the last, as to BEIR's loader")
  const asked = server.received.length
  t.equal(await beirFolder('scifact'), scifact)
  t.equal(
    server.asked(/resolve/).length,
    server.received.slice(0, asked).filter(({ path }) => /resolve/.test(path)).length,
  )

  const { collections, missing } = await findCollections(['beir'])
  t.equal(collections.length, beirNames.length - 1 + 12)
  t.same(
    collections.filter(({ split }) => split !== 'test').map(({ name, split }) => [name, split]),
    [['msmarco', 'dev']],
  )
  t.same(
    collections.filter(({ set }) => set).map(({ name, set }) => [name, set]),
    forums.map((forum) => [`cqadupstack/${forum}`, 'cqadupstack']),
  )
  t.same(
    missing,
    privateBeirNames.map((name) => ({ name, reason: 'not public' })),
  )

  await saveTinyModel(path.join(dir, 'base'))
  const all = await lateforge('eval', 'base', 'beir', '--no-bm25', '--json')
  t.equal(all.code, 0, all.err)
  t.match(all.err, /warn {2}bioasq is missing: not public\n/)
  const report = JSON.parse(all.out)
  t.equal(report.mean.parts.length, beirNames.length)
  t.match(report.mean.missing, missing)
  const score = ({ rows }: { rows: { scores: Record<string, { mean: number }> }[] }) => rows[0]!.scores['ndcg@10']!.mean
  const forumScores = report.collections.filter(({ set }: { set?: string }) => set).map(score)
  const others = report.collections.filter(({ set }: { set?: string }) => !set).map(score)
  const sum = (values: number[]) => values.reduce((total, value) => total + value, 0)
  t.ok(Math.abs((sum(others) + sum(forumScores) / 12) / 15 - score(report.mean)) < 1e-12, 'the forums count as one')
  t.match(report.collections[0], { collection: 'msmarco', split: 'dev', queries: 3 })

  // A folder that holds the same sets is read in the same way.
  for (const { name, folder } of collections) cpSync(folder, path.join(dir, 'mine', name), { recursive: true })
  const own = JSON.parse((await lateforge('eval', 'base', 'mine', '--no-bm25', '--json')).out)
  t.equal(own.mean.parts.length, beirNames.length)
  t.ok(Math.abs(score(own.mean) - score(report.mean)) < 1e-12)
  const text = await lateforge('eval', 'base', 'beir/msmarco', 'beir/cqadupstack', '--no-bm25')
  t.match(text.out, /^msmarco, dev: 3 judged queries\n[\s\S]*Mean over 2 collections: 27 judged queries/)
  t.match(text.out, /cqadupstack: the mean of its 12 collections counts as one\./)

  // Negatives are mined for the judgments of a train split, from its own documents or another collection's.
  const mined = await lateforge('mine', 'beir/scifact', '--by', 'base', '--out', 'mined.jsonl')
  t.match(mined, { code: 0, out: /^scifact: 1 of 1 rows \(1 queries\) with 3 negatives of 4 documents: mined\.jsonl/ })
  const line = JSON.parse(readFileSync(path.join(dir, 'mined.jsonl'), 'utf8'))
  t.match(line, { query: 'w2 w16', id: 'q2' })
  t.equal(line.documents[0], 'w2 w16 w9')
  t.same(line.documents.slice(1).sort(), ['w0 w14 w7', 'w14 w1 w15 w8', 'w3 w17 w10'])
  const args = ['mine', 'mined.jsonl', '--corpus', 'beir/cqadupstack', '--by', 'base', '--out', 'elsewhere.jsonl']
  t.match(await lateforge(...args), {
    code: 0,
    out: /1 rows .* of 48 documents[\s\S]*without text \(left out\): 12;/,
  })
  t.match(await lateforge('mine', 'beir/nq', '--by', 'bm25', '--out', 'no.jsonl'), {
    code: 3,
    err: /Splits found: test/,
  })
  t.match((await lateforge('eval', 'base', 'beir/cqadupstack', '--no-bm25')).out, /Mean over 12 collections/)
  t.match((await lateforge('eval', 'base', 'beir/cqadupstack/tex', '--no-bm25')).out, /^cqadupstack\/tex: 2 judged/)

  const { pairs } = writeData(dir)
  const phase = `name: a, loss: contrastive, data: ${pairs}, batch: 8, steps: 2, learningRate: 1e-3`
  writeFileSync(
    path.join(dir, 'run.yaml'),
    `model: base\nout: out\nphases:\n  - { ${phase}, evaluate: [beir/scifact, beir/cqadupstack] }\n`,
  )
  const trained = await lateforge('train', 'run.yaml', '--json')
  t.equal(trained.code, 0, trained.err)
  const { metrics, value } = JSON.parse(trained.out.split('\n').find((line) => line.includes('"type":"eval"'))!)
  const forumMean = sum(forums.map((forum) => metrics[`cqadupstack/${forum} ndcg@10`])) / 12
  t.ok(Math.abs((metrics['scifact ndcg@10'] + forumMean) / 2 - value) < 1e-12)
  t.same(JSON.parse(readFileSync(path.join(dir, 'out/config.json'), 'utf8')).phases[0].evaluate.data, [
    'beir/scifact',
    'beir/cqadupstack',
  ])

  await server.stop()
  withVariables(t, { HF_HUB_OFFLINE: '1' })
  t.equal(await beirFolder('scifact'), scifact, 'offline the second time')
})

t.test('what cannot be had is named', async (t) => {
  const { server, settings } = await hub(t)
  publish(server)
  const dir = folder(t)
  withVariables(t, { ...variables(settings), LATEFORGE_CACHE: path.join(dir, 'cache') })
  const cwd = process.cwd()
  process.chdir(dir)
  t.teardown(() => process.chdir(cwd))
  server.repositories.get('datasets/BeIR/nq')!.gated = true
  server.repositories.delete('datasets/BeIR/fever')
  const { collections, missing } = await findCollections(['beir'])
  t.same(
    missing.slice(0, 2).map(({ name, reason }) => [name, reason]),
    [
      ['nq', 'access has to be granted on its page at the Hub'],
      ['fever', 'the Hub has none, or it is private'],
    ],
  )
  t.equal(collections.length, beirNames.length - 3 + 12)
  t.match(await failure(findCollections(['beir/nq'])), { code: 'ERR_HUB', details: { reason: 'gated' } })
  t.match(await failure(findCollections(['beir/robust04'])), { code: 'ERR_DATA', message: /is not public/ })
  t.match(await failure(findCollections(['beir/scifac'])), { code: 'ERR_DATA', message: /did you mean "scifact"\?/ })
  t.match(await failure(findCollections(['nanobier'])), { code: 'ERR_DATA', message: /Did you mean "nanobeir"\?/ })
  t.match(await failure(findCollections(['beir/scifact', 'beir/scifact'])), { code: 'ERR_ARGUMENT', message: /twice/ })
  t.match(await failure(findCollections(['NanoNQ'], { split: 'dev' })), {
    code: 'ERR_ARGUMENT',
    message: /split has no effect on NanoNQ, which has one split/,
  })
  for (const places of [[], 'beir'])
    t.match(await failure(findCollections(places as never)), { code: /ERR_(ARGUMENT|DATA)/ })
  server.commit('datasets/BeIR/fiqa-qrels', { 'train.tsv': tsv([0, 0]) })
  t.match(await failure(findCollections(['beir/fiqa'])), {
    code: 'ERR_DATA',
    message: /BeIR\/fiqa-qrels has no test\.tsv\. It has train\.tsv/,
  })
  server.commit('datasets/BeIR/quora-qrels', { 'test.tsv': 'query-id\tcorpus-id\tscore\nq0\td0\n' })
  t.match(await failure(findCollections(['beir/quora'])), {
    code: 'ERR_DATA',
    message: /expected query-id, corpus-id, score/,
  })
  server.commit('datasets/BeIR/quora-qrels', { 'test.tsv': tsv([7, 0]) })
  t.match(await failure(findCollections(['beir/quora'])), { code: 'ERR_DATA', message: /judges query "q7"/ })
  t.match(await failure(findCollections(['beir/'])), { message: /holds no BEIR collection/ }, 'no name')
  mkdirSync('beir/scifact', { recursive: true })
  t.match(await failure(findCollections(['beir/scifact'])), { message: /holds no BEIR collection/ }, 'a folder wins')
})
