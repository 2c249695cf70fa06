/** What each target is given: every document, bit for bit, in the shape that its makers document. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { type ExportTarget, exportIndex } from '../../lib/export/index.js'
import { decimal } from '../../lib/export/numbers.js'
import { uuidOf } from '../../lib/export/uuid.js'
import { EncodedDocuments, encodeCorpus, Index } from '../../lib/indexing/index.js'
import { Random } from '../../lib/io/random.js'
import { folder, tinyModel } from '../train/tiny.js'
import { dim, ids, left, makeIndex, stored } from './scenario.js'

const run = promisify(execFile)
const place = folder(t)
const index = await makeIndex(place, 'int8')
const expected = await stored(index)
t.teardown(() => index.close())
const read = (...names: string[]) => readFileSync(path.join(place, ...names), 'utf8')
const lines = (...names: string[]) =>
  read(...names)
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
/** As float32 reads it. */
const rounded = (vectors: number[][]) => vectors.map((vector) => vector.map(Math.fround))
const first = expected.get(left[0]!)!

t.test('decimals are short, and the same number to float32', async (t) => {
  const random = new Random(1)
  const bits = new Uint32Array(1)
  const [float] = [new Float32Array(bits.buffer)]
  for (let i = 0; i < 20_000; i++) {
    bits[0] = random.integer(2 ** 32)
    if (Number.isFinite(float[0]) && !Object.is(Math.fround(Number(decimal(float[0]!))) + 0, float[0]! + 0))
      t.fail(`${float[0]} became ${decimal(float[0]!)}`)
  }
  t.same(
    [0.1, -0.25, 0, 1, -2.5, 1e-30].map((x) => Number(decimal(Math.fround(x)))),
    [0.1, -0.25, 0, 1, -2.5, 1e-30],
  )
  t.equal(decimal(Math.fround(-0.1)), '-0.100000')
  t.throws(() => decimal(Number.NaN), { code: 'ERR_DATA' })
})

t.test('a UUID is of its id alone, version 5', async (t) => {
  t.match(uuidOf('a'), /^[\da-f]{8}-[\da-f]{4}-5[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/)
  t.equal(uuidOf('a'), uuidOf('a'))
  t.not(uuidOf('a'), uuidOf('b'))
})

t.test('an index streams as it was when that began', async (t) => {
  const other = await makeIndex(folder(t), 'int8')
  const seen: string[] = []
  for await (const { ids } of other.stream()) {
    seen.push(...ids)
    await other.delete(['a', 'd7'])
    await other.compact()
  }
  t.same(
    seen,
    ids.filter((id) => id !== 'gone'),
  )
  t.equal((await other.info()).documents, 5)
  await other.close()
})

t.test('it counts what goes out', async (t) => {
  const seen: number[] = []
  const result = await exportIndex('qdrant', index, path.join(place, 'qdrant'), {
    name: 'books',
    onProgress: ({ done }) => seen.push(done),
  })
  const tokens = [...expected.values()].reduce((sum, { vectors }) => sum + vectors.length, 0)
  t.match(result, { name: 'books', documents: 6, tokens, widened: tokens, withoutText: 1, withoutVectors: 1 })
  t.ok(result.bytes > 1000)
  t.same(seen, [4, 7])
})

t.test('qdrant', async (t) => {
  t.match(JSON.parse(read('qdrant', 'collection.json')), {
    vectors: { size: dim, distance: 'Dot', multivector_config: { comparator: 'max_sim' } },
  })
  const points = lines('qdrant', 'points.jsonl').flatMap((body) => body.points)
  t.same(
    points.map(({ id, payload, vector }) => [id, payload.id, rounded(vector), payload.text, payload.metadata]),
    left.map((id) => {
      const { vectors, text, metadata } = expected.get(id)!
      return [uuidOf(id), id, vectors, text, metadata]
    }),
  )
  t.same(rounded(JSON.parse(read('qdrant', 'query.json')).query), first.vectors)
})

t.test('vespa', async (t) => {
  await exportIndex('vespa', index, path.join(place, 'vespa'), { name: 'books' })
  const found = lines('vespa', 'feed.jsonl').map(({ put, fields: { id, text, metadata, colbert } }) => [
    put,
    id,
    text,
    JSON.parse(metadata),
    Object.keys(colbert).map((token) =>
      Array.from({ length: dim }, (_, k) => Buffer.from(colbert[token], 'hex').readFloatBE(4 * k)),
    ),
  ])
  t.same(
    found,
    left.map((id) => {
      const { vectors, text, metadata } = expected.get(id)!
      return [`id:books:books::${id}`, id, text.replace('\u0007', ' '), metadata, vectors]
    }),
  )
  const query = JSON.parse(read('vespa', 'query.json'))
  t.same(rounded(Object.values(query['input.query(qt)'])), first.vectors)
  const schema = read('vespa', 'application', 'schemas', 'books.sd')
  t.match(schema, /schema books \{/)
  t.match(schema, `tensor<float>(dt{}, x[${dim}])`)
  t.equal(schema.split('{').length, schema.split('}').length)
  t.match(read('vespa', 'application', 'services.xml'), /<document type="books" mode="index"\/>/)
})

/** Bodies of all targets: each has some of this. */
interface Body {
  points: { payload: { id: string; text: string }; vector: number[][] }[]
  objects: { properties: { docid: string; text: string }; vectors: { colbert: number[][] } }[]
  data: { id: string; text: string; metadata: unknown; tokens: { vector: number[] }[] }[]
  documents: { embeddings: number[][] }[]
  metadata: { id: string; text: string }[]
}

/** Requests of a target, what its bodies say, and how it says yes and no. */
interface Dialogue {
  creates: string
  loads: string
  searches?: string
  told(body: Body): [string, string, number[][]][]
  yes: object
  no: { status: number; body: object }
}

const plain = { yes: {}, no: { status: 400, body: {} } }
const dialogues: Partial<Record<ExportTarget, Dialogue>> = {
  qdrant: {
    creates: 'PUT /collections/books',
    loads: 'PUT /collections/books/points?wait=true',
    searches: 'POST /collections/books/points/query',
    told: ({ points }) => points.map(({ payload: { id, text }, vector }) => [id, text, vector]),
    ...plain,
  },
  weaviate: {
    creates: 'POST /v1/schema',
    loads: 'POST /v1/batch/objects',
    told: ({ objects }) => objects.map(({ properties: { docid, text }, vectors }) => [docid, text, vectors.colbert]),
    yes: [{ result: {} }],
    no: { status: 200, body: [{ result: {} }, { result: { errors: { error: [{ message: 'no' }] } } }] },
  },
  milvus: {
    creates: 'POST /v2/vectordb/collections/create',
    loads: 'POST /v2/vectordb/entities/insert',
    searches: 'POST /v2/vectordb/entities/search',
    told: ({ data }) => data.map(({ id, text, tokens }) => [id, text, tokens.map(({ vector }) => vector)]),
    yes: { code: 0 },
    no: { status: 200, body: { code: 1100, message: 'no' } },
  },
  'next-plaid': {
    creates: 'POST /indices',
    loads: 'POST /indices/books/update',
    searches: 'POST /indices/books/search',
    told: ({ documents, metadata }) =>
      documents.map(({ embeddings }, i) => [metadata[i]!.id, metadata[i]!.text, embeddings]),
    ...plain,
  },
}

for (const [target, { creates, loads, searches, told, yes, no }] of Object.entries(dialogues) as [
  ExportTarget,
  Dialogue,
][])
  t.test(`${target}: its program sends all of it, and stops at a refusal`, async (t) => {
    if (target !== 'qdrant') await exportIndex(target, index, path.join(place, target), { name: 'books' })
    const got: { call: string; body: Body }[] = []
    /** How it answers the second request. */
    let second: { status: number; body: object } | null = { status: 503, body: {} }
    const server = createServer(async (request, response) => {
      let body = ''
      for await (const part of request) body += part
      got.push({ call: `${request.method} ${request.url}`, body: JSON.parse(body) })
      const answer = (got.length === 2 && second) || { status: 200, body: yes }
      response.statusCode = answer.status
      response.end(JSON.stringify(answer.body))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => server.close())
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const program = (name: string) => run(process.execPath, [path.join(place, target, name), url])
    await program('load.mjs')
    t.same(
      got.map(({ call }) => call),
      [creates, loads, loads],
      'sent again after 503',
    )
    const loaded = told(got[2]!.body)
    t.same(
      loaded.map(([id, text, vectors]) => [id, text, rounded(vectors)]),
      left.map((id) => [id, expected.get(id)!.text, expected.get(id)!.vectors]),
    )
    got.length = 0
    if (searches) {
      t.equal((await program('query.mjs')).stdout.trim(), JSON.stringify(yes))
      t.equal(got[0]!.call, searches)
    }
    second = no
    got.length = 0
    await t.rejects(program('load.mjs'))
    t.equal(got.length, 2)
  })

t.test('without texts, as float16, float32 and residual codes', async (t) => {
  for (const type of ['float16', 'float32', 'residual4'] as const) {
    const other = await makeIndex(place, type, 1)
    const result = await exportIndex('milvus', other, path.join(place, `bare-${type}`), { texts: false })
    t.equal(result.widened, type === 'float32' ? 0 : result.tokens)
    const vectors = await stored(other)
    const data = lines(`bare-${type}`, 'entities.jsonl').flatMap((body: Body) => body.data)
    t.same(
      data.map(({ id, text, metadata, tokens }) => [id, text, metadata, rounded(tokens.map(({ vector }) => vector))]),
      left.map((id) => [id, '', {}, vectors.get(id)!.vectors]),
    )
    await other.close()
  }
})

t.test('what it refuses, and nothing is left of it', async (t) => {
  const before = readdirSync(place)
  const out = path.join(place, 'none')
  await t.rejects(exportIndex('quadrant' as never, index, out), {
    code: 'ERR_ARGUMENT',
    message: /did you mean "qdrant"/,
  })
  await t.rejects(exportIndex('qdrant', index, place), { code: 'ERR_FILE', message: /is there already/ })
  await t.rejects(exportIndex('qdrant', index, out, { name: '1; drop' }), { code: 'ERR_ARGUMENT', message: /name is/ })
  await t.rejects(exportIndex('qdrant', index, out, { signal: AbortSignal.abort() }), { code: 'ERR_ABORTED' })
  await t.rejects(exportIndex('qdrant', {} as never, out), { message: /expected an index/ })
  const { Index } = await import('../../lib/indexing/index.js')
  const empty = await Index.create(path.join(place, 'nothing'), { dim })
  await t.rejects(exportIndex('vespa', empty, out), { code: 'ERR_DATA', message: /no documents to export/ })
  const one = { data: new Float32Array(dim).fill(1), offsets: [0, 1], dim, role: 'document' as const }
  await empty.addEmbeddings({ ...one, ids: ['x'] }, { kept: [{ text: 'x'.repeat(70_000) }] })
  await empty.addEmbeddings({ ...one, ids: ['bell\u0007'] })
  await t.rejects(exportIndex('vespa', empty, out), { code: 'ERR_DATA', message: /has a control character/ })
  await t.rejects(exportIndex('milvus', empty, out), { code: 'ERR_DATA', message: /"x" has a text of 70000 bytes/ })
  await empty.close()
  t.same(
    readdirSync(place).filter((name) => name !== 'nothing'),
    before,
  )
})

t.test('encoded documents go out as the index that has them does', async (t) => {
  const dir = folder(t)
  const model = await tinyModel()
  const documents = ['w1 w2', 'w3, w4', 'w5 w6 w7', 'w8'].map((text, i) => ({
    ...{ id: `d${i}`, text },
    ...(i === 1 && { metadata: { year: 1999 } }),
  }))
  const encoded = path.join(dir, 'encoded')
  await encodeCorpus(encoded, documents, { model, keepTexts: true, type: 'int8' })
  const shards = await EncodedDocuments.open(encoded)
  const same = await Index.create(path.join(dir, 'index'), { model })
  await same.add(documents)
  model.dispose()
  const contents = async (target: ExportTarget, from: Index | EncodedDocuments, options = {}) => {
    const out = path.join(dir, `${target}-${from.dir === encoded}-${Object.keys(options)}`)
    const result = await exportIndex(target, from, out, options)
    t.match(result, { documents: 4, widened: result.tokens })
    return readdirSync(out, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => [name, readFileSync(path.join(parentPath, name), 'utf8')])
  }
  for (const target of ['qdrant', 'vespa', 'weaviate', 'milvus', 'next-plaid'] as const)
    for (const options of [{}, { texts: false }])
      t.same(await contents(target, shards, options), await contents(target, same, options), target)
  await same.close()
  const without = path.join(dir, 'without')
  const again = await tinyModel()
  await encodeCorpus(without, documents, { model: again, type: 'float32' })
  again.dispose()
  const bare = await exportIndex('qdrant', await EncodedDocuments.open(without), path.join(dir, 'bare'))
  t.match(bare, { documents: 4, widened: 0, withoutText: 4 })
  await t.rejects(exportIndex('qdrant', {} as never, path.join(dir, 'none')), {
    ...{ code: 'ERR_ARGUMENT', message: /an index, as Index.open gives it, or encoded documents/ },
  })
})
