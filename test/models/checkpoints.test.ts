import { cpSync, existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { columnFromTexts } from '../../lib/data/column.js'
import { SafetensorsFile } from '../../lib/io/safetensors.js'
import { Colbert } from '../../lib/models/colbert.js'
import { Device } from '../../lib/tensor/device.js'
import { encodesAs, fixtures, json } from './fixture.js'

const temporary = t.testdir()

for (const [layout, reader] of [
  ['pylate', 'pylate'],
  ['pylate', 'st6'],
  ['st6', 'st6'],
  ['stanford', 'pylate'],
  ['stanford', 'st6'],
] as const)
  t.test(`${layout} folder, as ${reader} reads it`, async (t) => {
    const device = Device.open()
    await device.synchronize()
    const before = device.memory()
    const folder = path.join(fixtures, 'checkpoints', layout)
    const { texts } = json('checkpoints', layout, 'about.json')
    const expected = await SafetensorsFile.open(path.join(folder, `expected-${reader}.safetensors`))
    const model = await Colbert.load(path.join(folder, 'model'))
    const saved = path.join(temporary, `${layout}-${reader}`)
    await model.save(saved)
    const again = await Colbert.load(saved)
    t.same(again.recipe, model.recipe, 'the recipe survives saving')
    for (const role of ['query', 'document'] as const) {
      const column = columnFromTexts(model.featurizer, texts, role)
      t.same([...column.ids], [...(await expected.numbers(`${role}.ids`))], `${role} ids`)
      t.same([...column.offsets], [...(await expected.numbers(`${role}.offsets`))], `${role} offsets`)
      t.same([...column.keyLengths], [...(await expected.numbers(`${role}.attended`))], `${role} tokens attended to`)
      await encodesAs(t, expected, role, texts, { model, 'saved and loaded': again })
    }
    await expected.close()
    model.dispose()
    again.dispose()
    await device.synchronize()
    t.same(device.memory().bytes, before.bytes, 'memory is given back')
  })

t.test('a plain encoder becomes a model only when asked to', async (t) => {
  const dir = path.join(temporary, 'plain')
  cpSync(path.join(fixtures, 'checkpoints/pylate/model'), dir, { recursive: true })
  for (const name of ['modules.json', 'config_sentence_transformers.json', '1_Dense', '2_Dense'])
    rmSync(path.join(dir, name), { recursive: true })
  await t.rejects(Colbert.load(dir), { code: 'ERR_FORMAT', message: /freshProjection: true/ })
  await t.rejects(Colbert.load(dir, { freshProjection: true }), { code: 'ERR_RECIPE' }, 'longer texts than positions')
  const recipe = { documentLength: 64 }
  const model = await Colbert.load(dir, { freshProjection: true, dim: 24, seed: 5, recipe })
  const { dim, data } = await model.encodeDocuments(['late interaction'])
  t.same([dim, data.length % 24, data.every(Number.isFinite)], [24, 0, true])
  const other = await Colbert.load(dir, {
    freshProjection: true,
    dim: 24,
    seed: 6,
    recipe: { ...recipe, queryPrefix: '[NEW] ' },
  })
  t.notSame((await other.encodeDocuments(['late interaction'])).data, data, 'the seed decides the projection')
  t.equal(other.tokenizer.vocabSize, model.tokenizer.vocabSize + 1)
  t.ok((await other.encodeQueries(['late'])).data.every(Number.isFinite), 'an added token has an embedding')
  const deep = await Colbert.load(dir, {
    freshProjection: true,
    head: [{ out: 48, residual: true }, { out: 8 }],
    recipe,
  })
  t.equal(deep.dim, 8)
  for (const each of [model, other, deep]) each.dispose()
  await t.rejects(Colbert.load(path.join(fixtures, 'checkpoints/pylate/model'), { freshProjection: true }), {
    code: 'ERR_ARGUMENT',
  })
})

t.test('each layout holds what it has words for, and refuses the rest by name', async (t) => {
  const load = (layout: string) => Colbert.load(path.join(fixtures, 'checkpoints', layout, 'model'))
  const stanford = await load('stanford')
  const dir = path.join(temporary, 'as-stanford')
  await stanford.save(dir, { layout: 'stanford' })
  await stanford.save(dir, { layout: 'stanford' }) // replaces what was there
  t.same(readdirSync(dir).sort(), [
    ...['README.md', 'artifact.metadata', 'config.json', 'model.safetensors'],
    ...['special_tokens_map.json', 'tokenizer.json', 'tokenizer_config.json'],
  ])
  const again = await Colbert.load(dir)
  t.same(again.recipe, stanford.recipe)
  t.same((await again.encodeQueries(['late'])).data, (await stanford.encodeQueries(['late'])).data)
  const pylate = await load('pylate')
  const refused = path.join(temporary, 'refused')
  const named =
    /architecture "modernbert"; a head .*; queryPrompt "search: ".*queryPrefix "\[Q\] ".*Use \{ layout: 'pylate' \}/
  await t.rejects(pylate.save(refused, { layout: 'stanford' }), { code: 'ERR_FORMAT', message: named })
  pylate.setRecipe(
    { queryExpansion: 8, expansionToken: '[unused0]', skiplistTasks: ['query'], keepOnlyTokenIds: [4] },
    { acceptRecipeChange: ['queryExpansion', 'expansionToken', 'skiplistTasks', 'keepOnlyTokenIds'] },
  )
  const all = /queryExpansion 8; expansionToken "\[unused0\]"; skiplistTasks \["query"\]; keepOnlyTokenIds \[4\]/
  await t.rejects(pylate.save(refused, { layout: 'pylate' }), { code: 'ERR_FORMAT', message: all })
  t.notOk(existsSync(refused), 'and nothing was written')
  await t.rejects(pylate.save(refused, { layout: 'onnx' as never }), { code: 'ERR_ARGUMENT', message: /layout/ })
  await pylate.save(refused)
  const settings = JSON.parse(readFileSync(path.join(refused, 'config_sentence_transformers.json'), 'utf8'))
  t.equal(settings.model_type, 'MultiVectorEncoder', "its own layout where PyLate's cannot hold the recipe")
  for (const each of [stanford, again, pylate]) each.dispose()
})
