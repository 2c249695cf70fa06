/** Models by their names: from nothing to loaded, offline the second time, what is fetched of them and what is refused. */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { pushFolder } from '../../lib/index.js'
import { Colbert } from '../../lib/models/colbert.js'
import { Tokenizer } from '../../lib/text/tokenizer/tokenizer.js'
import { train } from '../../lib/train/loop/run.js'
import { ended, main, read } from '../command.js'
import { folder, saveTinyModel, tinyRun, writeData } from '../train/tiny.js'
import { filesOf, hub, variables, withVariables } from './hub.js'

const failure = (work: Promise<unknown>): Promise<Error> =>
  work.then(
    () => t.fail('no error'),
    (error) => error,
  ) as never

/** All numbers of a model, and what it makes of a text. */
async function valuesOf(model: Colbert): Promise<unknown[]> {
  const { data } = await model.encodeDocuments(['w1 w2 w3'])
  return [[...(await model.parameters.values.values())], [...data]]
}

/** A Hub, the variables that name it, and a tiny model's files. */
async function start(t: { teardown(fn: () => unknown): unknown }) {
  const { server, settings } = await hub(t)
  withVariables(t, variables(settings))
  const dir = folder(t)
  await saveTinyModel(path.join(dir, 'base'))
  return { server, settings, dir, base: path.join(dir, 'base'), files: filesOf(path.join(dir, 'base')) }
}

t.test('by name, and offline the second time', async (t) => {
  const { server, dir, base, files } = await start(t)
  const extra = {
    'onnx/model.onnx': 'x',
    'pytorch_model.bin': 'pickle',
    'training_args.bin': 'x',
    '.gitattributes': '',
  }
  const commit = server.commit('models/org/tiny', { ...files, ...extra })
  server.commit('models/org/tiny', files)
  const expected = await Colbert.load(base)
  const bits = await valuesOf(expected)
  expected.dispose()
  const same = async (name: string, options: object = {}): Promise<void> => {
    const model = await Colbert.load(name, options)
    t.same(await valuesOf(model), bits, name)
    model.dispose()
  }
  const progress: string[] = []
  await same(`org/tiny@${commit}`, { onProgress: ({ file }: { file: string }) => progress.push(file) })
  t.ok(progress.includes('model.safetensors'))
  const fetched = server.asked(/GET \/org\/tiny\/resolve/).map(({ path }) => path.split('/').slice(5).join('/'))
  t.same(
    fetched.sort(),
    Object.keys(files)
      .filter((name) => name !== 'README.md')
      .sort(),
    'what is read, and no more',
  )
  await same('org/tiny', { revision: commit })
  await same('org/tiny')

  await server.stop()
  withVariables(t, { HF_HUB_OFFLINE: '1' })
  await same('org/tiny')
  await same(`org/tiny@${commit}`)

  const cwd = process.cwd()
  process.chdir(dir)
  t.teardown(() => process.chdir(cwd))
  mkdirSync('org')
  renameSync('base', 'org/tiny')
  await same('org/tiny')
  t.match(await failure(Colbert.load('org/tiny', { revision: 'v1' })), {
    code: 'ERR_ARGUMENT',
    message: /is a folder, which has no revision "v1"/,
  })
  rmSync('org/tiny/config.json')
  t.match(await failure(Colbert.load('org/tiny')), { code: 'ERR_FORMAT', message: /config\.json/ }, 'a folder wins')
})

t.test('a cache of another tool that has a part of it', async (t) => {
  const { server, settings, files } = await start(t)
  server.commit('models/org/tiny', files)
  ;(await Colbert.load('org/tiny')).dispose()
  const root = path.join(settings.cache, 'models--org--tiny')
  rmSync(path.join(root, 'trees'), { recursive: true })
  withVariables(t, { HF_HUB_OFFLINE: '1' })
  ;(await Colbert.load('org/tiny')).dispose()
  const snapshot = path.join(root, 'snapshots', server.repositories.get('models/org/tiny')!.refs.get('main')!)
  for (const name of ['model.safetensors', 'config.json']) {
    rmSync(path.join(snapshot, name))
    t.match(await failure(Colbert.load('org/tiny')), {
      code: 'ERR_HUB',
      details: { reason: 'offline', missing: [name] },
    })
    writeFileSync(path.join(snapshot, name), files[name]!)
  }
})

t.test('shards', async (t) => {
  const { server, base, files } = await start(t)
  const { 'model.safetensors': whole, ...rest } = files
  const header = JSON.parse(whole!.subarray(8, 8 + Number(whole!.readBigUInt64LE())).toString())
  const names = Object.keys(header).filter((name) => name !== '__metadata__')
  const shard = 'model-00001-of-00001.safetensors'
  const index = JSON.stringify({ weight_map: Object.fromEntries(names.map((name) => [name, shard])) })
  server.commit('models/org/shards', {
    ...rest,
    [shard]: whole!,
    'model.safetensors.index.json': index,
    'model-x.safetensors': 'unused',
  })
  const [expected, model] = [await Colbert.load(base), await Colbert.load('org/shards')]
  t.same(await valuesOf(model), await valuesOf(expected))
  expected.dispose()
  model.dispose()
  t.equal(server.asked(/resolve.*model-x/).length, 0)
})

t.test('refused before the weights are fetched', async (t) => {
  const { server, files } = await start(t)
  const { 'model.safetensors': weights, 'tokenizer.json': _, ...small } = files
  const config = JSON.parse(String(files['config.json']))
  server.commit('models/org/pickled', { ...small, 'pytorch_model.bin': weights! })
  server.commit('models/org/pickled-head', {
    ...omit(files, '1_Dense/model.safetensors'),
    '1_Dense/pytorch_model.bin': 'x',
  })
  server.commit('models/org/nothing', small)
  server.commit('models/org/other', { ...files, 'config.json': JSON.stringify({ ...config, model_type: 't5' }) })
  server.commit('models/org/words', { ...small, 'model.safetensors': weights! })
  server.commit('models/org/encoder', { ...omit(files, 'modules.json'), 'config_sentence_transformers.json': '{}' })
  const cases: [string, RegExp][] = [
    ['pickled', /^org\/pickled has its weights only as pytorch_model\.bin, a pickle/],
    ['pickled-head', /^org\/pickled-head\/1_Dense has its weights only as pytorch_model\.bin/],
    ['nothing', /^org\/nothing has no model\.safetensors/],
    ['other', /model_type is "t5", expected one of/],
    ['words', /has no tokenizer\.json/],
    ['encoder', /holds an encoder without a projection/],
  ]
  for (const [name, message] of cases)
    t.match(await failure(Colbert.load(`org/${name}`)), { code: 'ERR_FORMAT', message }, name)
  t.same(
    server.received.filter(({ host }) => host === 'cdn'),
    [],
  )
})

t.test('a tokenizer for a new model', async (t) => {
  const { server, files, base } = await start(t)
  server.commit('models/org/words', files)
  const config = { architecture: 'bert', layers: 1, width: 32, heads: 1 } as const
  const model = await Colbert.create({ ...config, tokenizer: 'org/words' })
  t.equal(model.featurizer.tokenizer.vocabSize, (await Tokenizer.load(base)).vocabSize)
  model.dispose()
  t.equal(server.asked(/resolve/).length, 3)
  t.match(await failure(Colbert.create({ ...config, tokenizer: 'org/none' })), { code: 'ERR_HUB' })
})

t.test('names that are none, and that nobody has', async (t) => {
  const { server } = await start(t)
  for (const name of [
    'a/b/c',
    './model',
    '/model',
    'org/na me',
    '-x/y',
    'a--b',
    'a..b',
    'org/name@',
    'org/name@a..b',
    'x@/y',
  ])
    t.match(
      await failure(Colbert.load(name)),
      { code: 'ERR_FORMAT', message: /is no folder, and no name on the Hub/ },
      name,
    )
  t.same(server.received, [])
  t.match(await failure(Colbert.load('org/none')), {
    code: 'ERR_HUB',
    message: /^org\/none is no folder; model org\/none: there is none at http/,
    details: { reason: 'repository' },
  })
  t.match(await failure(Colbert.load('org/none', { revision: 'a b' })), { code: 'ERR_ARGUMENT' })
  t.match(await failure(Colbert.load('org/none@v1', { revision: 'v2' })), {
    code: 'ERR_ARGUMENT',
    message: /but the name says "v1"/,
  })
})

t.test('a training from a name', async (t) => {
  const { server, dir, files } = await start(t)
  server.commit('models/org/tiny', files)
  server.faults.push({ match: /^GET \/[0-9a-f]{64}/, cutAfter: 1000 })
  const { pairs } = writeData(dir)
  const phase = { name: 'one', loss: 'contrastive', data: pairs, batch: 8, steps: 2, learningRate: 1e-3 } as const
  const run = train(tinyRun(dir, 'org/tiny', 'run', [phase]))
  const seen: string[] = []
  for await (const event of run)
    if (event.type === 'progress' && event.stage === 'downloading') seen.push(event.waiting ?? event.file!)
  ;(await run.result).model.dispose()
  t.ok(seen.includes('model.safetensors'))
  t.match(seen.join(), /once more in/)
  t.equal(JSON.parse(readFileSync(path.join(dir, 'run/config.json'), 'utf8')).model, 'org/tiny')
})

t.test('push, and back again', async (t) => {
  const { server, settings, dir, base, files } = await start(t)
  writeFileSync(path.join(base, '.env'), 'SECRET=1')
  mkdirSync(path.join(base, 'notes'))
  writeFileSync(path.join(base, 'notes/model.safetensors'), 'not of the model')
  t.match(await failure(pushFolder(base, 'org/tiny')), {
    code: 'ERR_HUB',
    message: /a token that may write is needed: set HF_TOKEN/,
  })
  const dry = await pushFolder(base, 'org/tiny', { dryRun: true })
  t.same(server.received, [], 'nothing was asked')
  t.match(dry, {
    commit: null,
    created: false,
    url: `${server.endpoint}/org/tiny`,
    leftOut: ['.env', 'notes/model.safetensors'],
  })
  t.same(
    dry.files.map(({ path, size }) => [path, size]),
    Object.entries(files)
      .map(([path, bytes]) => [path, bytes.length])
      .sort(),
  )

  withVariables(t, { HF_TOKEN: server.token })
  const done: string[] = []
  const first = await pushFolder(base, 'org/tiny', {
    private: true,
    message: 'the first',
    onProgress: ({ stage, file, whole }) => stage === 'sending' && whole && done.push(file!),
  })
  const repository = server.repositories.get('models/org/tiny')!
  t.match(first, { created: true, commit: repository.refs.get('main') })
  t.ok(repository.private)
  const last = repository.commits.at(-1)!
  t.equal(last.title, 'the first')
  t.same(
    Object.fromEntries(
      [...last.files].filter(([name]) => name !== '.gitattributes').map(([name, { bytes }]) => [name, bytes]),
    ),
    files,
  )
  t.same(done.sort(), ['1_Dense/model.safetensors', 'model.safetensors'])
  t.same([...new Set(server.received.filter(({ host }) => host === 'cdn').map(({ token }) => token))], [undefined])

  const puts = server.asked(/^PUT/).length
  const second = await pushFolder(base, 'org/tiny', { revision: 'v2' })
  t.match(second, { created: false, commit: repository.refs.get('v2') })
  t.not(second.commit, first.commit)
  t.equal(server.asked(/^PUT/).length, puts, 'what is there is not sent again')
  const [model, own] = [await Colbert.load('org/tiny@v2'), await Colbert.load(base)]
  t.same(await valuesOf(model), await valuesOf(own))
  model.dispose()
  own.dispose()

  const refused: [() => Promise<unknown>, object][] = [
    [
      () => pushFolder(base, 'org/tiny', { private: false }),
      { code: 'ERR_ARGUMENT', message: /is there, and private; private: false has no effect/ },
    ],
    [() => pushFolder(base, 'tiny'), { code: 'ERR_ARGUMENT', message: /with its owner/ }],
    [() => pushFolder(base, 'org/tiny@v2'), { code: 'ERR_ARGUMENT', message: /a branch is the option `revision`/ }],
    [
      () => pushFolder(base, 'others/tiny'),
      { code: 'ERR_HUB', message: /not allowed: You don't have the rights.*HF_TOKEN/ },
    ],
    [
      () => pushFolder(base, 'org/tiny', { token: 'hf_wrong' }),
      { code: 'ERR_HUB', message: /the token of the option `token` was not accepted/ },
    ],
    [() => pushFolder(dir, 'org/tiny'), { code: 'ERR_FORMAT' }],
    [() => pushFolder(path.join(dir, 'none'), 'org/tiny'), { code: 'ERR_FORMAT', message: /is no folder/ }],
    [() => pushFolder(base, 'org/tiny', { signal: AbortSignal.abort() }), { code: 'ERR_ABORTED' }],
    [
      () => pushFolder(base, 'org/tiny', { revison: 'x' } as object),
      { code: 'ERR_ARGUMENT', message: /did you mean "revision"/ },
    ],
  ]
  for (const [work, expected] of refused) t.match(await failure(work()), expected)
  server.faults.push({ match: /POST .*preupload/, status: 503 }, { match: /^PUT/, cutAfter: 0 })
  server.uploaded.clear()
  await pushFolder(base, 'org/again')
  t.same(server.faults, [], 'a busy Hub, and a cut upload')
  server.faults.push({ match: /POST .*commit/, cutAfter: 0 })
  t.match(
    await failure(pushFolder(base, 'org/again')),
    { code: 'ERR_HUB', message: /cannot be reached/ },
    'what may have been done is not done twice',
  )
  withVariables(t, { HF_HUB_OFFLINE: '1' })
  t.match(await failure(pushFolder(base, 'org/tiny')), { code: 'ERR_HUB', details: { reason: 'offline' } })
  t.ok(existsSync(settings.cache))
})

t.test('the command line', async (t) => {
  const { server, settings, dir, files } = await start(t)
  server.commit('models/org/tiny', files)
  writeFileSync(path.join(dir, 'corpus.txt'), 'w1 w2\nw3 w4\n')
  const cli = async (args: string[], env: object = {}) => {
    const child = spawn(process.execPath, [main, ...args], {
      cwd: dir,
      env: { ...process.env, ...variables(settings), NO_COLOR: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const said = read(child)
    return { code: await ended(child), ...said }
  }
  server.faults.push({ match: /^GET \/[0-9a-f]{64}/, chunk: 5000, pauseMs: 250, times: 2 })
  const found = await cli(['search', 'org/tiny', 'corpus.txt', 'w1'])
  t.match(found, { code: 0, out: /w1 w2/ })
  t.match(found.err, /^org\/tiny: [\d.]+ kB fetched in \d+s\n/)
  t.match(await cli(['search', 'org/none', 'corpus.txt', 'w1']), {
    code: 8,
    err: /^error ERR_HUB {2}org\/none is no folder; model org\/none: there is none/,
  })
  const dry = await cli(['push', 'base', 'org/new', '--dry-run'])
  t.match(dry, { code: 0, out: / {2}config\.json\n[\s\S]*would go to http.*org\/new\n$/ })
  t.notMatch(dry.err, 'README.md')
  renameSync(path.join(dir, 'base/README.md'), path.join(dir, 'card.md'))
  t.match(await cli(['push', 'base', 'org/new', '--dry-run']), { code: 0, err: /base has no README\.md/ })
  renameSync(path.join(dir, 'card.md'), path.join(dir, 'base/README.md'))
  const pushed = await cli(['push', 'base', 'org/new', '--private', '--json'], { HF_TOKEN: server.token })
  t.equal(pushed.code, 0, pushed.err)
  t.match(JSON.parse(pushed.out), { created: true, commit: /^[0-9a-f]{40}$/ })
  t.notMatch(pushed.out + pushed.err, server.token)
  t.match(await cli(['push', 'base', 'org/new']), { code: 8, err: /set HF_TOKEN/ })
})

function omit<T extends object>(all: T, name: keyof T): T {
  const { [name]: _, ...rest } = all
  return rest as T
}
