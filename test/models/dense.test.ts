/** Dense models: one vector a text, loaded, trained, saved and searched as sentence-transformers does it. */
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { columnFromTexts } from '../../lib/data/column.js'
import { memorySource } from '../../lib/data/sources.js'
import { parseModelName } from '../../lib/hub/name.js'
import { SafetensorsFile } from '../../lib/io/safetensors.js'
import { Colbert } from '../../lib/models/colbert.js'
import { pushModel } from '../../lib/models/formats/push.js'
import { Device } from '../../lib/tensor/device.js'
import type { RunConfig } from '../../lib/train/config/types.js'
import { openData } from '../../lib/train/data.js'
import { train } from '../../lib/train/loop/run.js'
import { fixtures, json } from './fixture.js'
import { tokenizer } from './words.js'

const temporary = t.testdir()
const seed = 20261129
t.comment(`seed ${seed}`)

let made = 0
/** A whole folder of what the fixture has, and of what others have for it. */
function folderOf(name: string): string {
  const dir = path.join(temporary, `${name}-${made++}`)
  cpSync(path.join(fixtures, 'dense', name, 'model'), dir, { recursive: true })
  const { base } = json('dense', name, 'about.json')
  for (const file of ['model.safetensors', 'tokenizer.json'])
    cpSync(path.join(fixtures, base, file), path.join(dir, file))
  return dir
}

for (const name of ['mean', 'cls'])
  t.test(`${name}: a dense model as sentence-transformers encodes, before and after saving`, async (t) => {
    const device = Device.open()
    await device.synchronize()
    const before = device.memory().bytes
    const { texts } = json('dense', name, 'about.json')
    const expected = await SafetensorsFile.open(path.join(fixtures, 'dense', name, 'expected.safetensors'))
    const model = await Colbert.load(folderOf(name), { dense: true, onNote: () => {} })
    const saved = path.join(temporary, `dense-${name}-saved`)
    await model.save(saved)
    await model.save(saved) // replaces what was there
    const again = await Colbert.load(saved, { dense: true, onNote: () => {} })
    t.same(again.recipe, model.recipe, 'the recipe survives saving')
    t.equal(model.recipe.pooling, name)
    for (const [role, encode] of [
      ['query', (m: Colbert) => m.encodeQueries(texts.query)],
      ['document', (m: Colbert) => m.encodeDocuments(texts.document)],
    ] as const) {
      const { data, offsets, dim } = await encode(model)
      t.same([...offsets], [0, 1, 2, 3, 4].slice(0, texts[role].length + 1), `one vector a ${role}`)
      t.equal(dim, model.dim)
      const theirs = await expected.floats(role)
      t.equal(data.length, theirs.length)
      const worst = data.reduce((most, x, i) => Math.max(most, Math.abs(x - theirs[i]!)), 0)
      t.ok(worst < 1e-6, `${role}: off by ${worst}`)
      t.same((await encode(again)).data, data, 'saved and loaded: the same bits')
    }
    await t.rejects(Colbert.load(saved), { code: 'ERR_FORMAT', message: /dense: true/ })
    t.ok((await pushModel(saved, parseModelName('some/model')!, { dryRun: true })).files.length > 5, 'it can be pushed')
    await expected.close()
    model.dispose()
    again.dispose()
    await device.synchronize()
    t.equal(device.memory().bytes, before, 'memory is given back')
  })

t.test('search ranks by the cosine', async (t) => {
  const model = await Colbert.load(folderOf('mean'), { dense: true, onNote: () => {} })
  const texts = ['late interaction', 'a token', 'the sum of the best', 'search text']
  const documents = await model.encodeDocuments(texts)
  const queries = await model.encodeQueries(['text search'])
  const [hits] = await model.search(queries, documents, { topK: 4 })
  const cosine = (i: number): number => {
    const row = documents.data.subarray(i * model.dim, (i + 1) * model.dim)
    return queries.data.reduce((sum, x, j) => sum + x * row[j]!, 0)
  }
  const order = texts.map((_, i) => i).sort((a, b) => cosine(b) - cosine(a))
  t.same(
    hits!.map((hit) => hit.index),
    order,
  )
  for (const { index, score } of hits!) t.ok(Math.abs(score - cosine(index)) < 1e-6)
  t.same((await model.encodeDocuments([])).offsets.length, 1)
  model.dispose()
})

t.test('what is no dense model, or does not say how it pools, is refused', async (t) => {
  const colbert = path.join(fixtures, 'checkpoints/st6/model')
  await t.rejects(Colbert.load(colbert, { dense: true }), { code: 'ERR_FORMAT', message: /no dense one/ })
  const dir = folderOf('mean')
  const load = (options: object) => Colbert.load(dir, { dense: true, onNote: () => {}, ...options })
  await t.rejects(load({ freshProjection: true }), { code: 'ERR_ARGUMENT', message: /two kinds/ })
  await t.rejects(load({ dim: 8 }), { code: 'ERR_ARGUMENT', message: /dim has no effect/ })
  await t.rejects(load({ seed: 3 }), { code: 'ERR_ARGUMENT' })
  await t.rejects(load({ recipe: { pooling: 'none' } }), { code: 'ERR_ARGUMENT', message: /pools its tokens/ })
  await t.rejects(load({ recipe: { pooling: 'cls' } }), { code: 'ERR_RECIPE', message: /pooling: "mean" in training/ })
  await t.rejects(load({ recipe: { queryExpansion: true } }), {
    code: 'ERR_RECIPE',
    message: /"queryExpansion".*pooling/,
  })
  await t.rejects(load({ recipe: { skiplistWords: ['.'] } }), {
    code: 'ERR_RECIPE',
    message: /"skiplistWords".*pooling/,
  })
  await t.rejects(load({ recipe: { clampNegatives: true } }), { code: 'ERR_RECIPE', message: /"clampNegatives"/ })
  await t.rejects(Colbert.load(colbert, { recipe: { pooling: 'mean' } }), { code: 'ERR_RECIPE' })
  const saved = path.join(temporary, 'other-layout')
  const model = await load({})
  for (const layout of ['pylate', 'stanford'] as const)
    await t.rejects(model.save(saved, { layout }), { code: 'ERR_FORMAT', message: /pooling "mean"/ })
  model.dispose()

  const encoder = folderOf('mean')
  for (const name of ['modules.json', 'config_sentence_transformers.json', '1_Pooling', '2_Normalize'])
    rmSync(path.join(encoder, name), { recursive: true })
  await t.rejects(Colbert.load(encoder, { dense: true }), { code: 'ERR_ARGUMENT', message: /pooling: 'cls'/ })
  const plain = await Colbert.load(encoder, { dense: true, recipe: { pooling: 'mean' } })
  const same = await load({})
  t.same((await plain.encodeQueries(['a token'])).data, (await same.encodeQueries(['a token'])).data)
  plain.dispose()
  same.dispose()
})

t.test('settings that sentence-transformers computes otherwise are refused by name', async (t) => {
  const edits: [file: string, change: object, message: RegExp][] = [
    ['1_Pooling/config.json', { pooling_mode: 'max' }, /pooling_mode/],
    ['1_Pooling/config.json', { pooling_mode: ['mean', 'cls'] }, /pooling_mode/],
    ['1_Pooling/config.json', { pooling_mode: 'mean', window: 3 }, /"window"/],
    ['1_Pooling/config.json', { pooling_mode_cls_token: true, pooling_mode_max_tokens: true }, /pooling_mode/],
    ['config_sentence_transformers.json', { similarity_fn_name: 'euclidean' }, /euclidean/],
    ['config_sentence_transformers.json', { default_prompt_name: 'query' }, /default_prompt_name/],
    ['config_sentence_transformers.json', { truncate_dim: 8 }, /truncate_dim/],
    ['config_sentence_transformers.json', { temperature: 8 }, /temperature/],
    ['2_Normalize/config.json', { module_input_name: 'token_embeddings' }, /token_embeddings/],
  ]
  for (const [file, change, message] of edits) {
    const dir = folderOf('mean')
    writeFileSync(path.join(dir, file), JSON.stringify(change))
    await t.rejects(Colbert.load(dir, { dense: true }), { code: 'ERR_FORMAT', message }, `${file}: ${message}`)
  }
  const unpooled = folderOf('mean')
  const modules = JSON.parse(readFileSync(path.join(unpooled, 'modules.json'), 'utf8'))
  writeFileSync(path.join(unpooled, 'modules.json'), JSON.stringify([modules[0], modules[2]]))
  await t.rejects(Colbert.load(unpooled, { dense: true }), { code: 'ERR_FORMAT', message: /a Pooling/ })
  const prompted = folderOf('mean')
  writeFileSync(
    path.join(prompted, '1_Pooling/config.json'),
    JSON.stringify({ pooling_mode: 'mean', include_prompt: false }),
  )
  ;(await Colbert.load(prompted, { dense: true, onNote: () => {} })).dispose() // there is no prompt to leave out
  writeFileSync(
    path.join(prompted, 'config_sentence_transformers.json'),
    JSON.stringify({ prompts: { query: 'q: ', document: '' } }),
  )
  await t.rejects(Colbert.load(prompted, { dense: true }), { code: 'ERR_FORMAT', message: /include_prompt/ })

  const old = folderOf('mean')
  const flags = { word_embedding_dimension: 32, pooling_mode_cls_token: true, pooling_mode_mean_tokens: false }
  writeFileSync(path.join(old, '1_Pooling/config.json'), JSON.stringify(flags))
  const cls = await Colbert.load(old, { dense: true, onNote: () => {} })
  t.equal(cls.recipe.pooling, 'cls', "old folders' flags")
  cls.dispose()
})

t.test('a dense model learns, and resumes as what it is', async (t) => {
  const rows = [
    { query: 'late interaction', documents: ['a kind of retrieval', 'one vector'] },
    { query: 'one vector', documents: ['one vector for the whole text', 'a token'] },
    { query: 'per token', documents: ['keeps one vector per token', 'the text is late'] },
    { query: 'kind of retrieval', documents: ['retrieval that is late', 'not one token'] },
  ]
  for (const pooling of ['cls', 'mean'] as const) {
    const model = await Colbert.create(
      {
        ...{ architecture: 'modernbert', layers: 1, width: 16, heads: 1, positions: 16, dropout: 0 },
        ...{ tokenizer, recipe: { pooling, queryLength: 12, documentLength: 12 } },
      },
      { seed },
    )
    t.equal(model.dim, 16, 'no projection unless asked for')
    const start = path.join(temporary, `start-${pooling}`)
    await model.save(start)
    const options = { cacheDir: path.join(temporary, 'cache'), workers: 0 }
    const data = await openData({
      ...options,
      sources: [memorySource('rows', rows)],
      featurizer: model.featurizer,
      batch: 2,
      seed,
    })
    for (const [rank, ranks] of [
      [0, 1],
      [0, 2],
      [1, 2],
    ] as const) {
      const batch = await data.at(0, { rank, ranks, documents: true })
      t.same([...batch.queryOffsets], [0, 1, 2], 'one row a query, of all ranks')
      t.same([...batch.documentOffsets!], [0, 1, 2, 3, 4], 'and a document')
      t.equal(batch.documents.keptOffsets.at(-1), batch.documents.offsets.length - 1)
    }
    data.close()
    // By its folder, as the command line trains; then the same in one go, and resumed.
    const config = (out: string): RunConfig => ({
      ...{ model: start, dense: true, out: path.join(temporary, out), seed, ...options },
      phases: [
        {
          ...{ name: 'one', loss: 'contrastive', data: [memorySource('rows', rows)], batch: 2, temperature: 0.1 },
          ...{ epochs: 40, learningRate: 2e-3, checkpoint: { every: 10 } },
        },
      ],
    })
    const lossesOf = async (
      run: ReturnType<typeof train>,
      until = Number.POSITIVE_INFINITY,
      stop?: AbortController,
    ) => {
      const losses: number[] = []
      for await (const event of run) if (event.type === 'step' && losses.push(event.loss) === until) stop!.abort()
      return losses
    }
    const run = train(config(`run-${pooling}`))
    const losses = await lossesOf(run)
    const { model: trained } = await run.result
    const mean = (some: number[]): number => some.reduce((sum, loss) => sum + loss, 0) / some.length
    t.ok(
      mean(losses.slice(-8)) < 0.6 * mean(losses.slice(0, 8)),
      `${pooling}: losses ${losses.map((x) => x.toFixed(2)).join(' ')}`,
    )
    const stop = new AbortController()
    const part = train(config(`part-${pooling}`), { signal: stop.signal })
    part.result.catch(() => {})
    await lossesOf(part, 25, stop).catch(() => {})
    const resumed = train(config(`part-${pooling}`), { resume: 'latest' })
    const rest = await lossesOf(resumed)
    const { model: same } = await resumed.result
    t.same(rest, losses.slice(-rest.length), `resumed: the same ${rest.length} losses`)
    t.ok(rest.length > 0 && rest.length < losses.length)
    for (const each of [model, trained, same]) each.dispose()
  }
})

t.test('columns of a dense model have one row a text', async (t) => {
  const model = await Colbert.load(folderOf('cls'), { dense: true, onNote: () => {} })
  const column = columnFromTexts(model.featurizer, ['a token', '', 'text'], 'document')
  t.same([...column.keptOffsets], [0, 1, 2, 3])
  t.equal(column.keep, null)
  model.dispose()
})
