/** `lateforge explain`, `report` and `ui`, as a person uses them; pages in a browser: test/report. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { lateforge } from '../command.js'
import { reportedRun } from '../report/run.js'
import { folder } from '../train/tiny.js'

const cwd = folder(t)
const cli = (...args: string[]) => lateforge(args, cwd)
const json = (...args: string[]) => JSON.parse(cli(...args, '--json').stdout)

t.before(async () => {
  await reportedRun(cwd, 'run')
})

t.test('a model: tokens, answers, what was cut', async (t) => {
  const { status, stdout } = cli(
    'explain',
    'model',
    '--query',
    'w1 w2',
    '--document',
    `w2 . \u001b[31m${' w3'.repeat(20)}`,
  )
  t.equal(status, 0)
  t.match(stdout, /^query {2}\[CLS\] \[Q\] w1 w2 \[SEP\] \[MASK\] × 3 \(masked\)\n/)
  t.match(stdout, /document {2}score -?\d+\.\d{3}\n {2}\[CLS\] \[D\] w2 ~\.~ .*\| cut: w3/s)
  t.match(stdout, /\n {2}w2 +-?\d\.\d{3} +█* +\S+ \(\d+\)\n/)
  t.notOk(stdout.includes('\u001b'), 'neither colours nor what texts would do to a terminal')
  const found = json('explain', 'model', '--query', 'w1', '--document', 'w1 w2', '--document', 'w3')
  t.match(found, { query: { text: 'w1' }, documents: [{ name: 'document 1', text: 'w1 w2' }, { name: 'document 2' }] })
  t.equal(found.documents[0].matches.length, 8)
})

t.test('a run, finished or not, and an index', async (t) => {
  t.match(json('explain', 'run', '--query', 'w1', '--document', 'w1'), { model: 'run/model' })
  writeFileSync(path.join(cwd, 'corpus.jsonl'), '{"_id":"a","text":"w1 w2"}\n{"_id":"b","text":"w3 w4"}\n')
  cli('index', 'create', 'idx', 'model')
  cli('index', 'add', 'idx', 'corpus.jsonl')
  const { documents } = json('explain', 'idx', '--query', 'w3', '--id', 'b')
  t.match(documents, [{ name: 'b', text: 'w3 w4', note: /^its int8 vectors score \d+\.\d{3} in the index$/ }])
  t.ok(Math.abs(documents[0].score - Number(/[\d.]+(?= in)/.exec(documents[0].note)![0])) < 0.1)
  t.equal(json('explain', 'idx', '--query', 'w3').documents.length, 2)
  t.match(cli('explain', 'idx', '--query', 'w3', '--id', 'c'), { status: 2, stderr: /has no document "c"/ })
})

t.test('what it refuses', async (t) => {
  t.match(cli('explain', 'model', '--query', 'w1'), { status: 2, stderr: /no document was given: --document TEXT/ })
  t.match(cli('explain', 'model', '--query', 'w1', '--id', 'a'), { status: 2, stderr: /--id is for an index/ })
  t.match(cli('report', 'model', '--out', 'x.html'), { status: 3, stderr: /model is no folder of a run/ })
  t.notOk(existsSync(path.join(cwd, 'x.html')))
  t.match(cli('ui', 'none'), { status: 3, stderr: /does not exist/ })
})

t.test('a report, and what the folder of a run keeps for it', async (t) => {
  t.match(json('report', 'run', '--out', 'r.html'), { out: 'r.html', runs: [{ folder: 'run', steps: 12, done: true }] })
  const page = readFileSync(path.join(cwd, 'r.html'), 'utf8')
  t.match(page, /Content-Security-Policy" content="default-src &#39;none&#39;/)
  t.notMatch(page, /https?:\/\/(?!github\.com\/leeoniya)/, 'no address but that in a comment of uPlot')
  t.equal(json('report', 'run', '--out', 'bare.html', '--queries', '0').runs.length, 1)
  const read = (name: string) => JSON.parse(readFileSync(path.join(cwd, 'run', name), 'utf8'))
  t.match(read('origins.json'), {
    seed: 'given',
    device: 'default',
    'phases[0].loss': 'given',
    'phases[0].schedule': 'default',
  })
  t.same(
    read('check.json').phases.map(({ name, samples }: { name: string; samples: unknown[] }) => [name, samples.length]),
    [
      ['one', 3],
      ['two', 3],
      ['three', 3],
    ],
  )
  const { metric, interval, collections } = read('evaluations/step-12.json')
  t.equal(metric, 'ndcg@10')
  const values = collections[0].queries.map(({ value }: { value: number }) => value)
  const mean = values.reduce((sum: number, value: number) => sum + value, 0) / 6
  t.ok(interval.low <= mean && mean <= interval.high)
})
