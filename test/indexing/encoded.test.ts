/** Encoded documents in a folder: what is read back, gone on with after a kill, and refused. */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import {
  type EncodeCorpusOptions,
  EncodedDocuments,
  type EncodeProgress,
  encodeCorpus,
  Index,
  type IndexDocument,
} from '../../lib/indexing/index.js'
import { Random } from '../../lib/io/random.js'
import { SafetensorsFile } from '../../lib/io/safetensors.js'
import { poolTokens } from '../../lib/retrieval/pool.js'
import { quantizeEmbeddings } from '../../lib/retrieval/quantize.js'
import { Device } from '../../lib/tensor/device.js'
import { documents, queries, settings, tinyModel } from './encoded-documents.js'

const temporary = t.testdir()
const seed = 20261130
t.comment(`seed ${seed}`)
const draws = new Random(seed)
const model = await tinyModel()
t.teardown(() => model.dispose())

let made = 0
const folder = () => path.join(temporary, `encoded-${made++}`)
const encode = (dir: string, options: Partial<EncodeCorpusOptions> = {}, list: readonly IndexDocument[] = documents) =>
  encodeCorpus(dir, list, { model, ...settings, ...options })
const digests = (dir: string) =>
  readdirSync(dir).map((name) => [
    name,
    createHash('sha256')
      .update(readFileSync(path.join(dir, name)))
      .digest('hex'),
  ])
const all = await model.encodeDocuments(
  documents.map(({ text }) => text),
  { ids: documents.map(({ id }) => id) },
)
const encodedQueries = await model.encodeQueries(queries)

/** A run that nobody cuts off. */
const whole = folder()
const result = await encode(whole)

for (const type of ['int8', 'float16', 'float32'] as const)
  t.test(`${type}: read back as they are, searched, and added to an index`, async (t) => {
    const device = Device.open()
    await device.synchronize()
    const before = device.memory().tensors
    const dir = folder()
    const { bytes, shards, ...info } = await encode(dir, { type, modelName: 'a model' })
    t.match(info, {
      documents: 900,
      tokens: all.offsets[900],
      truncated: 0,
      dim: 16,
      type,
      model: 'a model',
      resumed: 0,
    })
    t.equal(shards, 4)
    const encoded = await EncodedDocuments.open(dir)
    t.equal(encoded.info.bytes, bytes)
    await encoded.verify()
    const wanted = type === 'float32' ? all : await quantizeEmbeddings(all, type)
    const hits = await model.search(encodedQueries, encoded, { topK: 20 })
    t.same(hits, await model.search(encodedQueries, wanted, { topK: 20 }), 'the hits of embeddings in memory')

    // As another reader finds them.
    const file = await SafetensorsFile.open(path.join(dir, '000002.safetensors'))
    const [rows, rowOffsets] = [await file.bytes('tokens'), await file.numbers('offsets')]
    const names = new TextDecoder().decode(await file.bytes('ids'))
    await file.close()
    t.equal(rowOffsets.length, 257)
    t.ok(names.startsWith('d256 ü'))
    const start = all.offsets[256]! * 16
    const { data } = wanted
    const same = data.subarray(start, start + rowOffsets[256]! * 16)
    t.ok(Buffer.from(same.buffer, same.byteOffset, same.byteLength).equals(rows), 'the vectors of documents 256 to 511')

    const ids = ['d700 ü', 'd3 ü', 'd300 ü', 'd3 ü']
    const few = await encoded.embeddings(ids)
    t.same(few.ids, ids)
    for (const [i, id] of ids.entries()) {
      const d = Number(id.slice(1, -2))
      const rows = (from: typeof few, n: number) => [
        ...from.data.subarray(from.offsets[n]! * 16, from.offsets[n + 1]! * 16),
      ]
      t.same(rows(few, i), rows(wanted as typeof few, d), id)
    }
    t.same(
      (await encoded.kept(ids)).map(({ text, metadata }) => [text, metadata]),
      [700, 3, 300, 3].map((d) => [documents[d]!.text, documents[d]!.metadata]),
    )
    await t.rejects(encoded.embeddings(['nobody']), { code: 'ERR_ARGUMENT', message: /no document "nobody"/ })

    const index = await Index.create(folder(), { model, type })
    t.match(await index.addEmbeddings(encoded.parts({ withTexts: true })), { documents: 900, skipped: 0 })
    t.same(
      await index.search(encodedQueries, { topK: 20 }),
      hits.map((list) => list.map(({ id, score }) => ({ id, score }))),
    )
    t.same(await index.get('d3 ü'), { text: documents[3]!.text, metadata: documents[3]!.metadata })
    await t.rejects(index.addEmbeddings(encoded.parts()), { code: 'ERR_ARGUMENT', message: /has a document "d0 ü"/ })
    t.match(await index.addEmbeddings(encoded, { existing: 'skip' }), { documents: 0, skipped: 900 })
    await index.close()
    await device.synchronize()
    t.equal(device.memory().tensors, before, 'all memory is given back')
  })

t.test('an index of another type; pooled; without texts; none at all', async (t) => {
  const index = await Index.create(folder(), { model, type: 'int8' })
  await index.addEmbeddings(await EncodedDocuments.open(whole))
  const int8 = await quantizeEmbeddings(all, 'int8')
  const [found, exact] = [
    await index.search(encodedQueries, { topK: 5 }),
    await model.search(encodedQueries, int8, { topK: 5 }),
  ]
  for (const [q, hits] of found.entries())
    for (const [i, { score }] of hits.entries())
      t.ok(Math.abs(score - exact[q]![i]!.score) < 0.05, 'float16, then int8')
  await index.close()
  const wide = await Index.create(folder(), { model, type: 'float32' })
  await wide.addEmbeddings(await EncodedDocuments.open(whole))
  await wide.close()
  const small = folder()
  await encode(small, { type: 'int8' }, documents.slice(0, 3))
  const other = await Index.create(folder(), { model, type: 'float16' })
  await t.rejects(other.addEmbeddings(await EncodedDocuments.open(small)), {
    code: 'ERR_ARGUMENT',
    message: /are int8/,
  })
  t.throws(() => other.addEmbeddings({} as AsyncIterable<never>, { kept: [] }), { code: 'ERR_ARGUMENT' })
  await other.close()

  const dir = folder()
  await encode(dir, { type: 'float32', pooling: { factor: 2 }, keepTexts: false })
  const pooled = await EncodedDocuments.open(dir)
  t.same(pooled.info.pooling, { factor: 2, protectedTokens: 1 })
  const wanted = await poolTokens(all, { factor: 2 })
  t.same(await model.search(encodedQueries, pooled), await model.search(encodedQueries, wanted))
  t.same(await pooled.kept(['d3 ü', 'd4 ü']), [{ metadata: documents[3]!.metadata }, {}])

  const none = folder()
  t.match(await encode(none, {}, []), { documents: 0, shards: 0 })
  t.same(await model.search(encodedQueries, await EncodedDocuments.open(none)), [[], [], [], [], []])
})

t.test('documents are read no further ahead than two groups', async (t) => {
  let [read, most, reported] = [0, 0, 0]
  async function* counted() {
    for (const document of [...documents, ...documents.map((one) => ({ ...one, id: `${one.id} 2` }))]) {
      most = Math.max(most, ++read - reported)
      yield document
    }
  }
  const seen: EncodeProgress[] = []
  const onProgress = (progress: EncodeProgress) => {
    seen.push(progress)
    reported = progress.done
  }
  await encodeCorpus(folder(), counted(), { model, ...settings, onProgress })
  t.ok(most <= 3 * 256, `${most} documents ahead`)
  t.same(
    seen.map(({ done }) => done),
    [0, 256, 512, 768, 1024, 1280, 1536, 1792, 1800],
  )
  t.equal(seen.at(-1)!.tokens, 2 * all.offsets[900]!)
})

t.test('cut off by an error at any document, it goes on where it was, to the same bytes', async (t) => {
  const dir = folder()
  for (const stop of [0, 200, 256, 513, 800, 899]) {
    function* some() {
      yield* documents.slice(0, stop)
      throw new Error('enough')
    }
    await t.rejects(encodeCorpus(dir, some(), { model, ...settings }), { message: 'enough' })
    await t.rejects(EncodedDocuments.open(dir), { code: 'ERR_FORMAT', message: /not complete: it has \d+ documents/ })
  }
  const controller = new AbortController()
  const aborting = encode(dir, { signal: controller.signal, onProgress: () => controller.abort() })
  await t.rejects(aborting, { code: 'ERR_ABORTED' })
  t.match(await encode(dir), { documents: 900, resumed: 512, truncated: 0 })
  t.same(digests(dir), digests(whole))
  t.match(await encode(dir), { ...result, resumed: 900 }, 'once more changes nothing')
  t.same(digests(dir), digests(whole))
})

t.test('killed at any moment, it goes on where it was, to the same bytes', { timeout: 300_000 }, async (t) => {
  const dir = folder()
  const child = path.join(import.meta.dirname, 'encode-child.js')
  const kills = Number(process.env.LATEFORGE_TEST_KILLS ?? 12) / 2
  for (let round = 0, said = ''; !said.includes('done'); round++)
    said = await killed(child, dir, round < kills ? Math.floor(draws.next() * 4) : Number.POSITIVE_INFINITY)
  t.same(digests(dir), digests(whole))
})

/** What a child said that is killed some time after it has said so many words. */
async function killed(program: string, dir: string, after: number): Promise<string> {
  const child = spawn(process.execPath, [program, dir], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  for await (const chunk of child.stdout.setEncoding('utf8')) {
    said += chunk
    if (said.split('step').length > after) setTimeout(() => child.kill('SIGKILL'), draws.next() * 30)
  }
  return said
}

t.test('what it refuses, and that nothing is lost', async (t) => {
  const dir = folder()
  function* some() {
    yield* documents.slice(0, 800)
    throw new Error('enough')
  }
  await t.rejects(encodeCorpus(dir, some(), { model, ...settings }))
  const before = digests(dir)
  const refused = async (options: Partial<EncodeCorpusOptions>, error: { code: string; message: RegExp }) =>
    t.rejects(encode(dir, options), error, JSON.stringify(Object.keys(options)))
  const code = 'ERR_ARGUMENT'
  await refused({ type: 'int8' }, { code, message: /begun with type "float16", not "int8"/ })
  await refused({ keepTexts: false }, { code, message: /begun with keepTexts true/ })
  await refused({ shardTokens: 7 }, { code, message: /begun with shardTokens 1000/ })
  await refused({ pooling: { factor: 2 } }, { code, message: /begun with pooling null/ })
  const other = await tinyModel(2)
  await refused({ model: other }, { code, message: /other weights/ })
  other.dispose()
  const prompted = await tinyModel()
  prompted.setRecipe({ documentPrompt: 'a text: ' })
  await refused({ model: prompted }, { code: 'ERR_RECIPE', message: /begun with documentPrompt "", not "a text: "/ })
  prompted.dispose()
  for (const [what, list] of [
    ['those from number 257 to 512', documents.with(300, { ...documents[300]!, text: 'another' })],
    ['those from number 1 to 256', documents.with(0, { ...documents[0]!, metadata: {} })],
    ['it has 512, and there are 511', documents.slice(0, 511)],
  ] as const)
    await t.rejects(encode(dir, {}, list), { code: 'ERR_DATA', message: new RegExp(what) })
  await t.rejects(encode(dir, {}, [...documents.slice(0, 600), documents[3]!]), { code, message: /"d3 ü" comes twice/ })
  await t.rejects(encode(dir, {}, [...documents.slice(0, 600), { id: 'x' } as IndexDocument]), {
    code,
    message: /text is/,
  })
  t.same(digests(dir), before)
  await t.rejects(encode(whole, {}, [...documents, { id: 'x', text: 'a' }]), {
    code: 'ERR_DATA',
    message: /complete with 900/,
  })

  let start = (): void => {}
  let goOn = (): void => {}
  const writing = new Promise<void>((resolve) => {
    start = resolve
  })
  const late = new Promise<void>((resolve) => {
    goOn = resolve
  })
  const slowly = async function* () {
    start()
    await late
    yield* documents
  }
  const first = encodeCorpus(dir, slowly(), { model, ...settings })
  await writing
  await t.rejects(encode(dir), { code: 'ERR_LOCKED', message: /being written by process/ }, 'one at a time')
  goOn()
  await first
  t.same(digests(dir), digests(whole))

  const index = await Index.create(folder(), { model })
  await t.rejects(encode(index.dir), { code: 'ERR_FORMAT', message: /holds "index.json"/ })
  await index.close()
  await t.rejects(EncodedDocuments.open(temporary), { code: 'ERR_FORMAT', message: /holds no encoded documents/ })
  for (const options of [{ model: undefined }, { types: 'int8' }, { shardTokens: 0 }, { pooling: {} }])
    await t.rejects(encode(folder(), options as never), { code })
})

t.test('a byte that flipped, a file that is cut off or gone', async (t) => {
  const dir = folder()
  await encode(dir)
  for (const name of readdirSync(dir)) {
    const file = path.join(dir, name)
    const bytes = readFileSync(file)
    const bad = async (what: string, change: () => void, code: RegExp | string = 'ERR_FORMAT') => {
      change()
      const read = async () => (await EncodedDocuments.open(dir)).verify()
      await t.rejects(read(), { code }, `${name}: ${what}`)
      writeFileSync(file, bytes)
    }
    if (name.endsWith('.json'))
      for (const text of ['{', 'null', '{}', '{"lateforgeEncoded":2}', bytes.toString().replace('"float16"', '"int4"')])
        await bad(text, () => writeFileSync(file, text))
    else {
      const flipped = Buffer.from(bytes)
      flipped[Math.floor(bytes.length / 2)]! ^= 4
      await bad('flipped', () => writeFileSync(file, flipped))
      await bad('cut off', () => truncateSync(file, bytes.length - 1))
      await bad('gone', () => rmSync(file), 'ERR_FILE')
      truncateSync(file, bytes.length - 1)
      const encoded = await EncodedDocuments.open(dir)
      await t.rejects(model.search(encodedQueries, encoded), { code: 'ERR_FORMAT', message: /it was written with/ })
      writeFileSync(file, bytes)
    }
  }
})
