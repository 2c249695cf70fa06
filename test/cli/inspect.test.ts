/** inspect: what it says of a model, data, a run and an index is what the library finds when it opens them. */
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { Index } from '../../lib/indexing/index.js'
import { inspectModel } from '../../lib/inspect/model.js'
import { Colbert } from '../../lib/models/colbert.js'
import { lateforge } from '../command.js'
import { reportedRun } from '../report/run.js'
import { folder } from '../train/tiny.js'

t.setTimeout(300_000)
const fixture = (name: string): string => fileURLToPath(new URL(`../../../../test/fixtures/${name}`, import.meta.url))

t.test('a model: as it is when it is loaded, without its weights', async (t) => {
  for (const [name, layout] of [
    ['pylate', 'pylate'],
    ['st6', 'sentence-transformers'],
    ['stanford', 'stanford'],
  ] as const) {
    const at = fixture(`checkpoints/${name}/model`)
    const info = await inspectModel(at)
    const model = await Colbert.load(at, { onNote() {} })
    // What the tokenizer decides is known once there is one.
    const { tokenizerHash: _, expansionToken: __, ...recipe } = model.recipe
    t.match(info, { layout, dim: model.dim, recipe, unknown: model.unknownRecipe, notes: model.recipeNotes })
    // Prefixes that the tokenizer lacks are rows of the loaded model alone.
    const added = model.parts.config.vocabulary - info.encoder.vocabulary
    const numbers = model.parameters.entries.reduce((sum, { size }) => sum + size, 0)
    t.equal(info.parameters.total, numbers - added * info.encoder.width)
    t.equal(info.weights!.types.F32, info.parameters.total)
    t.equal(
      info.weights!.bytes,
      info.weights!.files.reduce((sum, { file }) => sum + statSync(path.join(at, file)).size, 0),
    )
    model.dispose()
  }
  const { fields } = await inspectModel(fixture('checkpoints/pylate/model'))
  const of = (file: string) => fields.find((each) => each.file === file)!
  t.ok(of('config_sentence_transformers.json').read.includes('prompts.query'))
  t.same(of('sentence_bert_config.json'), {
    ...{ file: 'sentence_bert_config.json', read: ['do_lower_case'], unread: ['max_seq_length'] },
  })
  t.ok(of('tokenizer_config.json').read.includes('mask_token'))
  t.ok(of('config.json').unread.includes('transformers_version'))
})

t.test('folders that are no ColBERT model, and none at all', async (t) => {
  const dir = folder(t)
  t.match(await inspectModel(fixture('dense/mean/model')), { layout: 'dense', recipe: { pooling: 'mean' } })
  t.match(
    lateforge(['inspect', 'model', fixture('dense/mean/model')]).stdout,
    /: a dense model, with one vector a text/,
  )
  t.match(lateforge(['inspect', 'model', dir]), { status: 4, stdout: '', stderr: /ERR_FORMAT/ })
  t.match(lateforge(['inspect', 'run', dir]), { status: 3, stdout: '', stderr: /is no folder of a run/ })
  t.match(lateforge(['inspect', 'index', dir]), { status: 4, stdout: '', stderr: /holds no index/ })
  t.match(lateforge(['inspect', 'data', path.join(dir, 'none.jsonl')]), { status: 3, stdout: '', stderr: /ERR_DATA/ })
})

t.test('data: columns, lengths in characters and tokens, texts; collections', async (t) => {
  const dir = folder(t)
  await reportedRun(dir, 'run')
  const rows = [
    { question: 'w1 w2', pos: 'w1 w3', neg: 'w4', score: 1, url: 'x' },
    { question: 'w1', pos: 'w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 w12 w13 w14 w15 w16', neg: 'w\u001b[31m4', url: 'y' },
  ]
  writeFileSync(path.join(dir, 'rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const json = (...args: string[]) => JSON.parse(lateforge(['inspect', 'data', ...args, '--json'], dir).stdout)
  t.match(json('rows.jsonl').sources, [
    {
      ...{ name: 'rows', rows: 2, scores: false, missing: 0, unusedColumns: { score: 1, url: 2 } },
      columns: [{ query: 'question', positive: 'pos', negatives: ['neg'] }, { query: 'question' }],
      documents: [{ count: 2, rows: 2 }],
      lengths: { rows: 2, unit: 'characters', queries: { texts: 2, mean: 3.5, longest: 5 }, documents: { texts: 4 } },
      examples: [{ row: 1, query: 'w1 w2', documents: ['w1 w3', 'w4'] }, { row: 2 }],
    },
  ])
  // The last phase has documents of 12 tokens: [CLS], marker and [SEP] are three.
  t.match(json('rows.jsonl', '--model', 'run/model').sources[0].lengths, {
    ...{ unit: 'tokens', documents: { texts: 4, cut: 1, limit: 12, longest: 19 } },
  })
  const { status, stdout } = lateforge(['inspect', 'data', 'rows.jsonl', 'beir'], dir)
  t.equal(status, 3, 'beir has no split "test"')
  t.equal(stdout, '')
  const shown = lateforge(['inspect', 'data', 'beir', '--split', 'dev'], dir)
  t.match(shown, {
    status: 0,
    stdout: /^beir, split dev: 12 documents, 6 judged queries\n {2}judgments {2}6, 6 of them/,
  })
  t.match(
    lateforge(['inspect', 'data', 'rows.jsonl'], dir).stdout,
    / {2}columns {4}query question; positive pos; negatives neg/,
  )
  t.notMatch(lateforge(['inspect', 'data', 'rows.jsonl'], dir).stdout, '\u001b')
})

t.test('a run, finished, broken off, of an earlier version; an index', async (t) => {
  const dir = folder(t)
  const run = await reportedRun(dir, 'run')
  const json = (...args: string[]) => JSON.parse(lateforge(['inspect', ...args, '--json'], dir).stdout)
  const info = json('run', 'run')
  t.match(info, {
    ...{ state: 'done', steps: 12, resumed: 0, damaged: 0, model: { path: 'run/model' } },
    phases: ['one', 'two', 'three'].map((name) => ({ name, step: 4, steps: 4, last: { metric: 'ndcg@10', step: 4 } })),
  })
  t.ok(info.best.value >= info.phases[2].last.value)
  const found = (key: string) => info.settings.find((setting: { key: string }) => setting.key === key)
  t.match(found('phases[0].batch'), { value: 8, origin: 'given' })
  t.equal(found('device'), undefined, 'a default')
  t.equal(info.checkpoints.at(-1).step, 12)
  t.ok(info.checkpoints.every(({ bytes }: { bytes: number }) => bytes > 100_000 && bytes < info.bytes))
  t.match(lateforge(['inspect', 'run', 'run'], dir).stdout, /phases\[0\]\.batch +8 given/)

  const log = path.join(run, 'events.ndjson')
  const lines = readFileSync(log, 'utf8').split('\n')
  const upTo = lines.findIndex((line) => line.includes('"phase":"two"') && line.includes('"type":"step"'))
  writeFileSync(log, lines.slice(0, upTo + 1).join('\n'))
  rmSync(path.join(run, 'origins.json'))
  rmSync(path.join(run, 'model'), { recursive: true })
  t.match(json('run', 'run'), {
    ...{ state: 'stopped', settings: null, model: null },
    phases: [{ step: 4 }, { step: 1, steps: 4, last: null }, { step: 0, steps: null, loss: null }],
  })
  t.match(lateforge(['inspect', 'run', 'run'], dir).stdout, /not finished; lateforge resume goes on[\s\S]*not begun/)

  lateforge(['index', 'create', 'books', 'model'], dir)
  lateforge(['index', 'add', 'books', 'beir'], dir)
  const index = await Index.open(path.join(dir, 'books'))
  const own = await index.info()
  await index.close()
  t.same(json('index', 'books'), JSON.parse(JSON.stringify({ ...own, bytesPerToken: own.bytes / own.tokens })))
  t.match(
    lateforge(['inspect', 'index', 'books'], dir).stdout,
    lateforge(['index', 'info', 'books'], dir).stdout.trim(),
  )
  lateforge(['encode', 'model', 'beir', 'encoded'], dir)
  t.match(json('index', 'encoded'), { documents: 12, shards: 1, type: 'float16' })
})
