/** An index in a folder: what it finds, keeps, forgets and refuses. */
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Index, type IndexDocument, type StoredEmbeddings } from '../../lib/indexing/index.js'
import { Random } from '../../lib/io/random.js'
import { Colbert } from '../../lib/models/colbert.js'
import { poolTokens } from '../../lib/retrieval/pool.js'
import { quantizeEmbeddings } from '../../lib/retrieval/quantize.js'
import { Device } from '../../lib/tensor/device.js'
import { tokenizer } from '../models/words.js'

const temporary = t.testdir()
const seed = 20261130
t.comment(`seed ${seed}`)
const draws = new Random(seed)
const words = 'late interaction is a kind of retrieval that keeps one vector per token not for the whole text'.split(
  ' ',
)
const phrase = () =>
  Array.from({ length: 1 + Math.floor(draws.next() * 12) }, () => words[Math.floor(draws.next() * words.length)]!).join(
    ' ',
  )
const documents: IndexDocument[] = Array.from({ length: 60 }, (_, i) => ({
  ...{ id: `d${i}`, text: phrase() },
  ...(i % 3 > 0 && { metadata: { group: i % 5, name: `ünïcode ${i}` } }),
}))
const queries = Array.from({ length: 5 }, phrase)
const shape = { architecture: 'bert', layers: 1, width: 32, heads: 2, intermediate: 32, dim: 16, tokenizer } as const
const model = await Colbert.create(shape, { seed })
t.teardown(() => model.dispose())

let made = 0
const folder = () => path.join(temporary, `index-${made++}`)
const ids = (hits: { id: string }[][]) => hits.map((list) => list.map(({ id }) => id))

/** What a search over all documents in memory finds. */
async function expected(type: StoredEmbeddings, list: readonly IndexDocument[], topK: number) {
  const embeddings = await model.encodeDocuments(
    list.map(({ text }) => text),
    { ids: list.map(({ id }) => id) },
  )
  const stored = type === 'float32' ? embeddings : await quantizeEmbeddings(embeddings, type)
  const hits = await model.search(await model.encodeQueries(queries), stored, { topK })
  return hits.map((found) => found.map(({ id, score }) => ({ id, score })))
}

for (const type of ['int8', 'float16', 'float32'] as const)
  t.test(`${type}: what an exhaustive search finds, whatever was added, deleted and replaced before`, async (t) => {
    const device = Device.open()
    await device.synchronize()
    const before = device.memory().tensors
    const dir = folder()
    const index = await Index.create(dir, { model, type })
    t.same(await index.search(queries), [[], [], [], [], []], 'an empty index finds nothing')
    const added = await index.add(documents.slice(0, 25))
    t.match(added, { documents: 25, replaced: 0, truncated: 0 })
    for (let i = 25; i < 60; i += 7) await index.add(documents.slice(i, i + 7))
    t.same(await index.search(queries, { topK: 60 }), await expected(type, documents, 60))
    t.same(await index.search(await model.encodeQueries(queries), { topK: 3 }), await expected(type, documents, 3))

    t.same(await index.delete(['d3', 'd30', 'none', 'd3']), { deleted: 2, missing: ['none'] })
    t.same(await index.delete(['d3']), { deleted: 0, missing: ['d3'] })
    const rest = documents.filter(({ id }) => id !== 'd3' && id !== 'd30')
    t.same(await index.search(queries, { topK: 60 }), await expected(type, rest, 60))
    const moved = { id: 'd5', text: phrase() }
    t.match(await index.add([moved], { existing: 'replace' }), { documents: 1, replaced: 1 })
    const changed = [...rest.filter(({ id }) => id !== 'd5'), moved]
    const wanted = await expected(type, changed, 60)
    t.same(await index.search(queries, { topK: 60 }), wanted)
    t.match(await index.info(), { documents: 58, deleted: 3, type })

    const { before: bytes, after } = await index.compact()
    t.ok(after < bytes, `${bytes} bytes, ${after} compacted`)
    t.same(await index.search(queries, { topK: 60 }), wanted, 'the same after compact')
    t.match(await index.info(), { documents: 58, deleted: 0, segments: 1 })
    await index.verify()
    await index.close()
    await index.close()

    const again = await Index.open(dir, { model })
    t.same(await again.search(queries, { topK: 60 }), wanted, 'and opened again')
    t.same(await again.get('d7'), { text: documents[7]!.text, metadata: documents[7]!.metadata })
    t.equal(await again.get('d3'), undefined)
    await again.close()
    t.same(
      readdirSync(dir).filter((name) => !/^(index\.json|s\d+\.(safetensors|jsonl|words))$/.test(name)),
      [],
      'nothing is left',
    )
    await device.synchronize()
    t.equal(device.memory().tensors, before, 'all memory is given back')
  })

t.test('filters, texts and metadata', async (t) => {
  const index = await Index.create(folder(), { model })
  await index.add(documents)
  await index.delete(['d1'])
  const all = await index.search(queries, { topK: 60 })
  const check = async (filter: Parameters<Index['search']>[1], passes: (document: IndexDocument) => boolean) => {
    const list = await index.search(queries, { ...filter, topK: 4 })
    const wanted = all.map((hits) => hits.filter(({ id }) => passes(documents[Number(id.slice(1))]!)).slice(0, 4))
    t.same(list, wanted)
  }
  const few = ['d9', 'd1', 'd2', 'nobody'] // d1 is deleted
  await check({ filter: { ids: few } }, ({ id }) => few.includes(id))
  const many = documents.slice(5).map(({ id }) => id)
  await check({ filter: { ids: many } }, ({ id }) => many.includes(id))
  await check({ filter: { where: ({ group }) => group === 2 } }, ({ metadata }) => metadata?.group === 2)
  await check({ filter: { ids: few, where: (_, id) => id !== 'd2' } }, ({ id }) => few.includes(id) && id !== 'd2')
  t.same(ids(await index.search(queries, { filter: { ids: [] } })), [[], [], [], [], []])
  const [[first]] = (await index.search(queries, { topK: 1, withTexts: true })) as [[(typeof all)[0][0]]]
  const { text, metadata } = documents[Number(first.id.slice(1))]!
  t.same(first, { ...all[0]![0]!, text, ...(metadata && { metadata }) })
  for (const filter of [{}, { id: ['d1'] }, { ids: 'd1' }, { where: true }])
    await t.rejects(index.search(queries, { filter: filter as object }), { code: 'ERR_ARGUMENT' })
  await index.close()
})

t.test('among ids from elsewhere; why a document was found', async (t) => {
  const index = await Index.create(folder(), { model, type: 'float32' })
  await index.add(documents)
  await index.delete(['d4'])
  const lists = queries.map((_, q) => ['d4', 'nobody', `d${q}`, `d${q + 20}`, `d${q + 40}`, `d${q}`])
  const all = await index.search(queries, { topK: 60 })
  const wanted = all.map((hits, q) => hits.filter(({ id }) => lists[q]!.includes(id)))
  t.same(await index.search(queries, { among: lists }), wanted)
  await t.rejects(index.search(queries, { among: lists.slice(1) }), { code: 'ERR_ARGUMENT', message: /4 of 5 queries/ })
  for (const [options, message] of [
    [{ among: lists, filter: { ids: [] } }, /filter has no effect beside among/],
    [{ among: lists, exact: true }, /exact has no effect beside among/],
    [{ among: lists, candidates: 3 }, /candidates has no effect beside among/],
    [{ exact: true, probes: 3 }, /probes has no effect beside exact/],
  ] as const)
    await t.rejects(index.search(queries, options), { code: 'ERR_ARGUMENT', message })

  const encoded = await model.encodeQueries(queries)
  for (const [q, hits] of (await index.search(encoded, { topK: 5, explain: true })).entries())
    for (const { id, score, matches } of hits) {
      t.equal(matches!.length, encoded.offsets[q + 1]! - encoded.offsets[q]!)
      t.ok(Math.abs(matches!.reduce((sum, match) => sum + match.score, 0) - score) < 1e-4, 'their sum is the score')
      const document = await model.encodeDocuments([documents[Number(id.slice(1))]!.text])
      for (const [row, match] of matches!.entries()) {
        const product = (token: number) => {
          let sum = 0
          for (let k = 0; k < 16; k++)
            sum += encoded.data[(encoded.offsets[q]! + row) * 16 + k]! * document.data[token * 16 + k]!
          return sum
        }
        const products = Array.from({ length: document.offsets[1]! }, (_, token) => product(token))
        t.ok(Math.abs(products[match.token]! - Math.max(...products)) < 1e-6, 'the winner')
      }
    }
  await index.close()
})

t.test('token vectors are pooled', async (t) => {
  const index = await Index.create(folder(), { model, pooling: { factor: 2 }, type: 'float32' })
  await index.add(documents)
  const texts = documents.map(({ text }) => text)
  const pooled = await poolTokens(await model.encodeDocuments(texts, { ids: documents.map(({ id }) => id) }), {
    factor: 2,
  })
  const hits = await model.search(await model.encodeQueries(queries), pooled, { topK: 60 })
  t.same(ids(await index.search(queries, { topK: 60 })), ids(hits as { id: string }[][]))
  const info = await index.info()
  t.equal(info.tokens, pooled.offsets[60])
  t.same(info.pooling, { factor: 2, protectedTokens: 1 })
  await index.close()
  for (const pooling of [{}, { factor: 0.5 }, { factr: 2 }])
    await t.rejects(Index.create(folder(), { model, pooling: pooling as never }), { code: 'ERR_ARGUMENT' })
})

t.test('going on after an interruption', async (t) => {
  const index = await Index.create(folder(), { model })
  await index.add(documents.slice(0, 7))
  const controller = new AbortController()
  async function* some() {
    yield documents[8]!
    controller.abort()
    yield documents[9]!
  }
  await t.rejects(index.add(some(), { signal: controller.signal }), { code: 'ERR_ABORTED' })
  t.match(await index.add(documents, { existing: 'skip' }), { documents: 53, skipped: 7, replaced: 0 })
  const embeddings = await model.encodeDocuments(
    documents.map(({ text }) => text),
    { ids: documents.map(({ id }) => `x-${id}`) },
  )
  const before = { ...embeddings, ids: [...embeddings.ids!.slice(0, 58), 'd1', 'd2'] }
  t.match(await index.addEmbeddings(before, { existing: 'skip' }), { documents: 58, skipped: 2 })
  t.same((await index.search(queries, { topK: 200 }))[0]!.length, 118)
  await index.close()
})

t.test('many small additions do not make many segments', async (t) => {
  const index = await Index.create(folder(), { model })
  for (const document of documents.slice(0, 40)) await index.add([document])
  const { segments, documents: count } = await index.info()
  t.equal(count, 40)
  t.ok(segments <= 9, `${segments} segments`)
  t.same(await index.search(queries, { topK: 40 }), await expected('int8', documents.slice(0, 40), 40))
  await index.close()
})

t.test('one writes, others read what is there', async (t) => {
  const dir = folder()
  const writer = await Index.create(dir, { model })
  await writer.add(documents.slice(0, 10))
  const reader = await Index.open(dir, { model })
  t.same(ids(await reader.search(queries, { topK: 60 })), ids(await writer.search(queries, { topK: 60 })))
  await t.rejects(reader.delete(['d1']), { code: 'ERR_LOCKED', message: new RegExp(`process ${process.pid} on`) })
  await t.rejects(reader.add(documents.slice(10, 11)), { code: 'ERR_LOCKED' })
  await writer.add(documents.slice(10))
  await writer.delete(['d0'])
  await writer.compact()
  t.same(
    await reader.search(queries, { topK: 60 }),
    await expected('int8', documents.slice(1), 60),
    'what is there now',
  )
  await writer.close()
  t.same(await reader.delete(['d1']), { deleted: 1, missing: [] }, 'the lock is free again')
  await reader.close()
  for (const call of [() => reader.search(queries), () => reader.info(), async () => reader.delete(['d2'])])
    await t.rejects(call() as Promise<unknown>, { code: 'ERR_ARGUMENT', message: /is closed/ })
})

t.test('searches beside a writer: each finds what one state holds', async (t) => {
  const dir = folder()
  const writer = await Index.create(dir, { model })
  await writer.add(documents.slice(0, 20))
  const reader = await Index.open(dir, { model })
  // Every state has 20 documents: one goes, another comes, in one step.
  const states = new Set<string>()
  const encoded = await model.encodeQueries(queries.slice(0, 1))
  let done = false
  const changes = (async () => {
    for (let i = 0; i < 20; i++) {
      const { id } = documents[i]!
      await writer.add([{ id, text: documents[20 + i]!.text }], { existing: 'replace' })
      if (i % 6 === 0) await writer.compact()
    }
    done = true
  })()
  while (!done) {
    for (const index of [reader, writer]) {
      const [hits] = await index.search(encoded, { topK: 60 })
      t.equal(new Set(hits!.map(({ id }) => id)).size, 20)
      t.equal(hits!.length, 20, 'neither missing nor twice')
      states.add(JSON.stringify(hits))
    }
  }
  await changes
  t.ok(states.size > 1, `${states.size} states were seen`)
  await reader.close()
  await writer.close()
})

t.test('vectors from elsewhere', async (t) => {
  const index = await Index.create(folder(), { dim: 16 })
  const embeddings = await model.encodeDocuments(documents.map(({ text }) => text))
  const bare = { data: embeddings.data, offsets: embeddings.offsets, dim: 16, ids: documents.map(({ id }) => id) }
  await index.addEmbeddings(bare, { kept: documents.map(({ text }) => ({ text })) })
  const { role: _, recipe: __, ...asked } = await model.encodeQueries(queries)
  t.same(await index.search(asked as never, { topK: 60 }), await expected('int8', documents, 60))
  const bad = { code: 'ERR_ARGUMENT' }
  t.throws(() => index.addEmbeddings({ ...bare, ids: ['x'] }), bad)
  t.throws(() => index.addEmbeddings({ ...bare, dim: 8, offsets: [0, bare.data.length / 8], ids: ['x'] }), bad)
  await t.rejects(index.addEmbeddings(bare), { code: 'ERR_ARGUMENT', message: /has a document "d0"/ })
  await t.rejects(index.search(['a text']), { code: 'ERR_ARGUMENT', message: /without a model/ })
  t.throws(() => index.add(documents), { code: 'ERR_ARGUMENT', message: /without a model/ })
  await index.close()
})

t.test('what it refuses, and that nothing is lost', async (t) => {
  const dir = folder()
  const index = await Index.create(dir, { model })
  await index.add(documents.slice(0, 5))
  const before = await index.search(queries)
  const bad: [unknown[], RegExp][] = [
    [[{ id: 'd2', text: 'a' }], /has a document "d2"; \{ existing: 'replace' \}/],
    [
      [
        { id: 'x', text: 'a' },
        { id: 'x', text: 'b' },
      ],
      /"x" comes twice/,
    ],
    [[{ id: '', text: 'a' }], /an id is ""/],
    [[{ id: 7, text: 'a' }], /an id is 7/],
    [[{ id: '\ud800', text: 'a' }], /an id is/],
    [[{ id: 'x' }], /text is undefined/],
    [[{ id: 'x', text: 'a', title: 'b' }], /nothing reads "title"/],
    [[{ id: 'x', text: 'a', metadata: 'b' }], /metadata is no object/],
    [['x'], /expected documents/],
  ]
  for (const [list, message] of bad)
    await t.rejects(index.add(list as IndexDocument[]), { code: 'ERR_ARGUMENT', message })
  t.same(await index.search(queries), before)
  await t.rejects(index.search(queries, { topK: 0 }), { code: 'ERR_ARGUMENT' })
  await t.rejects(index.search((await model.encodeDocuments(['a'])) as never), {
    code: 'ERR_ARGUMENT',
    message: /of documents/,
  })
  const other = await Colbert.create(shape, { seed })
  other.setRecipe({ queryPrompt: 'ask ' })
  await t.rejects(index.search(await other.encodeQueries(queries)), { code: 'ERR_RECIPE' })
  const { tensors } = Device.open().memory()
  await t.rejects(Index.open(dir, { model: other }), { code: 'ERR_RECIPE', message: /another recipe than the model's/ })
  t.equal(Device.open().memory().tensors, tensors, 'what was opened is closed again')
  other.dispose()
  await t.rejects(Index.create(dir, { model }), { code: 'ERR_FORMAT', message: /holds "/ })
  await t.rejects(Index.create(folder(), {}), { code: 'ERR_ARGUMENT', message: /needs a model/ })
  await t.rejects(Index.create(folder(), { dim: 20 }), { code: 'ERR_ARGUMENT', message: /a multiple of 8/ })
  await t.rejects(Index.create(folder(), { model, dim: 16 }), { code: 'ERR_ARGUMENT', message: /dim has no effect/ })
  await t.rejects(Index.open(temporary), { code: 'ERR_FORMAT', message: /holds no index/ })
  await index.close()
})

t.test('other weights are refused, another precision of the same ones is not', async (t) => {
  const dir = folder()
  await (await Index.create(dir, { model, modelName: 'some/model' })).close()
  const other = await Colbert.create(shape, { seed: seed + 1 })
  t.teardown(() => other.dispose())
  await t.rejects(Index.open(dir, { model: other }), {
    ...{ code: 'ERR_ARGUMENT', message: /made by other weights \(some\/model\)/, details: { model: 'some/model' } },
  })
  const trained = await Colbert.create(shape, { seed })
  t.teardown(() => trained.dispose())
  await (await Index.open(dir, { model: trained })).close()
  const values = await trained.parameters.values.values()
  trained.parameters.write(values.map((value, i) => value + (i % 2 === 0 ? 1e-3 : -1e-3)))
  await t.rejects(Index.open(dir, { model: trained }), { code: 'ERR_ARGUMENT' }, 'about a step of training away')
  const saved = folder()
  await model.save(saved)
  const small = await Colbert.load(saved, { precision: 'int8' })
  t.teardown(() => small.dispose())
  await (await Index.open(dir, { model: small })).close()
  await (await Index.create(folder(), { dim: 16 })).close()
  t.notOk(readFileSync(path.join(temporary, `index-${made - 1}`, 'index.json'), 'utf8').includes('"mean"'))
})

t.test('a byte that flipped, a file that is cut off, gone, or not ours', async (t) => {
  const dir = folder()
  const index = await Index.create(dir, { model })
  await index.add(documents)
  await index.delete(['d1'])
  await index.close()
  for (const name of readdirSync(dir)) {
    const file = path.join(dir, name)
    const whole = readFileSync(file)
    const refused = async (what: string, change: () => void, message?: RegExp) => {
      change()
      const opened = Index.open(dir).then(async (found) => {
        await found.verify().finally(() => found.close())
      })
      await t.rejects(opened, { code: 'ERR_FORMAT', ...(message && { message }) }, `${name}: ${what}`)
      writeFileSync(file, whole)
    }
    if (name !== 'index.json') {
      for (const at of [0, Math.floor(whole.length / 2), whole.length - 1]) {
        const flipped = Buffer.from(whole)
        flipped[at]! ^= 4
        await refused(`byte ${at}`, () => writeFileSync(file, flipped))
      }
      await refused('gone', () => rmSync(file), /gone/)
      await refused('cut off', () => truncateSync(file, whole.length - 1), /bytes, it was written with/)
    } else {
      for (const text of ['', '{', 'null', '{}', '{"lateforgeIndex":1}'])
        await refused(text, () => writeFileSync(file, text))
      const found = JSON.parse(whole.toString())
      for (const change of [
        { dim: -1 },
        { segments: [{}] },
        { type: 'int4' },
        { generation: '1' },
        { search: 1 },
        { recipe: {} },
        { model: 3 },
      ])
        await refused(JSON.stringify(change), () => writeFileSync(file, JSON.stringify({ ...found, ...change })))
      const elsewhere = structuredClone(found)
      elsewhere.segments[0].vectors.name = '../../etc/passwd'
      await refused('a name elsewhere', () => writeFileSync(file, JSON.stringify(elsewhere)))
    }
  }
  const sound = await Index.open(dir)
  await sound.verify()
  await sound.close()
})

// With lists, nearly every compaction clusters tokens anew.
for (const [what, listsFrom, type] of [
  ['without lists', 1 << 17, 'int8'],
  ['with lists', 100, 'int8'],
  ['with residual codes', 100, 'residual4'],
] as const)
  t.test(`killed at any moment, ${what}: what was acknowledged is there, and nothing half`, async (t) => {
    const dir = folder()
    const index = await Index.create(dir, { dim: 16, type, listsFrom })
    await index.close()
    const child = path.join(import.meta.dirname, 'child.js')
    const told = new Map<string, boolean>() // acknowledged: there, or deleted
    const rounds = Number(process.env.LATEFORGE_TEST_KILLS ?? 10)
    for (let round = 0; round < rounds; round++) {
      const stdout = await killed(child, dir, String(round), Math.floor(draws.next() * 400))
      for (const line of stdout.split('\n').slice(0, -1)) {
        const [what, id] = line.split(' ') as [string, string]
        if (what === 'began')
          told.delete(id) // may be either, until it is told
        else told.set(id, what === 'added')
      }
      const found = await Index.open(dir)
      await found.verify()
      const present = new Set<string>()
      const hits = await found.search({ data: new Float32Array(16).fill(1), offsets: [0, 1], dim: 16 } as never, {
        ...{ topK: 1e6, exact: true },
      })
      for (const { id } of hits[0]!) {
        if (present.has(id)) t.fail(`${id} is there twice`)
        present.add(id)
      }
      for (const [id, there] of told)
        if (present.has(id) !== there) t.fail(`round ${round}: ${id} is ${there ? 'lost' : 'back'}`)
      await found.close()
    }
    t.ok(told.size > 0, `${told.size} documents were acknowledged in ${rounds} rounds`)
    const found = await Index.open(dir)
    await found.compact()
    const { listed, tokens } = await found.info()
    // Segments of residual codes are not joined with others.
    const expected = tokens >= listsFrom ? 1 : 0
    t.ok(type === 'residual4' ? listed >= expected : listed === expected, `${listed} with lists, of ${tokens} tokens`)
    await found.close()
  })

/** What a child said that is killed so many milliseconds after its first word. */
async function killed(program: string, dir: string, round: string, after: number): Promise<string> {
  const child = spawn(process.execPath, [program, dir, round], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  for await (const chunk of child.stdout.setEncoding('utf8')) {
    if (said === '') setTimeout(() => child.kill('SIGKILL'), after)
    said += chunk
  }
  return said
}
