import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { bm25Run } from '../../lib/eval/baseline.js'
import { beirFolders, loadBeir, writeBeir } from '../../lib/eval/collections.js'
import { readQrels } from '../../lib/eval/qrels.js'
import { compareRuns, formatMarkdown, formatText } from '../../lib/eval/report.js'
import { mtebResult, readRun, writeMteb, writeRun } from '../../lib/eval/runs.js'
import { evaluate } from '../../lib/retrieval/metrics.js'

const content = {
  documents: [
    { id: 'd1', title: 'Sea', text: 'the ships sail\u2028far\n away' },
    { id: 'd2', text: 'é 😀 a harbour' },
    { id: 'd3', title: 'Only a title', text: '' },
  ],
  queries: [
    { id: 'q2', text: 'sailing ship' },
    { id: 'q1', text: 'harbours' },
    { id: 'q3', text: 'not judged' },
  ],
  qrels: {
    test: new Map([
      [
        'q1',
        new Map([
          ['d2', 2],
          ['d3', -1],
        ]),
      ],
      [
        'q2',
        new Map([
          ['d1', 1],
          ['gone', 1],
        ]),
      ],
    ]),
  },
}

/** A valid BEIR folder with some files replaced. */
async function folder(dir: string, files: Record<string, string | Buffer> = {}): Promise<string> {
  await writeBeir(dir, content)
  for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text)
  return dir
}

t.test('a BEIR folder survives writing and loading', async (t) => {
  for (const gzip of [false, true]) {
    const dir = join(t.testdir(), `set-${gzip}`)
    await writeBeir(dir, content, { gzip })
    const suffix = gzip ? '.jsonl.gz' : '.jsonl'
    t.same((await readdir(dir)).sort(), [`corpus${suffix}`, 'qrels', `queries${suffix}`])
    t.same(await loadBeir(dir), {
      name: `set-${gzip}`,
      split: 'test',
      documents: {
        ids: ['d1', 'd2', 'd3'],
        texts: ['Sea the ships sail\u2028far\n away', 'é 😀 a harbour', 'Only a title'],
      },
      queries: { ids: ['q1', 'q2'], texts: ['harbours', 'sailing ship'] },
      qrels: content.qrels.test,
      counts: {
        documents: 3,
        emptyDocuments: 0,
        emptyQueries: 0,
        unjudgedQueries: 1,
        missingJudged: 1,
        unusedFields: [],
      },
    })
  }
})

t.test('a directory of folders, line ends of Windows, integer ids, headers of any kind', async (t) => {
  const root = t.testdir()
  await folder(join(root, 'b'))
  await folder(join(root, 'a'))
  await mkdir(join(root, 'empty'))
  t.same(await beirFolders(root), [join(root, 'a'), join(root, 'b')])
  t.same(await beirFolders(join(root, 'a')), [join(root, 'a')])
  await t.rejects(beirFolders(join(root, 'empty')), { code: 'ERR_DATA' })
  const dir = await folder(join(root, 'c'), {
    'corpus.jsonl': '\ufeff{"_id":7,"text":"x"}\r\n\r\n{"_id":"8","title":null,"text":"y"}',
    'queries.jsonl': '{"_id":"1","text":"q"}\n',
    'qrels/test.tsv': 'any\ther\tader\r\n1\t7\t1\r\n',
  })
  const loaded = await loadBeir(dir)
  t.same(loaded.documents, { ids: ['7', '8'], texts: ['x', 'y'] })
  t.same(loaded.qrels, new Map([['1', new Map([['7', 1]])]]))
})

t.test('malformed collections name file and line', async (t) => {
  const header = 'query-id\tcorpus-id\tscore\n'
  const cases: [Record<string, string | Buffer>, RegExp][] = [
    [{ 'corpus.jsonl': '{"_id":"a","text":"x"}\n{"_id":"b"' }, /corpus\.jsonl:2: not a JSON object/],
    [{ 'corpus.jsonl': '{"_id":"a","text":"x"}\n{"_id":"a","text":"y"}' }, /corpus\.jsonl:2: .*second time/],
    [{ 'corpus.jsonl': 'null' }, /corpus\.jsonl:1: no "_id"/],
    [{ 'corpus.jsonl': '{"_id":"a","text":4}' }, /corpus\.jsonl:1: .*no string/],
    [{ 'corpus.jsonl': Buffer.from([0x22, 0xff, 0x22]) }, /not valid UTF-8/],
    [{ 'queries.jsonl': '{"_id":"q1","text":"x"}' }, /Query "q2" is judged/],
    [{ 'qrels/test.tsv': `${header}q1 d1 1\n` }, /test\.tsv:2: .*between tabs/],
    [{ 'qrels/test.tsv': `${header}q1\td1\t1.5\n` }, /test\.tsv:2: .*"1\.5", expected an integer/],
    [{ 'qrels/test.tsv': `${header}q1\td1\t1\nq1\td1\t0\n` }, /test\.tsv:3: .*twice/],
  ]
  const root = t.testdir()
  for (const [i, [files, message]] of cases.entries())
    await t.rejects(folder(join(root, `${i}`), files).then(loadBeir), { code: 'ERR_DATA', message })
  const dir = await folder(join(root, 'split'))
  await t.rejects(loadBeir(dir, { split: 'dev' }), { code: 'ERR_DATA', message: /Splits found: test/ })
  await t.rejects(loadBeir(join(dir, 'none')), { code: 'ERR_DATA', message: /corpus\.jsonl/ })
  await writeFile(join(root, 'run.gz'), gzipSync('q Q0 d 1 1 t\n').subarray(0, 20))
  await t.rejects(readRun(join(root, 'run.gz')), { code: 'ERR_DATA', message: /gzip/ })
})

t.test('a failed write leaves the older file and no other', async (t) => {
  const dir = await folder(join(t.testdir(), 'set'))
  const before = await readFile(join(dir, 'corpus.jsonl'), 'utf8')
  const twice = { ...content, documents: [content.documents[0], content.documents[0]] }
  await t.rejects(writeBeir(dir, twice), { code: 'ERR_DATA', details: { id: 'd1' } })
  t.equal(await readFile(join(dir, 'corpus.jsonl'), 'utf8'), before)
  t.same((await readdir(dir)).sort(), ['corpus.jsonl', 'qrels', 'queries.jsonl'])
  const bad = (qrels: Map<string, Map<string, number>>) => writeBeir(dir, { ...content, qrels: { test: qrels } })
  await t.rejects(bad(new Map([['q1', new Map([['a\tb', 1]])]])), { code: 'ERR_DATA' })
  await t.rejects(bad(new Map([['q9', new Map([['d1', 1]])]])), { code: 'ERR_DATA', message: /"q9"/ })
})

t.test('TREC runs and judgments', async (t) => {
  const dir = t.testdir({
    run: '# made by hand\nq1 Q0 a 9 1e-3 tag\n q1\tQ0  b 1 .5 tag\nq2 Q0 a 1 -2 tag\n',
    twice: 'q Q0 a 1 2 t\nq Q0 a 2 1 t\n',
    short: 'q Q0 a 1 2\n',
    nan: 'q Q0 a 1 nan t\n',
    qrels: 'q1 0 a 1\nq1 0 b -2\n',
  })
  const { run, tags } = await readRun(join(dir, 'run'))
  t.same(tags, ['tag'])
  t.same(
    [...run],
    [
      [
        'q1',
        [
          { id: 'a', score: 0.001 },
          { id: 'b', score: 0.5 },
        ],
      ],
      ['q2', [{ id: 'a', score: -2 }]],
    ],
  )
  await writeRun(join(dir, 'out/again.gz'), run)
  const again = await readRun(join(dir, 'out/again.gz'))
  t.same(again.run.get('q1'), [
    { id: 'b', score: 0.5 },
    { id: 'a', score: 0.001 },
  ])
  t.same(
    await readQrels(join(dir, 'qrels')),
    new Map([
      [
        'q1',
        new Map([
          ['a', 1],
          ['b', -2],
        ]),
      ],
    ]),
  )
  await t.rejects(readRun(join(dir, 'twice')), {
    code: 'ERR_DATA',
    message: /twice:2: query "q" lists document "a" twice/,
  })
  await t.rejects(readRun(join(dir, 'short')), { code: 'ERR_DATA', message: /short:1: found 5 fields/ })
  await t.rejects(readRun(join(dir, 'nan')), { code: 'ERR_DATA', message: /nan:1: / })
  await t.rejects(readRun(join(dir, 'none')), { code: 'ERR_DATA', message: /does not exist/ })
  await t.rejects(writeRun(join(dir, 'x'), new Map([['q', [{ id: 'a b', score: 1 }]]])), { code: 'ERR_DATA' })
  await t.rejects(writeRun(join(dir, 'x'), run, { tag: 'two words' }), { code: 'ERR_ARGUMENT' })
  t.notOk((await readdir(dir)).includes('x'))
})

t.test('MTEB results', async (t) => {
  const qrels = new Map([['q', new Map([['a', 1]])]])
  const result = mtebResult(
    new Map([
      [
        'q',
        [
          { id: 'b', score: 2 },
          { id: 'a', score: 1 },
        ],
      ],
    ]),
    qrels,
    { task: 'Mine', depth: 'all' },
  )
  const scores = result.scores.test[0]
  t.match(scores, { ndcg_at_10: 0.63093, main_score: 0.63093, mrr_at_1: 0, hit_rate_at_3: 1, recall_at_1000: 1 })
  t.match(scores, { precision_at_20: 0.05, hf_subset: 'default', languages: ['eng-Latn'] })
  const dir = await writeMteb(t.testdir(), { name: 'org/model' }, [result])
  t.match(dir, /org__model\/local$/)
  t.same(JSON.parse(await readFile(join(dir, 'Mine.json'), 'utf8')), result)
  t.match(JSON.parse(await readFile(join(dir, 'model_meta.json'), 'utf8')), { name: 'org/model' })
  await t.rejects(writeMteb(dir, { name: '..' }, []), { code: 'ERR_ARGUMENT' })
})

t.test('a comparison: BM25 against runs, in text, Markdown and JSON', async (t) => {
  const collection = await loadBeir(await folder(join(t.testdir(), 'set')))
  const { run: bm25 } = await bm25Run(collection)
  t.equal(evaluate(bm25, collection.qrels, ['mrr@10']).means['mrr@10'], 1)
  const ids = Array.from({ length: 40 }, (_, i) => `${i}`)
  const qrels = new Map(ids.map((q) => [q, new Map([['x', 1]])]))
  const runAt = (position: (i: number) => number) =>
    new Map(
      ids.map((q, i) => [
        q,
        [...'abc'].map((id, r) => ({ id, score: -r })).concat({ id: 'x', score: 0.5 - position(i) }),
      ]),
    )
  const runs = [
    { name: 'base', run: runAt(() => 2) },
    { name: 'good', run: runAt(() => 0) },
    { name: 'some', run: runAt((i) => (i % 8 === 0 ? 0 : 2)) },
    { name: 'same', run: runAt(() => 2).set('other', []) },
  ]
  const result = compareRuns(runs, qrels, { baseline: 'base', primary: 'good', collection: 'toy', seed: 3 })
  const tests = Object.fromEntries(result.rows.map((row) => [row.name, row.test]))
  t.equal(tests.base, undefined)
  t.equal(tests.good?.adjusted, tests.good?.p, 'the primary test is not corrected')
  t.equal(tests.some?.adjusted, 2 * (tests.some?.p ?? 0), 'Holm over the two others')
  t.equal(tests.some?.p, 2 / 32)
  t.match(tests.same, { difference: 0, p: 1, adjusted: 1 })
  const text = formatText(result)
  t.match(text, /^toy: 40 judged queries\n\nrun +nDCG@10 \[95 %\] {2}MRR@10 {2}recall@100 +Δ nDCG@10 \[95 %\] {3,}p\n/)
  t.match(
    text,
    /\ngood {2}1\.0000 \[1\.0000, 1\.0000\] {2}1\.0000 +1\.0000 +\+0\.5000 \[\+0\.5000, \+0\.5000\] +0\.0001 \*\n/,
  )
  t.match(text, /\nsame: queries without judgments \(ignored\): 1\.\n/)
  t.match(
    formatMarkdown(result),
    /\n\| run \| nDCG@10 \[95 %\] \| MRR@10 \| recall@100 \| Δ nDCG@10 \[95 %\] \| p \|\n\| --- \| ---: /,
  )
  t.same(JSON.parse(JSON.stringify(result)), result)
  const alone = compareRuns(runs.slice(0, 1), qrels)
  t.notMatch(formatText(alone), /Δ/)
  const code = 'ERR_ARGUMENT'
  t.throws(() => compareRuns([], qrels), { code })
  t.throws(() => compareRuns([runs[0], runs[0]], qrels), { code })
  t.throws(() => compareRuns(runs, qrels, { baseline: 'bass' }), { code, message: /Did you mean "base"/ })
  t.throws(() => compareRuns(runs, qrels, { primary: 'good' }), { code })
})
