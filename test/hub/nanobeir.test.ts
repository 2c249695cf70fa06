/** NanoBEIR by name: from the Hub to a table of `eval`, and as the evaluation of a phase; offline the second time. */
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parquetWriteBuffer } from 'hyparquet-writer'
import t from 'tap'
import { loadBeir, nanoBeirFolder, nanoBeirNames } from '../../lib/eval/index.js'
import type { Progress } from '../../lib/progress.js'
import { ended, main, read } from '../command.js'
import { folder, saveTinyModel, writeData } from '../train/tiny.js'
import { hub, variables, withVariables } from './hub.js'

const parquet = (columns: Record<string, unknown[]>): Buffer =>
  Buffer.from(
    parquetWriteBuffer({ columnData: Object.entries(columns).map(([name, data]) => ({ name, data })) } as never),
  )

/** The data set's shape: three configurations with a split for each collection; one document and one query are empty. */
function dataSet(): Record<string, Buffer | string> {
  const files: Record<string, Buffer | string> = {}
  const configs = ['corpus', 'queries', 'qrels']
  files['README.md'] = `---\nconfigs:\n${configs
    .map((config) => {
      const splits = nanoBeirNames.map((name) => `      - split: ${name}\n        path: ${config}/${name}-*\n`).join('')
      return `  - config_name: ${config}\n    data_files:\n${splits}`
    })
    .join('')}---\n`
  for (const [i, name] of nanoBeirNames.entries()) {
    const ids = Array.from({ length: 6 }, (_, d) => `${name}-d${d}`)
    const file = (config: string) => `${config}/${name}-00000-of-00001.parquet`
    files[file('corpus')] = parquet({ _id: ids, text: ids.map((_, d) => (d === 5 ? '' : `w${d} w${d + i} w${d + 7}`)) })
    files[file('queries')] = parquet({ _id: ['q0', 'q1', 'q2'], text: ['w0', 'w1 w8', ''] })
    files[file('qrels')] = parquet({
      'query-id': ['q0', 'q1', 'q1', 'q2'],
      'corpus-id': [0, 1, 2, 3].map((d) => ids[d]),
    })
  }
  return files
}

t.test('a collection as a folder, eval on all, a phase that is evaluated by name', async (t) => {
  const { server, settings } = await hub(t)
  server.commit('datasets/sentence-transformers/NanoBEIR-en', dataSet())
  const dir = folder(t)
  const env = { ...variables(settings), LATEFORGE_CACHE: path.join(dir, 'cache') }
  withVariables(t, env)

  const told = new Map<string, Progress>()
  const made = await nanoBeirFolder('NanoSciFact', { onProgress: (progress) => told.set(progress.stage, progress) })
  t.ok(told.get('downloading')!.done > 0)
  const laidOut = told.get('writing')!
  t.match(laidOut, { name: 'NanoSciFact', unit: 'documents', done: laidOut.total })
  t.ok(laidOut.done > 0)
  const { name, documents, queries, qrels } = await loadBeir(made)
  t.same([name, documents.ids.length, queries.ids], ['NanoSciFact', 5, ['q0', 'q1']], 'what has no text is left out')
  t.same(
    [...qrels.get('q1')!],
    [
      ['NanoSciFact-d1', 1],
      ['NanoSciFact-d2', 1],
    ],
  )

  await saveTinyModel(path.join(dir, 'base'))
  const lateforge = async (...args: string[]) => {
    const child = spawn(process.execPath, [main, ...args], { cwd: dir, env: { ...process.env, ...env, NO_COLOR: '1' } })
    const found = read(child)
    return { code: await ended(child), ...found }
  }
  const all = await lateforge('eval', 'base', 'nanobeir', '--no-bm25')
  t.equal(all.code, 0, all.err)
  t.match(all.out, /NanoTouche2020: 2 judged queries[\s\S]*Mean over 13 collections/)
  const { pairs } = writeData(dir)
  writeFileSync(
    path.join(dir, 'run.yaml'),
    `model: base\nout: out\nphases:\n  - { name: a, loss: contrastive, data: ${pairs}, batch: 8, steps: 4, learningRate: 1e-3, ` +
      'evaluate: nanobeir }\n',
  )
  const trained = await lateforge('train', 'run.yaml', '--json')
  t.equal(trained.code, 0, trained.err)
  const evaluated = trained.out
    .split('\n')
    .filter((line) => line.includes('"type":"eval"'))
    .map((line) => JSON.parse(line))
  t.equal(evaluated.length, 1)
  const { metrics, value } = evaluated[0]
  const own = nanoBeirNames.map((each) => metrics[`${each} ndcg@10`])
  t.ok(Math.abs(own.reduce((sum, one) => sum + one, 0) / 13 - value) < 1e-12, 'the mean decides')
  t.match(JSON.parse(readFileSync(path.join(dir, 'out/config.json'), 'utf8')).phases[0].evaluate, { data: 'nanobeir' })
  t.match(await lateforge('check', 'run.yaml', 'phases.a.evaluate={ data: nanobeir, split: test }'), {
    code: 2,
    err: /evaluate\.split.*has no effect on nanobeir/,
  })

  await server.stop()
  withVariables(t, { HF_HUB_OFFLINE: '1' })
  t.equal(await nanoBeirFolder('NanoSciFact'), made, 'offline the second time')
  t.match(await lateforge('eval', 'base', 'nanoscifact', 'NanoNQ', '--no-bm25'), {
    code: 0,
    out: /Mean over 2 collections/,
  })
})
