/** Judgments, runs and corpora as people have them: each is read right, refused with file and line, or counted. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { bm25Run } from '../../lib/eval/baseline.js'
import { beirFolders, loadBeir } from '../../lib/eval/collections.js'
import { readQrels } from '../../lib/eval/qrels.js'
import { compareRuns, formatText } from '../../lib/eval/report.js'
import { checkRunIds, mtebResult, readRun } from '../../lib/eval/runs.js'
import { evaluate } from '../../lib/retrieval/metrics.js'

type Files = Record<string, string | Buffer>
const lines = (rows: object[]) => rows.map((row) => JSON.stringify(row)).join('\n')
const corpus = lines([
  { _id: 'd1', title: 'Sea', text: 'ships sail' },
  { _id: 'd2', text: 'a harbour' },
  { _id: '7', text: 'the seventh' },
])
const queries = lines([
  { _id: 'q1', text: 'ships' },
  { _id: 'q2', text: 'harbour' },
  { _id: '7', text: 'seven' },
])

let made = 0
async function folder(root: string, files: Files): Promise<string> {
  const dir = join(root, `${made++}`)
  await mkdir(join(dir, 'qrels'), { recursive: true })
  for (const [name, content] of Object.entries({ 'corpus.jsonl': corpus, 'queries.jsonl': queries, ...files }))
    await writeFile(join(dir, name), content)
  return dir
}
const judged = async (root: string, qrels: string | Buffer) => {
  const { qrels: found } = await loadBeir(await folder(root, { 'qrels/test.tsv': qrels }))
  return [...found].flatMap(([q, documents]) => [...documents].map(([d, grade]) => `${q} ${d} ${grade}`))
}

t.test("judgments: with a header or without, in BEIR's three columns or TREC's four", async (t) => {
  const root = t.testdir()
  const two = ['q1 d1 1', 'q2 d2 2']
  for (const [what, text] of Object.entries({
    header: 'query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t2\n',
    'no header': 'q1\td1\t1\nq2\td2\t2\n',
    'no final line end': 'q1\td1\t1\nq2\td2\t2',
    'byte order mark': '\ufeffq1\td1\t1\nq2\td2\t2\n',
    Windows: 'query-id\tcorpus-id\tscore\r\n\r\nq1\td1\t1\r\nq2\td2\t2\r\n',
    'a blank line first': '\nq1\td1\t1\n\nq2\td2\t+2\n',
    'TREC with blanks': 'q1 0 d1 1\nq2 0 d2 2\n',
    'TREC with tabs and blanks': 'q1\t0\td1\t1\nq2  Q0 d2\t2 \n',
    'TREC with a header': 'topic iteration document relevance\nq1 0 d1 1\nq2 0 d2 2\n',
    'TREC with a comment': '# by hand\nq1 0 d1 1\nq2 0 d2 2\n',
  }))
    t.same(await judged(root, text), two, what)
  t.same(await judged(root, '7\t7\t7\n'), ['7 7 7'], 'numbers are no header')
  const gz = join(root, 'qrels.gz')
  await writeFile(gz, gzipSync('q1 0 d1 1\n'))
  t.same(await readQrels(gz), new Map([['q1', new Map([['d1', 1]])]]))
})

t.test('judgments that are none name file and line', async (t) => {
  const root = t.testdir()
  const wide = lines([{ _id: 'a b', text: 'x' }])
  for (const [text, message] of [
    ['', /test\.tsv holds no judgment/],
    ['query-id\tcorpus-id\tscore\n', /holds no judgment/],
    ['q1\td1\t\n', /test\.tsv:1: found the grade "", expected an integer/],
    ['q1\td1\t1.5\n', /test\.tsv:1: found the grade "1\.5"/],
    ['q1\td1\t1e3\n', /test\.tsv:1: found the grade "1e3"/],
    ['q1\td1\t99999999999999999999\n', /test\.tsv:1: found the grade "99999999999999999999"/],
    ['q1\td1\tyes\nq2\td2\t1\n', /test\.tsv:1: query "q1" and document "d1" exist, so this is no header/],
    ['q1\td1\t1\nquery-id\tcorpus-id\tscore\n', /test\.tsv:2: found the grade "score"/],
    ['q1\td1\t1\nq1\td1\t1\n', /test\.tsv:2: query "q1" judges document "d1" twice/],
    ['q1\td1\n', /test\.tsv:1: found "q1\\td1", expected query-id, corpus-id and score between tabs, or/],
    ['q1 d1 1\n', /test\.tsv:1: found "q1 d1 1", expected .* between tabs/],
    ['q1\td1\t1\nq2 0 d2 1\n', /test\.tsv:2: .* as in the rows before it/],
    ['q1 0 d1 1\nq2\td2\t1\n', /test\.tsv:2: .*expected query, 0, document and grade, as in/],
    ['q1\td1\t1\t1700000000\n', /test\.tsv:1: found "q1\\td1\\t1\\t1700000000"/],
    ['\td1\t1\n', /test\.tsv:1: found "\\td1\\t1"/],
    ['q1\td1\t1\rq2\td2\t1\r', /test\.tsv:1: found/],
    ['d1\tq1\t1\nd2\tq2\t1\n', /Query "d1" and 1 more are judged .* but missing from .*queries\.jsonl/],
    ['q1\tD1\t1\nq2\tD2\t1\n', /None of the 2 documents judged in .* is in .*corpus\.jsonl/],
    [Buffer.from('\ufeffq1\td1\t1\n', 'utf16le'), /not valid UTF-8|found/],
  ] as const)
    await t.rejects(judged(root, text as string), { code: 'ERR_DATA', message }, JSON.stringify(String(text)))
  const blanks = await folder(root, { 'queries.jsonl': wide, 'qrels/test.tsv': 'a b\td1\t1\n' })
  t.same((await loadBeir(blanks)).queries.ids, ['a b'], 'ids with blanks stand between tabs')
  const none = await folder(root, {})
  await t.rejects(loadBeir(none, { split: 'dev' }), { code: 'ERR_DATA', message: /dev\.tsv does not exist.*: none/ })
})

t.test('what a collection holds and nobody reads is counted, in the table and in JSON', async (t) => {
  const dir = await folder(t.testdir(), {
    'corpus.jsonl': lines([
      { _id: 'd1', title: 'Sea', text: 'ships', url: 'x', metadata: {} },
      { _id: 'd2', text: ' ' },
      { _id: 'd3', text: 'the' },
    ]),
    'queries.jsonl': lines([
      { _id: 'q1', text: 'ships', title: 'not read' },
      { _id: 'q2', text: '' },
      { _id: 'q3', text: 'of the' },
      { _id: 'q4', text: 'not judged' },
      { _id: 'q5', text: 'nor this' },
    ]),
    'qrels/test.tsv': 'q1\td1\t1\nq1\tgone\t1\nq1\td2\t-1\nq2\td3\t-2\nq3\td3\t1\n',
  })
  const collection = await loadBeir(dir)
  t.same(collection.counts, {
    documents: 3,
    emptyDocuments: 1,
    emptyQueries: 1,
    unjudgedQueries: 2,
    missingJudged: 1,
    unusedFields: ['url', 'title'],
  })
  const bm25 = await bm25Run(collection, { topK: 10 })
  const report = compareRuns([{ name: 'BM25', ...bm25 }], collection.qrels, { collection })
  t.same(report.collectionCounts, collection.counts)
  t.match(report.rows[0], {
    depth: 'all',
    counts: {
      queries: 3,
      withoutResults: 2,
      withoutRelevant: 1,
      negativeGrades: 2,
      unretrieved: 2,
      queriesWithoutTerms: 2,
      documentsWithoutTerms: 2,
    },
  })
  t.match(JSON.parse(JSON.stringify(report)), { collectionCounts: collection.counts, rows: report.rows })
  t.match(formatText(report).split('\n').slice(6), [
    'Collection: documents without text: 1; judged queries without text: 1; queries that this split does not judge ' +
      '(not searched): 2; judged documents that are not in the corpus (never found): 1.',
    'Collection: fields that no text comes from: url, title.',
    'Collection: judgments below 0 (as 0): 2; queries with nothing relevant (count 0): 1.',
    'BM25: judged queries without results (count 0): 2; relevant documents that were not retrieved: 2; queries in ' +
      'which it finds no term: 2; documents in which it finds no term (never found): 2.',
  ])
})

t.test('corpora whose texts stay in their file give the same collection', async (t) => {
  const dir = await folder(t.testdir(), { 'corpus.jsonl': `\ufeff${corpus}\r\n\r\n`, 'qrels/test.tsv': 'q1\td1\t1\n' })
  const held = await loadBeir(dir)
  const streamed = await loadBeir(dir, { stream: true })
  const read = async () => {
    const texts: string[] = []
    for await (const text of streamed.documents.texts) texts.push(text)
    return texts
  }
  t.same(await read(), held.documents.texts)
  t.same(await read(), held.documents.texts, 'again')
  t.same({ ...streamed, documents: held.documents }, held)
  t.same(await bm25Run(streamed), await bm25Run(held))
  await writeFile(join(dir, 'corpus.jsonl'), corpus.split('\n').slice(1).join('\n'))
  await t.rejects(read(), { code: 'ERR_DATA', message: /has changed: 2 texts, it had 3/ })
})

t.test('of a folder of collections, none is left out for want of its corpus', async (t) => {
  const root = t.testdir()
  await folder(root, {})
  await mkdir(join(root, 'notes'))
  t.equal((await beirFolders(root)).length, 1)
  await mkdir(join(root, 'broken'))
  await writeFile(join(root, 'broken/queries.jsonl'), queries)
  await t.rejects(beirFolders(root), { code: 'ERR_DATA', message: /broken has neither corpus\.jsonl nor/ })
})

t.test('runs: comments, hashes that are none, tags, ranks against scores', async (t) => {
  const dir = t.testdir({
    run: '\ufeff# made by hand\r\n#1 Q0 d1 1 2 a\r\n#1 Q0 d2 2 1 a\r\nq Q0 d1 2 5 b\r\nq Q0 d2 1 3 b\r\n',
    seven: 'q Q0 a b 1 2 t\n',
    hex: 'q Q0 a 1 inf t\n',
  })
  const { run, tags, reordered } = await readRun(join(dir, 'run'))
  t.same([...run.keys()], ['#1', 'q'])
  t.same(tags, ['a', 'b'])
  t.equal(reordered, 1, 'of q, d2 ranks first and scores less')
  await t.rejects(readRun(join(dir, 'seven')), { code: 'ERR_DATA', message: /seven:1: found 7 fields/ })
  await t.rejects(readRun(join(dir, 'hex')), { code: 'ERR_DATA', message: /hex:1: found the score "inf"/ })
  t.throws(() => checkRunIds('document', ['a', 'b c']), { code: 'ERR_DATA', message: /document id "b c" cannot stand/ })
  t.throws(() => checkRunIds('query', ['']), { code: 'ERR_DATA' })
})

t.test('a run that is shallower than a cut is scored, and the table says so', async (t) => {
  const hits = (n: number) => Array.from({ length: n }, (_, i) => ({ id: `d${i}`, score: -i }))
  const qrels = new Map(['q1', 'q2', 'q3'].map((q) => [q, new Map([['d40', 1]])]))
  const run = new Map([
    ['q1', hits(50)],
    ['q2', hits(10)],
  ])
  const notes = (metrics: string[], row = {}) =>
    formatText(compareRuns([{ name: 'mine', run, ...row }], qrels, { metrics: metrics as 'ndcg@10'[] }))
  t.match(
    notes(['recall@1000', 'ndcg@10', 'map']),
    /mine: it holds at most 50 documents a query, and recall@1000, MAP look no deeper\.\n/,
  )
  t.match(notes(['recall@20']), /mine: queries with fewer documents than the deepest cut: 2\.\n/)
  t.notMatch(notes(['recall@20'], { depth: 'all' }), /deep/, 'no document of the collection is missing')
  t.match(notes(['recall@100'], { depth: 50 }), /at most 50 documents a query, and recall@100 looks no deeper/)
  t.match(
    notes(['recall@20']),
    /judged queries without results \(count 0\): 1; relevant documents that were not retrieved: 2\./,
  )
  const { counts } = evaluate(run, qrels, ['recall@20'])
  t.match(counts, { depth: 50, shallow: 2, unretrieved: 2 })
  t.throws(() => mtebResult(run, qrels, { task: 'x' }), { code: 'ERR_DATA', message: /at most 50 documents a query/ })
})
