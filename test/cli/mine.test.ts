/** `lateforge mine`: what it writes trains as it is, whatever it mines from; and what it refuses. */
import { spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { writeBeir } from '../../lib/eval/index.js'
import { ended, lateforge, main, read } from '../command.js'
import { folder, saveTinyModel, tinyModel, writeData } from '../train/tiny.js'

const cwd = folder(t)
process.env.LATEFORGE_CACHE = path.join(cwd, 'cache')
const cli = (...args: string[]) => lateforge(args, cwd)
interface Row {
  query: string
  documents: string[]
  scores?: number[]
  id?: string
}
const rowsOf = (name: string): Row[] => {
  const bytes = readFileSync(path.join(cwd, name))
  const lines = (name.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString().trim().split('\n')
  return lines.map((line) => JSON.parse(line))
}

t.before(async () => {
  await saveTinyModel(path.join(cwd, 'model'))
  const other = await tinyModel(2)
  await other.save(path.join(cwd, 'teacher'))
  other.dispose()
  writeData(cwd)
})

t.test('mined with a teacher: check, contrastive and distillation take the file as it is', async (t) => {
  const mined = cli(
    'mine',
    'pairs.jsonl',
    '--by',
    'model',
    '--out',
    'kd.jsonl.gz',
    '--negatives',
    '3',
    '--teacher',
    'teacher',
  )
  t.match(mined, {
    status: 0,
    stdout: /^pairs: 60 of 60 rows \(60 queries\) with 180 negatives of 60 documents: kd\.jsonl/,
  })
  t.match(mined.stdout, /mean score of positives \d.*\n {2}candidates left over: \d+; positives of the query.*: 60\n/)
  for (const { documents, scores } of rowsOf('kd.jsonl.gz')) t.equal(scores!.length, documents.length)
  writeFileSync(
    path.join(cwd, 'run.yaml'),
    `model: model
out: run
workers: 0
phases:
  - { name: a, loss: contrastive, data: kd.jsonl.gz, negatives: 3, dropAbove: 0.97, batch: 8, steps: 2, learningRate: 1e-4 }
  - { name: b, loss: distillation, data: kd.jsonl.gz, batch: 8, steps: 2, learningRate: 1e-4 }
`,
  )
  const checked = JSON.parse(cli('check', 'run.yaml', '--json').stdout)
  t.match(checked, { ok: true, phases: [{ rows: 60 }, { rows: 60, sources: [{ documents: { fewest: 4, most: 4 } }] }] })
  t.match(cli('train', 'run.yaml', '--quiet'), {
    status: 0,
    stdout: /a {2}2 steps {2}loss \d[\s\S]*b {2}2 steps {2}loss \d/,
  })
})

t.test('the same bytes on any number of threads; a file is not replaced unasked', async (t) => {
  const threads = ['1', '2', '5'].map((LATEFORGE_THREADS) => {
    const args = ['mine', 'triplets.jsonl', '--by', 'model', '--out', `t${LATEFORGE_THREADS}.jsonl`, '--miner-scores']
    process.env.LATEFORGE_THREADS = LATEFORGE_THREADS
    const { status } = cli(...args)
    t.equal(status, 0)
    t.match(cli(...args), { status: 3, stdout: '', stderr: /^error ERR_FILE .*say --overwrite/ })
    return readFileSync(path.join(cwd, `t${LATEFORGE_THREADS}.jsonl`), 'utf8')
  })
  delete process.env.LATEFORGE_THREADS
  t.same(new Set(threads).size, 1)
  t.match(cli('mine', 'pairs.jsonl', '--by', 'bm25', '--out', 't1.jsonl', '--overwrite'), { status: 0 })
  t.not(readFileSync(path.join(cwd, 't1.jsonl'), 'utf8'), threads[0])
})

t.test('several sources: a folder, each with its own documents; JSON', async (t) => {
  t.match(cli('mine', 'pairs.jsonl', 'triplets.jsonl', '--by', 'bm25', '--out', 'x.jsonl'), {
    status: 2,
    stderr: /x\.jsonl is one file, for 2 sources: pairs, triplets\. Name a folder/,
  })
  const found = JSON.parse(
    cli('mine', 'pairs.jsonl', 'triplets.jsonl', '--by', 'bm25', '--out', 'all', '--json').stdout,
  )
  t.match(found, {
    by: 'bm25',
    teacher: null,
    results: [
      { source: 'pairs', documents: 60 },
      { source: 'triplets', documents: 240, replaced: 180 },
    ],
  })
  t.same(readdirSync(path.join(cwd, 'all')).sort(), ['pairs.jsonl.gz', 'triplets.jsonl.gz'])
  mkdirSync(path.join(cwd, 'x'))
  cpSync(path.join(cwd, 'pairs.jsonl'), path.join(cwd, 'x/pairs.jsonl'))
  t.equal(cli('mine', 'pairs.jsonl', 'x/pairs.jsonl', 'pairs.jsonl', '--by', 'bm25', '--out', 'same').status, 0)
  t.same(readdirSync(path.join(cwd, 'same/x')), ['pairs.jsonl.gz'], 'names that tell them apart, as in training')
})

t.test('a BEIR folder, another corpus, ids with tables, columns by name', async (t) => {
  const text = (d: number) => Array.from({ length: 5 }, (_, i) => `w${(d * 2 + i) % 60}`).join(' ')
  await writeBeir(path.join(cwd, 'beir'), {
    documents: Array.from({ length: 30 }, (_, d) => ({ id: `d${d}`, text: text(d) })),
    queries: [0, 1, 2].map((q) => ({ id: `q${q}`, text: text(q).slice(0, 5) })),
    qrels: { dev: new Map([['q0', new Map(Object.entries({ d0: 1, d1: 2, d2: 0 }))]]) },
  })
  const judged = cli(
    'mine',
    'beir',
    '--split',
    'dev',
    '--by',
    'model',
    '--out',
    'beir.jsonl',
    '--negatives',
    '27',
    '--min-negatives',
    '27',
  )
  t.match(judged, { status: 0, stdout: /^beir: 2 of 2 rows \(1 queries\) with 54 negatives of 30 documents/ })
  t.match(judged.stderr, /beir: queries that this split does not judge \(not searched\): 2/)
  t.same(
    rowsOf('beir.jsonl').map(({ documents, id }) => [id, documents[0]]),
    [
      ['q0', text(0)],
      ['q0', text(1)],
    ],
  )
  t.match(cli('mine', 'beir', '--by', 'model', '--out', 'none.jsonl'), { status: 3, stderr: /Splits found: dev/ })
  t.match(cli('mine', 'beir', '--split', 'dev', '--columns', 'query=q', '--by', 'bm25', '--out', 'none.jsonl'), {
    status: 2,
    stderr: /--columns has no effect on BEIR's, beir/,
  })
  t.equal(cli('mine', 'pairs.jsonl', '--corpus', 'beir', '--by', 'bm25', '--out', 'from.jsonl').status, 0)
  const documents = new Set(Array.from({ length: 30 }, (_, d) => text(d)))
  for (const row of rowsOf('from.jsonl')) t.ok(row.documents.slice(1).every((document) => documents.has(document)))
  writeFileSync(path.join(cwd, 'ids.jsonl'), '{"qid":"q0","p":"d3"}\n')
  const byIds = [
    'mine',
    'ids.jsonl',
    '--columns',
    'positive=p',
    '--queries',
    'beir/queries.jsonl',
    '--documents',
    'beir/corpus.jsonl',
  ]
  t.equal(cli(...byIds, '--corpus', 'beir/corpus.jsonl', '--by', 'bm25', '--out', 'ids-mined.jsonl').status, 0)
  t.match(rowsOf('ids-mined.jsonl'), [{ query: text(0).slice(0, 5), documents: [text(3)] }])
  t.match(cli('mine', 'pairs.jsonl', '--split', 'dev', '--by', 'bm25', '--out', 'none.jsonl'), {
    status: 3,
    stderr: /split has no effect on local files/,
  })
  t.notOk(existsSync(path.join(cwd, 'none.jsonl')))
})

t.test('bad arguments', async (t) => {
  cpSync(path.join(cwd, 'beir'), path.join(cwd, 'other/beir'), { recursive: true })
  const out = ['--out', 'none.jsonl']
  for (const [args, status, message] of [
    [['pairs.jsonl', '--by', 'bm25'], 2, /ERR_USAGE .*--out/],
    [['pairs.jsonl', ...out], 2, /ERR_USAGE .*--by/],
    [['nothing.jsonl', '--by', 'bm25', ...out], 3, /no file matches "nothing\.jsonl"/],
    [['pairs.jsonl', '--by', 'all', ...out], 4, /ERR_FORMAT .*all/],
    [['pairs.jsonl', '--by', 'bm25', ...out, '--depth', '10'], 2, /two ranks, from 1: as 10-100/],
    [['pairs.jsonl', '--by', 'bm25', ...out, '--depth', '10-9'], 2, /two ranks/],
    [['pairs.jsonl', '--by', 'bm25', ...out, '--margin', 'x'], 2, /Expected a number/],
    [['pairs.jsonl', '--by', 'bm25', ...out, '--sampling', 'best'], 2, /top or random/],
    [['pairs.jsonl', '--by', 'bm25', ...out, '--seed', '3'], 2, /seed has no effect/],
    [['pairs.jsonl', '--by', 'bm25', ...out, '--teacher', 'teacher', '--miner-scores'], 2, /cannot be used with/],
    [['pairs.jsonl', '--by', 'bm25', ...out, '--recipe', 'queryLength=9'], 2, /--recipe has no effect on BM25/],
    [['pairs.jsonl', '--by', 'bm25', ...out, '--device', 'cuda'], 2, /--device has no effect on BM25/],
    [['pairs.jsonl', '--by', 'bm25', ...out, '--dense'], 2, /--dense has no effect on BM25/],
    [['pairs.jsonl', '--by', 'bm25', ...out, '--dense-teacher'], 2, /--dense-teacher has no effect without --teacher/],
    [['pairs.jsonl', '--by', 'model', ...out, '--dense'], 4, /ERR_FORMAT .*no dense one/],
    [['pairs.jsonl', '--by', 'bm25', ...out, '--teacher', 'model', '--dense-teacher'], 4, /ERR_FORMAT .*no dense one/],
    [['pairs.jsonl', '--by', 'bm25', ...out, '--columns', 'query'], 2, /--columns query: expected role=column/],
    [['beir', 'other/beir', '--split', 'dev', '--by', 'bm25', '--out', 'none'], 2, /two sources are called "beir"/],
  ] as const) {
    const found = cli('mine', ...args)
    t.equal(found.status, status, args.join(' '))
    t.match(found.stderr, message)
  }
  t.notOk(existsSync(path.join(cwd, 'none.jsonl')))
})

t.test('Ctrl-C: nothing is written, and nothing stays in the cache folder', async (t) => {
  const cacheDir = path.join(cwd, 'stopped-cache')
  const args = [
    'mine',
    'triplets.jsonl',
    '--by',
    'model',
    '--out',
    'stopped.jsonl',
    '--query-block',
    '1',
    '--micro-batch-tokens',
    '1',
  ]
  const child = spawn(process.execPath, [main, ...args], {
    cwd,
    env: { ...process.env, NO_COLOR: '1', LATEFORGE_CACHE: cacheDir },
  })
  const found = read(child)
  const looking = setInterval(() => {
    if (!existsSync(cacheDir) || readdirSync(cacheDir).length === 0) return // its texts go there
    clearInterval(looking)
    child.kill('SIGINT')
  }, 10)
  t.equal(await ended(child).finally(() => clearInterval(looking)), 130)
  t.match(found, { out: '', err: /SIGINT: stopping; what is not whole is not written[\s\S]*ERR_ABORTED/ })
  t.notOk(existsSync(path.join(cwd, 'stopped.jsonl')))
  t.same(
    readdirSync(cwd).filter((name) => name.includes('stopped.jsonl')),
    [],
  )
  t.same(readdirSync(cacheDir), [])
})
