/** What the endpoints answer: what the library itself says, and what the description promises. */
import path from 'node:path'
import t from 'tap'
import { Index, type Where } from '../../lib/indexing/index.js'
import { Random } from '../../lib/io/random.js'
import { explain } from '../../lib/models/explain.js'
import { createClient } from '../../lib/serve/client.js'
import { createHandler } from '../../lib/serve/index.js'
import { schemasOf } from '../../lib/serve/schemas.js'
import { seed } from '../seed.js'
import { tinyModel } from '../train/tiny.js'
import { listening, phrases, post, read, served } from './served.js'

const random = new Random(seed)
const schemas = schemasOf({ maxTexts: 1000 })

t.test('embed: the numbers of the library, as JSON and as float16', async (t) => {
  const { model, handler, url } = await listening(t)
  const texts = phrases(random, 40)
  for (const role of ['query', 'document'] as const) {
    const expected = role === 'query' ? await model.encodeQueries(texts) : await model.encodeDocuments(texts)
    const { status, body } = await read(handler(post('/v1/embed', { role, texts })))
    t.equal(status, 200)
    schemas.EmbedResponse.parse(body)
    t.equal(body.recipe, model.recipeHash)
    t.same(body.embeddings.flat(2), [...expected.data], `${role}: every number`)
    t.same(
      body.embeddings.map((rows: unknown[]) => rows.length),
      [...expected.offsets].slice(1).map((end, i) => end - expected.offsets[i]!),
    )
    const binary = await createClient(url).embed({ role, texts })
    t.same(binary.offsets, [...expected.offsets])
    t.equal(binary.usage.tokens, body.usage.tokens)
    const worst = binary.data.reduce((most, x, i) => Math.max(most, Math.abs(x - expected.data[i]!)), 0)
    t.ok(binary.data.length === expected.data.length && worst < 2 ** -11, `${role}: float16, off by ${worst}`)
  }
})

t.test('rank and rerank: the hits of the library', async (t) => {
  const { model, handler } = await served(t, { name: 'tiny' })
  const [query, ...texts] = phrases(random, 31) as [string, ...string[]]
  const expected = await model.rank(query, texts)
  const { body } = await read(handler(post('/v1/rank', { query, texts })))
  schemas.RankResponse.parse(body)
  t.same(body.hits, expected)
  t.same((await read(handler(post('/v1/rank', { query, texts, topK: 3 })))).body.hits, expected.slice(0, 3))
  const documents = texts.map((text, i) => (i % 2 ? text : { text }))
  for (const path of ['/rerank', '/v1/rerank', '/v2/rerank']) {
    const asked = { model: 'tiny', query, documents, top_n: 5, return_documents: true }
    const reranked = (await read(handler(post(path, asked)))).body
    schemas.RerankResponse.parse(reranked)
    t.same(
      reranked.results,
      expected.slice(0, 5).map(({ index, score }) => ({
        ...{ index, relevance_score: score / body.queryTokens },
        document: { text: texts[index] },
      })),
    )
    t.ok(reranked.results.every((result: { relevance_score: number }) => result.relevance_score <= 1 + 1e-6))
  }
  t.match(await read(handler(post('/rerank', { model: 'rerank-v3.5', query, documents }))), {
    ...{ status: 404, body: { error: { reason: 'model', message: /there is no model "rerank-v3.5" here.*"tiny"/ } } },
  })
})

t.test('search: the hits of the index, for requests that ask alike and for others', async (t) => {
  const model = await tinyModel()
  t.teardown(() => model.dispose())
  const index = await Index.create(path.join(t.testdir(), 'index'), { model })
  const documents = phrases(random, 80)
  await index.add(documents.map((text, i) => ({ id: `d${i}`, text, metadata: { number: i } })))
  const handler = createHandler(model, { index })
  const queries = phrases(random, 24, 4)
  const ways = [
    {},
    { topK: 3 },
    { ids: ['d1', 'd5', 'none'] },
    { where: { number: { $lt: 30 } }, topK: 4 },
    { where: { number: { $in: [5, 6, 70] } }, ids: ['d1', 'd5', 'd70'] },
    { withTexts: true, topK: 2 },
    { explain: true, topK: 1 },
  ]
  await Promise.all(
    queries.flatMap((query, i) =>
      ways.map(async (way: { ids?: string[]; where?: Where }) => {
        const asked = [query, queries[(i + 1) % queries.length]!]
        const { ids, where, ...rest } = way
        const filter = { ...(ids && { ids }), ...(where && { where }) }
        const expected = await index.search(asked, { ...rest, ...((ids || where) && { filter }) })
        const { status, body } = await read(handler(post('/v1/search', { queries: asked, ...way })))
        t.equal(status, 200)
        schemas.SearchResponse.parse(body)
        t.same(body.results, expected, JSON.stringify(way))
      }),
    ),
  )
  t.match(await read(handler(new Request('http://localhost/health'))), {
    status: 200,
    body: { status: 'ok', index: { documents: 80, type: 'int8' }, model: { device: 'cpu', dim: 16 }, inFlight: 0 },
  })
  t.match(await read(handler(post('/v1/search', { queries, topK: 1000 }))), {
    ...{ status: 400, body: { error: { message: /24 queries with 1000 hits each are more than 10000/ } } },
  })
  for (const [where, message] of [
    [{ number: { lt: 3 } }, 'where: "number" has no option "lt"; did you mean "$lt"?'],
    [{}, 'where: expected fields'],
    [{ $where: 'while (true);' }, 'there is no "$where"'],
    [{ number: { $in: Array.from({ length: 257 }, (_, i) => i) } }, 'more than 256 values to compare with'],
    [JSON.parse(`${'{"$or":['.repeat(40)}{"a":1}${']}'.repeat(40)}`), 'more than 32 levels'],
  ] as const) {
    const { status, body } = await read(handler(post('/v1/search', { queries, where })))
    t.equal(status, 400)
    t.ok(body.error.message.includes(message), body.error.message)
  }
  for (let i = 0; i < 40; i++) {
    const { body } = await read(handler(post('/v1/search', { queries: ['w1'], where: { number: i } })))
    t.same(
      body.results[0].map(({ id }: { id: string }) => id),
      [`d${i}`],
    )
  }
  await index.add([{ id: 'late', text: 'w1', metadata: { number: 39 } }])
  const { body } = await read(handler(post('/v1/search', { queries: ['w1'], where: { number: 39 } })))
  t.same(body.results[0].map(({ id }: { id: string }) => id).sort(), ['d39', 'late'], 'what came since, too')
  await index.close()
  const { handler: without } = await served(t)
  t.match(await read(without(post('/v1/search', { queries }))), { status: 404, body: { error: { reason: 'index' } } })
})

t.test('explain: matches add up to the score of rank', async (t) => {
  const { model, handler } = await served(t)
  const [query, texts] = ['w1 w3', phrases(random, 8)]
  const all = [...texts, 'w1, w2.']
  const { body } = await read(handler(post('/v1/explain', { query, texts: all })))
  schemas.ExplainResponse.parse(body)
  const scores = new Map((await model.rank(query, all)).map(({ index, score }) => [index, score]))
  for (const [i, text] of body.documents.entries()) {
    t.ok(Math.abs(text.score - scores.get(i)!) < 1e-5)
    for (const { query: q, token, score } of text.matches) {
      for (const { kind } of [body.query.tokens[q], text.tokens[token]]) t.ok(kind !== 'skipped' && kind !== 'cut')
      t.ok(score <= 1 + 1e-6)
    }
  }
  const { usage, ...explanation } = body
  t.match(usage, { truncated: 0 })
  t.same(explanation, JSON.parse(JSON.stringify(await explain(model, query, all))), 'what the library says')
  const shown = body.documents.at(-1).tokens.map(({ text, kind }: { text: string; kind: string }) => [text, kind])
  t.same(
    shown.filter(([text]: [string]) => /^(w\d|[.,])$/.test(text)),
    [
      ['w1', 'text'],
      [',', 'skipped'],
      ['w2', 'text'],
      ['.', 'skipped'],
    ],
    'punctuation is read and left out',
  )
  t.ok(
    body.query.tokens.some(({ text }: { text: string }) => text === '[MASK]'),
    'expansion',
  )
})

t.test('OpenAPI: everything that is served is described', async (t) => {
  const { handler } = await served(t, { basePath: '/api', token: 'x'.repeat(16), maxTexts: 7 })
  const headers = { authorization: `Bearer ${'x'.repeat(16)}` }
  const { body } = await read(handler(new Request('http://localhost/api/openapi.json', { headers })))
  t.equal(body.openapi, '3.1.0')
  t.same(Object.keys(body.paths).sort(), [
    '/api/health',
    '/api/metrics',
    '/api/openapi.json',
    '/api/ready',
    '/api/rerank',
    ...['embed', 'explain', 'rank', 'rerank', 'search'].map((verb) => `/api/v1/${verb}`),
    '/api/v2/rerank',
  ])
  t.equal(body.components.schemas.EmbedRequest.properties.texts.maxItems, 7)
  const text = JSON.stringify(body)
  for (const [, name] of text.matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)) t.ok(body.components.schemas[name!])
  for (const [path, at] of Object.entries<Record<string, object>>(body.paths))
    for (const method of Object.keys(at)) {
      const request = new Request(`http://localhost${path}`, { method: method.toUpperCase(), headers })
      t.not((await handler(request)).status, 404, `${method} ${path}`)
      t.not((await handler(request)).status, 405, `${method} ${path}`)
    }
})
