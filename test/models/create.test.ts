import path from 'node:path'
import t from 'tap'
import { Colbert } from '../../lib/models/colbert.js'
import { Device } from '../../lib/tensor/device.js'
import { texts as some, tokenizer } from './words.js'

const texts = some.slice(0, 3)

for (const architecture of ['modernbert', 'bert', 'roberta', 'xlm-roberta'] as const)
  t.test(`${architecture}: create, embed, save, load`, async (t) => {
    const device = Device.open()
    await device.synchronize()
    const before = device.memory()
    const shape = { architecture, layers: 4, width: 64, heads: 2, dim: 16, positions: 256, tokenizer }
    const model = await Colbert.create(shape, { seed: 3 })
    const folder = path.join(t.testdir(), 'model')
    await model.save(folder)
    await model.save(folder) // replaces what was there
    const again = await Colbert.load(folder)
    const queries = await model.encodeQueries(texts)
    const documents = await model.encodeDocuments(texts, { ids: ['x', 'y', 'z'] })
    t.same(await again.encodeQueries(texts), queries, 'bit-equal queries')
    t.same((await again.encodeDocuments(texts)).data, documents.data, 'bit-equal documents')
    t.same([...queries.offsets], [0, 32, 64, 96], 'queries are expanded')
    t.same([...documents.offsets], [0, 7, 19, 23], 'the full stop and the comma are skipped')
    for (const { data } of [queries, documents])
      for (let row = 0; row < data.length / 16; row++)
        t.ok(Math.abs(Math.hypot(...data.subarray(row * 16, row * 16 + 16)) - 1) < 1e-5, 'unit norm')
    const hits = await model.search(queries, documents, { topK: 2 })
    t.same(
      hits.map((h) => h.length),
      [2, 2, 2],
    )
    t.ok(hits.every(([a, b]) => a!.score >= b!.score && 'xyz'[a!.index] === a!.id))
    const cut = await model.encodeDocuments(texts, { microBatchTokens: 5 })
    t.ok(
      cut.data.every((x, i) => Math.abs(x - documents.data[i]!) < 1e-5),
      'micro-batches do not matter',
    )
    model.dispose()
    again.dispose()
    await device.synchronize()
    const after = device.memory()
    t.same([after.tensors, after.bytes], [before.tensors, before.bytes], 'memory is given back')
  })

t.test('streams, aborts and ranks; the event loop stays free', async (t) => {
  const shape = { architecture: 'modernbert', layers: 4, width: 128, heads: 2, dim: 32, tokenizer } as const
  const model = await Colbert.create(shape, { seed: 3 })
  const many = Array.from({ length: 300 }, (_, i) => some[i % 4]!)
  const whole = await model.encodeDocuments(many)
  const seen: number[] = []
  async function* source() {
    yield* many
  }
  for await (const part of model.streamDocuments(source(), { microBatchTokens: 200 })) seen.push(...part.data)
  t.equal(seen.length, whole.data.length)
  t.ok(
    seen.every((x, i) => Math.abs(x - whole.data[i]!) < 1e-5),
    'a stream gives the same',
  )

  let ticks = 0
  const timer = setInterval(() => ticks++, 1)
  await model.encodeDocuments(many, { microBatchTokens: 500 })
  clearInterval(timer)
  t.ok(ticks > 3, `${ticks} ticks`)

  const controller = new AbortController()
  const aborted = model.encodeDocuments(many, { microBatchTokens: 100, signal: controller.signal })
  setImmediate(() => controller.abort())
  await t.rejects(aborted, { code: 'ERR_ABORTED' })
  const before = model.device.memory()
  for await (const _ of model.streamDocuments(many, { microBatchTokens: 100 })) break
  await model.device.synchronize()
  t.equal(model.device.memory().bytes, before.bytes, 'leaving a stream early leaves nothing behind')

  const ranked = await model.rank(some[1]!, some)
  t.equal(ranked.length, 4)
  t.ok(ranked.every(({ score }, i) => i === 0 || score <= ranked[i - 1]!.score))
  t.same(await model.rank('a', []), [])
  t.equal((await model.encodeQueries([])).data.length, 0)
  await t.rejects(model.encodeQueries('text' as never), { code: 'ERR_ARGUMENT' })
  await t.rejects(model.encodeDocuments(['a', 5 as never]), { code: 'ERR_ARGUMENT' })
  await t.rejects(model.encodeDocuments(['a'], { ids: [] }), { code: 'ERR_ARGUMENT' })
  await t.rejects(model.encodeDocuments(['a'], { microBatchTokens: 0 }), { code: 'ERR_ARGUMENT' })
  const other = await Colbert.create({ ...shape, recipe: { queryPrompt: 'one ' } })
  await t.rejects(model.search(await other.encodeQueries(['a']), whole), { code: 'ERR_RECIPE' })
  model.dispose()
  other.dispose()
})

t.test('a head of several layers with residuals', async (t) => {
  const head = [
    { out: 96, residual: true },
    { out: 64, residual: true, activation: 'gelu', bias: true },
    { out: 16 },
  ] as const
  const shape = { architecture: 'modernbert', layers: 1, width: 64, heads: 2, positions: 256, tokenizer } as const
  const model = await Colbert.create({ ...shape, head }, { seed: 3 })
  t.same(
    model.parameters.entries.filter(({ name }) => name.includes('_Dense')).map(({ name, shape }) => [name, shape]),
    [
      ['1_Dense.linear.weight', [96, 64]],
      ['1_Dense.residual.weight', [96, 64]],
      ['2_Dense.linear.weight', [64, 96]],
      ['2_Dense.linear.bias', [64]],
      ['2_Dense.residual.weight', [64, 96]],
      ['3_Dense.linear.weight', [16, 64]],
    ],
  )
  t.equal(model.dim, 16)
  const bound = Math.max(...(await model.parameters.get('1_Dense.residual.weight').values()).map(Math.abs))
  t.ok(bound <= 1 / 8 && bound > 0.12, `PyLate's start: uniform in ± 64^-½, found ${bound}`)
  const folder = path.join(t.testdir(), 'model')
  await model.save(folder)
  const again = await Colbert.load(folder)
  t.same((await again.encodeDocuments(texts)).data, (await model.encodeDocuments(texts)).data)
  for (const each of [model, again]) each.dispose()
  const bad: [unknown, RegExp][] = [
    [[], /no list of layers/],
    [[{ out: 12 }], /head\[0\]\.out is 12, expected a multiple of 8/],
    [[{ out: 16, residul: true }], /head\[0\] has no "residul"; did you mean "residual"/],
    [[{ out: 16, activation: 'gelo' }], /did you mean "gelu"/],
    [[{ out: 16, bias: 1 }], /bias is 1/],
  ]
  for (const [layers, message] of bad)
    await t.rejects(Colbert.create({ ...shape, head: layers as never }), { code: 'ERR_CONFIG', message })
  await t.rejects(Colbert.create({ ...shape, head, dim: 16 }), { code: 'ERR_CONFIG', message: /not both/ })
})
