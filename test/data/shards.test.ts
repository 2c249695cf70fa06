import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type PrepareProgress, prepareShards } from '../../lib/data/shards.js'
import { memorySource, type Source, type TextRow } from '../../lib/data/sources.js'
import { LateforgeError } from '../../lib/errors.js'
import { native } from '../../lib/native.js'
import type { Recipe } from '../../lib/text/recipe.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'
import { featurizerOf } from './features.js'

const letters = [...'abcdefghijklmnopqrstuvwxyz']
const words = [...letters, ...letters.map((c) => `##${c}`), '.', ',']
const featurizer = (recipe: Partial<Recipe> = {}) =>
  featurizerOf(words, { queryLength: 12, documentLength: 20, ...recipe })

const draws = new Random(seed)
const random = (n: number) => draws.integer(n)
const text = () => Array.from({ length: 1 + random(8) }, () => letters[random(26)]).join(random(2) ? ' ' : '. ')
const rows = (count: number, documents = () => 1, scored = false): TextRow[] =>
  Array.from({ length: count }, () => {
    const list = Array.from({ length: documents() }, text)
    return { query: text(), documents: list, ...(scored ? { scores: list.map(() => random(1000) / 8) } : {}) }
  })
const all = (n: number) => Float64Array.from({ length: n }, (_, i) => i)

t.test('what was written is what is read: tokens, scores, equal content', async (t) => {
  const features = featurizer()
  const data = rows(700, () => 2 + random(3), true)
  data[5]!.documents[0] = `  ${data[3]!.documents[1]} `
  const set = await prepareShards([memorySource('s', data)], features, { cacheDir: t.testdir(), workers: 0 })
  const source = set.sources[0]!
  t.match(source, { name: 's', rows: 700, minDocuments: 2, maxDocuments: 4, scores: true })
  const queries = await native().shardCollate(source.shard, all(700), 0, 1, 12, features.maskId, false)
  const documents = await native().shardCollate(source.shard, all(700), 1, 2, 0, features.maskId, false)
  const scores = await native().shardScores(source.shard, all(700), 1, 2)
  for (const [i, row] of data.entries()) {
    const real = features.query(row.query)
    const query = queries.ids.subarray(queries.offsets[i], queries.offsets[i + 1])
    t.same([...query], [...real, ...new Array(12 - real.length).fill(features.maskId)])
    t.equal(queries.keyLengths[i], real.length)
    for (const k of [0, 1]) {
      const at = 2 * i + k
      t.same(
        [...documents.ids.subarray(documents.offsets[at], documents.offsets[at + 1])],
        [...features.document(row.documents[k]!)],
      )
      t.equal(scores[at], Math.fround(row.scores![k]!))
    }
  }
  const lengths = async (column: number, most: number, skip?: Uint8Array) => [
    ...(await native().shardLengths(source.shard, all(700), column, most, skip)),
  ]
  t.same(
    await lengths(0, 1),
    data.map((row) => features.query(row.query).length),
    'without expansion',
  )
  // Rows have 2 to 4 documents; a row with fewer than are asked for gives what it has.
  for (const most of [1, 3, 1000]) {
    const taken = data.map(({ documents }) => documents.slice(0, most))
    const ids = taken.flat().map((text) => [...features.document(text)])
    t.same(
      await native().shardCounts(source.shard, all(700), 1, most),
      taken.map(({ length }) => length),
    )
    t.same(
      await lengths(1, most),
      ids.map(({ length }) => length),
    )
    t.same(
      await lengths(1, most, features.skip),
      ids.map((some) => some.filter((id) => !features.skip[id]).length),
    )
    t.notSame(await lengths(1, most, features.skip), await lengths(1, most), 'something is on the skiplist')
    t.same(await lengths(1, most, Uint8Array.of(1)), await lengths(1, most), 'ids outside the table are kept')
    const columns = await native().shardCollate(source.shard, all(700), 1, most, 0, features.maskId, false)
    t.same(columns.ids, ids.flat())
    t.same(
      await native().shardScores(source.shard, all(700), 1, most),
      data.flatMap(({ scores }) => scores!.slice(0, most).map(Math.fround)),
    )
    const groups = [...(await native().shardGroups(source.shard, all(700), 1, most))]
    const texts = taken.flat().map((text) => text.trim().replace(/\s+/g, ' '))
    const numbers = new Map<string, number>()
    for (const text of texts) if (!numbers.has(text)) numbers.set(text, numbers.size)
    t.same(
      groups,
      texts.map((text) => numbers.get(text)),
    )
  }
  const groups = await native().shardGroups(source.shard, all(700), 1, 2)
  t.equal(groups[10], groups[7], 'equal text apart from blanks is one group')
  t.equal(Math.max(...groups) + 1, new Set(groups).size, 'groups are dense')
  const attended = await native().shardCollate(source.shard, all(3), 0, 1, 12, 4, true)
  t.equal(attended.keyLengths[0], 12, 'attended expansion')
  t.equal(attended.kept, null)
  const underWay = native().shardCollate(source.shard, all(700), 1, 2, 0, features.maskId, false)
  set.close()
  t.same((await underWay).ids, documents.ids, 'a read that has begun goes on')
  t.throws(() => native().shardInfo(source.shard), { code: 'ERR_DISPOSED' })
  await t.rejects(native().shardGroups(source.shard, all(1), 0, 1), { code: 'ERR_DISPOSED' })
})

t.test(
  'workers write the same bytes as one thread; a second run reuses; another recipe or text does not',
  async (t) => {
    const data = rows(256 * 12 + 17)
    const dirs = [t.testdir({ one: {}, two: {} })].flatMap((dir) => [join(dir, 'one'), join(dir, 'two')])
    const progress: PrepareProgress[] = []
    const run = async (
      cacheDir: string,
      workers: number,
      source: Source[] = [memorySource('s', data)],
      features = featurizer(),
    ) => {
      progress.length = 0
      const set = await prepareShards(source, features, { cacheDir, workers, onProgress: (p) => progress.push(p) })
      set.close()
      return set.fingerprint
    }
    const first = await run(dirs[0]!, 0)
    t.match(progress.at(-1), {
      stage: 'tokenizing',
      name: 's',
      done: data.length,
      total: data.length,
      unit: 'rows',
      cached: false,
    })
    t.equal(await run(dirs[1]!, 2), first)
    const [one, two] = dirs.map((dir) => readdirSync(dir).map((name) => readFileSync(join(dir, name))))
    t.equal(one!.length, 1)
    t.ok(one![0]!.equals(two![0]!))
    t.equal(await run(dirs[0]!, 0), first)
    t.match(progress, [{ done: data.length, total: data.length, cached: true }])
    t.not(await run(dirs[0]!, 0, undefined, featurizer({ documentLength: 19 })), first)
    t.not(await run(dirs[0]!, 0, [memorySource('s', data.slice(1))]), first)
    t.equal(readdirSync(dirs[0]!).length, 3)
  },
)

t.test('damaged shards: a typed error, and prepared anew', async (t) => {
  const dir = t.testdir()
  const source = [
    memorySource(
      's',
      rows(60, () => 1 + random(3), true),
    ),
  ]
  const prepare = () => prepareShards(source, featurizer(), { cacheDir: dir, workers: 0 })
  ;(await prepare()).close()
  const file = join(dir, readdirSync(dir)[0]!)
  const good = readFileSync(file)
  const damagedCopies: Buffer[] = [
    good.subarray(0, 0),
    good.subarray(0, 63),
    good.subarray(0, 64),
    good.subarray(0, -8),
    Buffer.concat([good, Buffer.alloc(8)]),
  ]
  for (let round = 0; round < 400; round++) {
    const copy = Buffer.from(good)
    for (let flips = 1 + random(3); flips > 0; flips--) {
      const at = random(3) === 0 ? random(64) : random(copy.length)
      copy[at] = copy[at]! ^ (1 << random(8))
    }
    if (!copy.equals(good)) damagedCopies.push(copy)
  }
  for (const copy of damagedCopies) {
    writeFileSync(file, copy)
    await t.rejects(native().shardOpen(file, true), { code: 'ERR_FORMAT', message: /damaged/ })
    // Without verification damage may go unseen, but every access stays inside the file.
    try {
      const shard = await native().shardOpen(file, false)
      const { rows: count } = native().shardInfo(shard)
      try {
        const some = all(Math.min(count, 60))
        const skip = new Uint8Array(20)
        const reads = await Promise.allSettled([
          native().shardCollate(shard, some, 1, 1, 0, 4, false, skip),
          native().shardGroups(shard, some, 0, 1),
          native().shardLengths(shard, some, 1, 1, skip),
        ])
        for (const read of reads) if (read.status === 'rejected') throw read.reason
      } finally {
        native().shardClose(shard)
      }
    } catch (error) {
      t.ok(error instanceof LateforgeError, String(error))
    }
  }
  ;(await prepare()).close()
  t.ok(readFileSync(file).equals(good), 'built again')
})

t.test('a killed writer leaves no shard, and its remains are removed a day later', async (t) => {
  const dir = t.testdir()
  const lib = (path: string) => JSON.stringify(new URL(`../../lib/${path}`, import.meta.url).href)
  const script = `
    import { prepareShards } from ${lib('data/shards.js')}
    import { Featurizer } from ${lib('text/featurizer.js')}
    import { defaultRecipe } from ${lib('text/recipe.js')}
    import { Tokenizer } from ${lib('text/tokenizer/tokenizer.js')}
    const tokenizer = Tokenizer.fromVocabulary(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a'])
    tokenizer.addTokens(['[Q] ', '[D] '])
    const source = { name: 's', fingerprint: async () => 'f', async *[Symbol.asyncIterator]() { for (;;) yield { query: 'a', documents: ['a a'] } } }
    let told = false
    await prepareShards([source], new Featurizer(tokenizer, defaultRecipe()), { cacheDir: ${JSON.stringify(dir)}, workers: 0,
      onProgress: () => { if (!told) { told = true; console.log('writing') } } })`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await once(child, 'exit')
  const left = readdirSync(dir)
  t.equal(left.filter((name) => name.endsWith('.shard')).length, 0)
  t.equal(left.length, 1)
  const old = Date.now() / 1000 - 2 * 86400
  for (const name of ['', ...readdirSync(join(dir, left[0]!))]) utimesSync(join(dir, left[0]!, name), old, old)
  const set = await prepareShards([memorySource('s', rows(3))], featurizer(), { cacheDir: dir, workers: 0 })
  set.close()
  t.same(
    readdirSync(dir).map((name) => name.replace(/-.*/, '')),
    ['s'],
  )
})

t.test('failures and aborts leave the cache empty', async (t) => {
  const dir = t.testdir()
  const features = featurizer()
  const fails = async (source: Source[], expected: { code: string; message?: RegExp }, signal?: AbortSignal) => {
    await t.rejects(prepareShards(source, features, { cacheDir: dir, workers: 0, signal }), expected)
    t.same(
      readdirSync(dir).filter((name) => statSync(join(dir, name)).isDirectory()),
      [],
    )
  }
  await fails([], { code: 'ERR_DATA' })
  await fails([memorySource('s', rows(2)), memorySource('s', rows(2))], { code: 'ERR_DATA', message: /two sources/ })
  await fails([memorySource('mixed', [...rows(1), ...rows(1, () => 1, true)])], {
    code: 'ERR_DATA',
    message: /teacher score/,
  })
  await fails([memorySource('later', [...rows(256), ...rows(1, () => 1, true)])], {
    code: 'ERR_DATA',
    message: /some rows only/,
  })
  await fails([memorySource('bad', [{ query: 'q', documents: [] }])], { code: 'ERR_DATA', message: /row 1/ })
  for (const [name, row] of Object.entries({
    nothing: null,
    'no text': { query: 'q', documents: [1] },
    'no number': { query: 'q', documents: ['a', 'b'], scores: [1, Number.NaN] },
  }))
    await fails([memorySource(name, [row as unknown as TextRow])], { code: 'ERR_DATA', message: /row 1/ })
  await fails([memorySource('empty', [])], { code: 'ERR_DATA', message: /no rows/ })
  await fails([memorySource('s', rows(2))], { code: 'ERR_ABORTED' }, AbortSignal.abort())
  const abort = new AbortController()
  const source = memorySource('cut', rows(1000))
  const cut: Source = {
    name: 'cut',
    fingerprint: async () => 'x',
    async *[Symbol.asyncIterator]() {
      let row = 0
      for await (const value of source) {
        if (row++ === 600) abort.abort()
        yield value
      }
    },
  }
  await fails([cut], { code: 'ERR_ABORTED' }, abort.signal)
  await t.rejects(prepareShards([cut], features, { cacheDir: dir, workers: -1 }), { code: 'ERR_ARGUMENT' })
})

t.test('a cache folder that cannot be used is named, with what chooses another', async (t) => {
  const dir = t.testdir({ file: '' })
  const sources = [memorySource('s', [{ query: 'a', documents: ['b'] }])]
  const cases: [cacheDir: string, code: string][] = [
    [join(dir, 'file/cache'), 'ENOTDIR'],
    [join(dir, 'file'), 'EEXIST'],
    ['', 'ENOENT'],
  ]
  for (const [cacheDir, code] of cases)
    await t.rejects(prepareShards(sources, featurizer(), { cacheDir, workers: 0 }), {
      name: 'FileError',
      code: 'ERR_FILE',
      message: /cacheDir.*LATEFORGE_CACHE/,
      details: { code, cacheDir },
    })
})

t.test('the addon refuses rows and items that are not there', async (t) => {
  const set = await prepareShards(
    [
      memorySource(
        's',
        rows(5, () => 2),
      ),
    ],
    featurizer(),
    { cacheDir: t.testdir(), workers: 0 },
  )
  const { shard } = set.sources[0]!
  const collate = (list: number[], column: number, most: number) =>
    native().shardCollate(shard, Float64Array.from(list), column, most, 0, 4, false)
  for (const row of [-1, 5, 0.5, Number.NaN, 1e300]) await t.rejects(collate([row], 0, 1), { code: 'ERR_ARGUMENT' })
  t.equal((await collate([0], 1, 2 ** 52)).keyLengths.length, 2, 'all that there are')
  await t.rejects(collate([0], 0, 2), { code: 'ERR_ARGUMENT', message: /a row has one/ })
  for (const most of [0, -1, 0.5, Number.NaN]) await t.rejects(collate([0], 1, most), { code: 'ERR_ARGUMENT' })
  await t.rejects(collate([0], 2, 1), { code: 'ERR_ARGUMENT' })
  await t.rejects(native().shardCounts(shard, Float64Array.of(5), 1, 1), { code: 'ERR_ARGUMENT' })
  await t.rejects(native().shardLengths(shard, Float64Array.of(5), 0, 1), { code: 'ERR_ARGUMENT' })
  await t.rejects(native().shardLengths(shard, all(1), 1, 1, new Int32Array(3) as unknown as Uint8Array), {
    code: 'ERR_ARGUMENT',
  })
  t.equal((await native().shardLengths(shard, all(0), 1, 1)).length, 0)
  await t.rejects(native().shardScores(shard, all(1), 1, 1), { code: 'ERR_DATA', message: /teacher/ })
  await t.rejects(native().shardOpen('/nowhere/x.shard', true), { code: 'ERR_FORMAT' })
  await t.rejects(native().shardOpen('.', true), { code: 'ERR_FORMAT' })
  await t.rejects(native().shardOpen(1 as unknown as string, true), { code: 'ERR_ARGUMENT' })
  set.close()
})

t.test('where ArrayBuffers on memory of others are forbidden, batches are copied', async (t) => {
  const features = featurizer()
  const data = rows(50, () => 2)
  const set = await prepareShards([memorySource('s', data)], features, { cacheDir: t.testdir(), workers: 0 })
  const { shard } = set.sources[0]!
  const batch = () =>
    Promise.all([
      native().shardCollate(shard, all(50), 1, 2, 0, features.maskId, false, Uint8Array.of(0, 0, 0, 1)),
      native().shardLengths(shard, all(50), 1, 2),
    ])
  const lent = await batch()
  native().forbidExternalBuffers()
  t.same(await batch(), lent)
  const none = await native().shardLengths(shard, new Float64Array(0), 1, 2)
  t.equal(none.length, 0, 'nothing at all, copied')
})
