/** Data sets by name: which of their files are a split, as Python's `datasets` finds them, and those files on the disk. */
import { readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { parquetWriteBuffer } from 'hyparquet-writer'
import t from 'tap'
import { inferSplits, resolveDataFiles } from '../../lib/hub/data-files.js'
import { parseDataName, parseModelName } from '../../lib/hub/name.js'
import { pathExpression } from '../../lib/hub/pattern.js'
import { Colbert } from '../../lib/models/colbert.js'
import { train } from '../../lib/train/loop/run.js'
import { folder, saveTinyModel, tinyRun, writeData } from '../train/tiny.js'
import { failure, filesOf as filesIn, hub, variables, withVariables } from './hub.js'

t.test('splits by names, as `datasets` finds them', async (t) => {
  const layouts = JSON.parse(readFileSync('test/fixtures/data_layouts.json', 'utf8'))
  for (const { files, splits } of layouts) {
    const found = inferSplits(files.map((path: string) => ({ path, size: 1 })))
    const names = Object.entries(found).map(([split, some]) => [split, some.map(({ path }) => path).sort()] as const)
    t.same(Object.fromEntries(names.filter(([, some]) => some.length > 0)), splits, files.join(' '))
  }
})

t.test('names and patterns', async (t) => {
  t.same(parseModelName('lightonai/ColBERT-Zero@v1.0'), {
    type: 'model',
    name: 'lightonai/ColBERT-Zero',
    revision: 'v1.0',
  })
  t.same(parseModelName('bert-base-uncased'), { type: 'model', name: 'bert-base-uncased' })
  const names: [string, string, string | undefined, string][] = [
    ['hf://datasets/org/name', 'org/name', undefined, ''],
    ['hf://datasets/squad@v1', 'squad', 'v1', ''],
    [
      'hf://datasets/org/name@refs/convert/parquet/default/train/*.parquet',
      'org/name',
      'refs/convert/parquet',
      'default/train/*.parquet',
    ],
    ['hf://datasets/org/name@refs%2Fpr%2F3/a.jsonl', 'org/name', 'refs/pr/3', 'a.jsonl'],
    ['hf://datasets/org/name/en/**', 'org/name', undefined, 'en/**'],
  ]
  for (const [text, name, revision, pattern] of names)
    t.same(parseDataName(text), { repository: { type: 'dataset', name, ...(revision && { revision }) }, pattern }, text)
  for (const text of [
    'org/name',
    'hf://models/org/name',
    'hf://datasets/',
    'hf://datasets/a/b@',
    'hf://datasets/a/b@..%2F..',
    'hf://datasets/a--b/c',
  ])
    t.throws(() => parseDataName(text), { code: 'ERR_ARGUMENT' }, text)
  const patterns: [string, string[], string[]][] = [
    ['data/*.jsonl', ['data/a.jsonl'], ['data/b/a.jsonl', 'x/data/a.jsonl', 'data/ajsonl']],
    ['**/*.jsonl', ['a.jsonl', 'x/y/a.jsonl'], ['a.jsonl.gz']],
    ['en/', ['en/a', 'en/b/c'], ['en', 'den/a']],
    ['a[-._ 0-9]?[!x]', ['a-bc', 'a7b]'], ['abbb', 'a-bx']],
    ['a+(b).{c}', ['a+(b).{c}'], ['aa(b).c']],
  ]
  for (const [pattern, yes, no] of patterns) {
    for (const name of yes) t.match(name, pathExpression(pattern), `${pattern} is ${name}`)
    for (const name of no) t.notMatch(name, pathExpression(pattern), `${pattern} is not ${name}`)
  }
})

const row = (i: number): string => `${JSON.stringify({ query: `w${i}`, document: `w${i} w${i + 1}` })}\n`
const card = (configs: string): string => `---\nlanguage: en\n${configs}---\n# A data set\n`

t.test('by the card, by names, by a pattern', async (t) => {
  const { server, settings } = await hub(t)
  const names = async (name: string, options: object = {}): Promise<string[]> => {
    const { files, revision, unused } = await resolveDataFiles(name, { settings, ...options })
    const root = path.join(
      settings.cache,
      `datasets--${name.slice('hf://datasets/'.length).split(/[@/]/).slice(0, 2).join('--')}/snapshots`,
      revision,
    )
    return [...files.map((file) => path.relative(root, file)), ...unused.map((file) => `not ${file}`)]
  }
  const commit = server.commit('datasets/org/plain', {
    'README.md': '# no metadata',
    'train.jsonl': row(1),
    'train-more.jsonl.gz': gzipSync(row(2)),
    'train.csv': 'query,document',
    'validation.jsonl': row(3),
  })
  t.same(await names('hf://datasets/org/plain'), ['train-more.jsonl.gz', 'train.jsonl', 'not train.csv'])
  t.same(await names(`hf://datasets/org/plain@${commit}`, { split: 'validation' }), ['validation.jsonl'])
  t.same(await names('hf://datasets/org/plain/*.gz'), ['train-more.jsonl.gz'])
  t.equal(server.asked(/resolve.*csv/).length, 0)

  const tables = {
    'README.md': card(`configs:
- config_name: train
  data_files:
  - split: train
    path: [train/*, more.parquet]
  - split: held-out
    path: held/*.parquet
- config_name: queries
  default: true
  data_files: queries/*
- config_name: en
  data_dir: en
`),
    'train/0.parquet': 'P0',
    'train/0.jsonl': row(1),
    'more.parquet': 'P1',
    'held/0.parquet': 'P2',
    'queries/0.jsonl': row(2),
    'en/train.jsonl': row(3),
    'en/test.jsonl': row(4),
  }
  server.commit('datasets/org/tables', tables)
  t.same(await names('hf://datasets/org/tables', { config: 'train' }), [
    'more.parquet',
    'train/0.parquet',
    'not train/0.jsonl',
  ])
  t.same(await names('hf://datasets/org/tables', { config: 'train', split: 'held-out' }), ['held/0.parquet'])
  t.same(await names('hf://datasets/org/tables'), ['queries/0.jsonl'], 'the default one')
  t.same(await names('hf://datasets/org/tables', { config: 'en', split: 'test' }), ['en/test.jsonl'])

  server.commit('datasets/org/several', {
    ...tables,
    'README.md': tables['README.md'].replace('  default: true\n', ''),
  })
  server.commit('datasets/org/broken', { ...tables, 'README.md': card('configs: [\n') })
  server.commit('datasets/org/odd', {
    ...tables,
    'README.md': card('configs:\n- config_name: a\n  data_files: { train: x }\n'),
  })
  const refused: [string, object, string, RegExp][] = [
    ['org/several', {}, 'ERR_DATA', /has several configurations: choose one of train, queries, en as `config`/],
    ['org/tables', { config: 'trai' }, 'ERR_DATA', /no configuration "trai", did you mean "train"\?/],
    ['org/tables', { config: 'en', split: 'tes' }, 'ERR_DATA', /no split "tes", did you mean "test"\?/],
    ['org/plain', { config: 'x' }, 'ERR_DATA', /has no configurations; leave out config: "x"/],
    [
      'org/plain/*.parquet',
      {},
      'ERR_DATA',
      /no \.parquet, \.jsonl or \.jsonl\.gz file matches "\*\.parquet". It has train-more/,
    ],
    ['org/plain/*.gz', { split: 'train' }, 'ERR_ARGUMENT', /split is "train", but .* names files/],
    ['org/broken', {}, 'ERR_DATA', /README\.md of data set org\/broken begins with broken YAML/],
    ['org/odd', {}, 'ERR_DATA', /data_files of configuration "a" are \{"train":"x"\}; expected patterns/],
    ['org/none', {}, 'ERR_HUB', /^data set org\/none: there is none/],
    ['org/plain@v1', { revision: 'v2' }, 'ERR_ARGUMENT', /the name says "v1"/],
  ]
  for (const [name, options, code, message] of refused)
    t.match(await failure(names(`hf://datasets/${name}`, options)), { code, message }, name)
})

t.test("the Hub's own Parquet of what is in another format", async (t) => {
  const { server, settings } = await hub(t)
  const resolve = (name: string, options: object = {}) =>
    resolveDataFiles(`hf://datasets/org/${name}`, { settings, ...options })
  const converted = { branch: 'refs/convert/parquet' }
  server.commit('datasets/org/csv', { 'train.csv': 'a,b', 'test.csv': 'a,b' })
  t.match(await failure(resolve('csv')), {
    code: 'ERR_DATA',
    message: /and the Hub has made no Parquet of it\. It has test\.csv, train\.csv/,
  })
  const commit = server.commit(
    'datasets/org/csv',
    { 'default/train/0000.parquet': 'A', 'default/train/0001.parquet': 'B', 'default/test/0000.parquet': 'C' },
    converted,
  )
  const { files, revision } = await resolve('csv')
  t.equal(revision, commit)
  t.same(
    files.map((file) => readFileSync(file, 'utf8')),
    ['A', 'B'],
  )
  server.commit('datasets/org/csv', { 'train.csv': 'a,b' }, { branch: 'v1' })
  t.match(await failure(resolve('csv', { revision: 'v1' })), { message: /at this revision/ })
  server.commit('datasets/org/csv', { 'en/partial-train/0000.parquet': 'A', 'de/train/0000.parquet': 'B' }, converted)
  t.match(await failure(resolve('csv')), {
    message: /no configuration "default", expected one of de, en; give it as `config`/,
  })
  t.match(await failure(resolve('csv', { config: 'en' })), {
    message: /Parquet of the beginning of it alone.*@refs\/convert\/parquet\/en\/partial-train\/\*\.parquet/,
  })
  t.equal((await resolve('csv@refs/convert/parquet/en/partial-train/*.parquet')).files.length, 1)
})

t.test('a part of a data set in a cache that nobody has listed', async (t) => {
  const { server, settings } = await hub(t)
  server.commit('datasets/org/parts', {
    'data/train-00000-of-00002.jsonl': row(1),
    'data/train-00001-of-00002.jsonl': row(2),
  })
  await resolveDataFiles('hf://datasets/org/parts/data/train-00000*', { settings })
  const offline = { settings: { ...settings, offline: true } }
  t.match(await failure(resolveDataFiles('hf://datasets/org/parts', offline)), {
    message: /lacks data\/train-00001-of-00002\.jsonl/,
  })
  rmSync(path.join(settings.cache, 'datasets--org--parts/trees'), { recursive: true })
  t.match(await failure(resolveDataFiles('hf://datasets/org/parts', offline)), {
    message: /the cache has 1 of the 2 files data\/train-…/,
  })
})

t.test('a model and a data set by name, from nothing to a training step; offline the second time', async (t) => {
  const { server, settings } = await hub(t)
  withVariables(t, variables(settings))
  const dir = folder(t)
  await saveTinyModel(path.join(dir, 'base'))
  server.commit('models/org/tiny', filesIn(path.join(dir, 'base')))
  const rows = readFileSync(writeData(dir).pairs, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const column = (name: 'query' | 'document') => ({ name, data: rows.map((row) => row[name]) })
  const parquet = parquetWriteBuffer({ columnData: [column('query'), column('document')] })
  server.commit('datasets/org/pairs', { 'data/train-00000-of-00001.parquet': Buffer.from(parquet) })
  const sources: string[] = []
  const step = async (out: string): Promise<number> => {
    const data = 'hf://datasets/org/pairs'
    const phase = { name: 'one', loss: 'contrastive', data, batch: 8, steps: 1, learningRate: 1e-3 } as const
    const run = train(tinyRun(dir, 'org/tiny', out, [phase]))
    for await (const event of run) if (event.type === 'step') sources.push(event.source)
    const { model, phases } = await run.result
    model.dispose()
    return phases[0]!.loss
  }
  const loss = await step('first')
  t.ok(loss > 0)
  await server.stop()
  withVariables(t, { HF_HUB_OFFLINE: '1' })
  t.equal(await step('second'), loss)
  t.same(sources, ['org/pairs', 'org/pairs'])
  ;(await Colbert.load('org/tiny')).dispose()
})
