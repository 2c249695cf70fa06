import { spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { writeBeir } from '../../lib/eval/index.js'
import { ended, main, read } from '../command.js'
import { folder, saveTinyModel, writeData } from '../train/tiny.js'

async function cli(
  args: string[],
  options: { cwd: string; input?: string; onOut?: (text: string, pid: number) => void },
): Promise<{ code: number | null; out: string; err: string }> {
  const env = { ...process.env, NO_COLOR: '1', LATEFORGE_CACHE: path.join(options.cwd, 'cache') }
  const child = spawn(process.execPath, [main, ...args], { cwd: options.cwd, env })
  const found = read(child)
  child.stdout.on('data', () => options.onOut?.(found.out, child.pid!))
  child.stdin.end(options.input ?? '')
  return { code: await ended(child), ...found }
}

t.test('usage', async (t) => {
  const cwd = folder(t)
  const help = await cli(['--help'], { cwd })
  t.match(help, { code: 0, err: '' })
  for (const verb of ['train', 'check', 'resume', 'eval', 'search', 'mine', 'doctor']) t.match(help.out, verb)
  t.match(await cli(['--version'], { cwd }), { code: 0, out: /^\d+\.\d+\.\d+\n$/ })
  t.match(await cli(['trian'], { cwd }), {
    code: 2,
    out: '',
    err: /^error ERR_USAGE {2}unknown command 'trian'.*\n.*train/,
  })
  t.match(await cli(['search', 'm', 'c', '--top-k', '0'], { cwd }), { code: 2, err: /whole number above 0/ })
  t.match(await cli(['train', 'none.yaml'], { cwd }), {
    code: 2,
    out: '',
    err: /^error ERR_CONFIG {2}none\.yaml cannot be read/,
  })
  const missing = await cli(['search', 'nowhere', 'corpus.txt', 'q'], { cwd })
  t.match(missing, { code: 3, err: /^error ERR_DATA {2}corpus\.txt does not exist/ })
  t.notMatch(missing.err, /\n\s+at /, 'no stack')
})

t.test('files that are no files, readers that leave', async (t) => {
  const cwd = folder(t)
  writeFileSync(path.join(cwd, 'config.json'), '{')
  t.match(await cli(['resume', '.'], { cwd }), { code: 2, out: '', err: /^error ERR_CONFIG .*config\.json is no JSON/ })
  writeFileSync(
    path.join(cwd, 'run.yaml'),
    'model: base\nout: run.yaml/out\nphases: [{ name: a, loss: contrastive, data: x.jsonl, batch: 2, learningRate: 1 }]\n',
  )
  const refused = await cli(['train', 'run.yaml'], { cwd })
  t.match(refused, { code: 2, out: '', err: /run\.yaml:2:6: out: ENOTDIR/ }, 'with the other faults of this run')
  t.match(
    refused.err,
    /run\.yaml:1:8: model: base is no folder[\s\S]*phases\[0\]\.data \(phase "a"\): no file matches "x\.jsonl"/,
  )
  t.notMatch(refused.err, /bug of lateforge/)
  const child = spawn(process.execPath, [main, 'doctor'], { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  child.stdout!.destroy()
  let err = ''
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (err += text))
  const code = await new Promise((resolve) => child.on('close', resolve))
  t.same([code, err], [0, ''], 'a closed pipe is no error')
})

t.test('doctor', async (t) => {
  const { code, out, err } = await cli(['doctor', '--json'], { cwd: folder(t) })
  t.same([code, err], [0, ''])
  const { ok, checks } = JSON.parse(out)
  t.equal(ok, true)
  t.same(
    checks.map((c: { name: string }) => c.name).filter((name: string) => !name.startsWith('  ')), // facts about cuda
    [
      'lateforge',
      'node',
      'system',
      'cores',
      'addon',
      'instructions',
      'threads',
      'matmul',
      'memory limit',
      'computation',
      'cuda',
      'ranks (MPI)',
    ],
  )
})

t.test('train, interrupt, resume, eval, search', async (t) => {
  const cwd = folder(t)
  await saveTinyModel(path.join(cwd, 'base'))
  const { pairs } = writeData(cwd)
  const rows = readFileSync(pairs, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  await writeBeir(path.join(cwd, 'beir'), {
    documents: rows.map(({ document }, i) => ({ id: `d${i}`, text: document })),
    queries: rows.map(({ query }, i) => ({ id: `q${i}`, text: query })),
    qrels: {
      dev: new Map(rows.slice(0, 20).map((_, i) => [`q${i}`, new Map([[`d${i}`, 1]])])),
      test: new Map(rows.map((_, i) => [`q${i}`, new Map([[`d${i}`, 1]])])),
    },
  })
  writeFileSync(
    path.join(cwd, 'run.yaml'),
    `model: base
out: out
seed: 3
workers: 0
phases:
  - name: one
    loss: contrastive
    data: pairs.jsonl
    batch: 16
    steps: 400
    learningRate: 3e-3
    temperature: 0.1
    evaluate: { every: 200, data: beir }
`,
  )
  const shown = await cli(['train', 'run.yaml', '--print-config', 'phases.one.batch=4'], { cwd })
  t.match(shown, { code: 0, out: /batch: 4\n/, err: '' })
  t.match(shown.out, /schedule: linear/, 'with its defaults')
  t.match(await cli(['train', 'run.yaml', 'phases.one.bach=4'], { cwd }), {
    code: 2,
    err: /override "phases\.one\.bach=4".*did you mean "batch"/,
  })

  let sent = false
  const stopped = await cli(['train', 'run.yaml', '--json'], {
    cwd,
    onOut(out, pid) {
      if (!sent && out.includes('"type":"step"')) process.kill(pid, 'SIGINT')
      sent ||= out.includes('"type":"step"')
    },
  })
  t.equal(stopped.code, 130)
  t.match(stopped.err, /SIGINT: finishing the step/)
  t.match(stopped.err, /error ERR_ABORTED {2}aborted at step \d+/)
  for (const line of stopped.out.trimEnd().split('\n'))
    t.doesNotThrow(() => JSON.parse(line), 'only JSON on standard output')

  t.match(await cli(['train', 'run.yaml'], { cwd }), { code: 2, err: /earlier run/ })
  const resumed = await cli(['resume', 'out', '--quiet'], { cwd })
  t.match(resumed, { code: 0, err: '' })
  t.match(
    resumed.out,
    /^one {2}400 steps {2}loss .* best ndcg@10 [01]\.\d+ at step \d+\nbest .*step-\d+\nmodel .*out\/model\n$/,
  )
  t.ok(existsSync(path.join(cwd, 'out/model/model.safetensors')))
  t.match(await cli(['resume', 'beir'], { cwd }), { code: 2, err: /no folder of a run/ })

  const table = await cli(['eval', 'out/model', 'beir', '--run', 'trec'], { cwd })
  t.match(table, { code: 0, out: /BM25[\s\S]*model/ })
  t.equal(readFileSync(path.join(cwd, 'trec/beir.model.trec'), 'utf8').split('\n')[0]!.split(' ').length, 6)
  const json = JSON.parse((await cli(['eval', 'out/model', 'beir', '--json', '--metrics', 'ndcg@10'], { cwd })).out)
  t.match(json, { collections: [{ baseline: 'BM25', rows: [{ name: 'BM25' }, { name: 'model' }] }] })
  const untrained = JSON.parse((await cli(['eval', 'base', 'beir', '--json', '--no-bm25'], { cwd })).out)
  t.ok(
    json.collections[0].rows[1].scores['ndcg@10'].mean > untrained.collections[0].rows[0].scores['ndcg@10'].mean + 0.1,
    'training helped',
  )
  t.match(await cli(['eval', 'base', 'beir', '--split', 'none'], { cwd }), { code: 3, err: /Splits found: dev, test/ })
  t.match(await cli(['eval', 'base', 'beir', '--metrics', 'ndgc@10'], { cwd }), { code: 2 })

  const found = await cli(['search', 'out/model', 'beir', rows[0].query, '--top-k', '2', '--json'], { cwd })
  t.match(JSON.parse(found.out).results, [{ query: rows[0].query, hits: [{ id: /^d\d+$/, text: /w/ }, {}] }])
  writeFileSync(path.join(cwd, 'texts.txt'), rows.map(({ document }) => document).join('\n'))
  const piped = await cli(['search', 'out/model', 'texts.txt', '--top-k', '1'], {
    cwd,
    input: `${rows[0].query}\n\n${rows[1].query}\n`,
  })
  t.match(piped, { code: 0, out: /^w.*\n +1 .*\nw.*\n +1 .*\n$/ })
  t.match(await cli(['search', 'out/model', 'texts.txt'], { cwd }), { code: 3, err: /no query was given/ })
})
