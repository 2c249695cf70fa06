/** Models as ONNX: what onnxruntime makes of the graph, and what lies beside it. */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { SafetensorsFile, writeSafetensors } from '../../lib/io/safetensors.js'
import { Colbert } from '../../lib/models/colbert.js'
import { architectures } from '../../lib/models/formats/layout.js'
import { writeOnnx } from '../../lib/onnx/export.js'
import { exportOnnx, type OnnxOptions } from '../../lib/onnx/index.js'
import { Device } from '../../lib/tensor/device.js'
import type { Recipe } from '../../lib/text/recipe.js'
import { Tokenizer } from '../../lib/text/tokenizer/tokenizer.js'
import { tokenizer } from '../models/words.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'
import { cases, makeCase } from './cases.js'
import { compare, largestDifference, openGraph, runGraph, texts } from './runtime.js'

t.setTimeout(300_000)
const temporary = t.testdir()
const quiet = { onNote: () => {} }

async function agrees(t: Test, model: Colbert, folder: string): Promise<void> {
  for (const [file, allowed] of [
    ['model.onnx', 1e-4],
    ['model_int8.onnx', 0.2],
  ] as const) {
    const { worst, inputs } = await compare(path.join(folder, file), model)
    t.same(inputs, ['input_ids', 'attention_mask'])
    t.ok(worst < allowed, `${file}: off by ${worst}`)
  }
}

for (const name of Object.keys(cases))
  t.test(`${name}: onnxruntime's embeddings are the model's`, async (t) => {
    const device = Device.open()
    await device.synchronize()
    const before = device.memory().bytes
    const model = await makeCase(name, seed)
    const folder = path.join(temporary, name)
    await exportOnnx(model, folder)
    await agrees(t, model, folder)
    model.dispose()
    await device.synchronize()
    t.equal(device.memory().bytes, before, 'memory is given back')
  })

t.test('every architecture is among them', async (t) => {
  const covered = new Set(Object.values(cases).map((config) => config.architecture as string))
  t.same(
    Object.keys(architectures).filter((name) => !covered.has(name)),
    [],
  )
})

t.test('other activations, and ModernBERT with every bias', async (t) => {
  for (const [name, changes] of [
    ['bert', { hidden_act: 'gelu_new' }],
    ['roberta', { hidden_act: 'silu' }],
    ['modernbert', { norm_bias: true, attention_bias: true, mlp_bias: true, hidden_activation: 'gelu_pytorch_tanh' }],
  ] as const) {
    const made = await makeCase(name, seed)
    const saved = path.join(temporary, `${name}-changed`)
    await made.save(saved)
    const config = path.join(saved, 'config.json')
    writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, 'utf8')), ...changes }))
    if (name === 'modernbert') await addBiases(path.join(saved, 'model.safetensors'))
    made.dispose()
    const model = await Colbert.load(saved, quiet)
    const folder = path.join(temporary, `${name}-changed-onnx`)
    await exportOnnx(model, folder)
    await agrees(t, model, folder)
    model.dispose()
  }
})

/** Every matrix and norm of the encoder gets one. */
async function addBiases(file: string): Promise<void> {
  const random = new Random(seed)
  const stored = await SafetensorsFile.open(file)
  const tensors = await Promise.all(
    [...stored.tensors.values()].map(async ({ name, shape }) => ({ name, shape, data: await stored.floats(name) })),
  )
  await stored.close()
  const biases = tensors
    .filter(({ name }) => !name.includes('tok_embeddings'))
    .map(({ name, shape }) => ({
      name: name.replace(/weight$/, 'bias'),
      shape: shape.slice(0, 1),
      data: Float32Array.from(random.normals(shape[0]!, 0.2)),
    }))
  await writeSafetensors(file, [...tensors, ...biases])
}

t.test("the int8 graph is no further from float32 than the model's own precision int8", async (t) => {
  for (const name of ['bert', 'modernbert'] as const) {
    const exact = await makeCase(name, seed)
    const [saved, folder] = [path.join(temporary, `${name}-saved`), path.join(temporary, `${name}-int8`)]
    await exact.save(saved)
    await exportOnnx(exact, folder, { types: ['int8'] })
    t.notOk(existsSync(path.join(folder, 'model.onnx')), 'only what was asked for')
    const int8 = await Colbert.load(saved, { precision: 'int8', ...quiet })
    const own = largestDifference((await int8.encodeDocuments(texts)).data, (await exact.encodeDocuments(texts)).data)
    const { worst } = await compare(path.join(folder, 'model_int8.onnx'), exact)
    t.ok(worst < 2 * own, `off by ${worst}, lateforge's int8 by ${own}`) // tables of embeddings are int8 here too
    for (const model of [exact, int8]) model.dispose()
  }
})

t.test('a text has the same embeddings whatever is beside it, in int8 too', async (t) => {
  const model = await makeCase('modernbert', seed)
  const folder = path.join(temporary, 'beside')
  await exportOnnx(model, folder)
  for (const file of ['model.onnx', 'model_int8.onnx']) {
    const session = await openGraph(path.join(folder, file))
    const together = await runGraph(session, model, 'document', texts, { more: 4 })
    const alone = await runGraph(session, model, 'document', texts, { batch: 1 })
    const worst = largestDifference(together, alone)
    t.ok(worst < 1e-5, `${file}: off by ${worst}`)
    await session.release()
  }
  model.dispose()
})

t.test('expansion tokens are attended to as the model was trained, whatever the mask says of them', async (t) => {
  for (const name of ['bert', 'modernbert', 'roberta, expansion to 12', 'modernbert, attended expansion']) {
    const model = await makeCase(name, seed)
    const folder = path.join(temporary, `${name}-mask`)
    await exportOnnx(model, folder, { types: ['float32'] })
    const session = await openGraph(path.join(folder, 'model.onnx'))
    const own = (await model.encodeQueries(texts)).data
    for (const expansion of [0, 1] as const)
      for (const options of [{ batch: 1 }, { batch: 3, more: 3 }]) {
        const made = await runGraph(session, model, 'query', texts, { ...options, expansion })
        const worst = largestDifference(made, own)
        t.ok(worst < 1e-4, `${name}, mask ${expansion}: off by ${worst}`)
      }
    await session.release()
    model.dispose()
  }
})

t.test('an expansion token that is padding too, or ends every text, is known by the mask alone', async (t) => {
  for (const recipe of [{ expansionToken: '[PAD]', attendToExpansionTokens: true }, { expansionToken: '[SEP]' }]) {
    const model = await Colbert.create({ ...cases.bert!, recipe: { documentLength: 60, ...recipe } }, { seed })
    const folder = path.join(temporary, recipe.expansionToken)
    const { notes } = await exportOnnx(model, folder, { types: ['float32'] })
    t.match(notes, [new RegExp(`attention_mask has to be ${recipe.attendToExpansionTokens ? 1 : 0}`)])
    const { worst } = await compare(path.join(folder, 'model.onnx'), model)
    t.ok(worst < 1e-4, `${recipe.expansionToken}: off by ${worst}`)
    model.dispose()
  }
})

t.test("the tokenizer's own lengths are the recipe's", async (t) => {
  const { json, config, model: vocabulary } = tokenizer.shared
  const cutting = Tokenizer.fromShared({
    ...{ model: vocabulary, config: { ...config, model_max_length: 512 } },
    json: {
      ...json,
      truncation: { max_length: 8, strategy: 'LongestFirst', stride: 0 },
      padding: { strategy: { Fixed: 8 } },
    },
  })
  const model = await Colbert.create({ ...cases.bert!, tokenizer: cutting, recipe: { documentLength: 60 } }, { seed })
  const folder = path.join(temporary, 'lengths')
  await exportOnnx(model, folder, { types: ['float32'] })
  const read = (name: string) => JSON.parse(readFileSync(path.join(folder, name), 'utf8'))
  t.match(read('tokenizer.json'), { truncation: null, padding: null })
  t.equal(read('tokenizer_config.json').model_max_length, 60)
  t.match(model.tokenizer.toJson(), { json: { truncation: { max_length: 8 } } }, "the model's own is as it was")
  model.dispose()
})

t.test('weights that are too many for one file lie beside it', async (t) => {
  const model = await makeCase('bert', seed)
  const [whole, apart] = [path.join(temporary, 'whole'), path.join(temporary, 'apart')]
  await writeOnnx(model, whole, {})
  await writeOnnx(model, apart, {}, 10_000)
  for (const file of ['model.onnx', 'model_int8.onnx']) {
    t.ok(statSync(path.join(apart, `${file}_data`)).size > statSync(path.join(apart, file)).size, `${file}_data`)
    const runs = await Promise.all(
      [whole, apart].map(async (folder) => {
        const session = await openGraph(path.join(folder, file))
        return runGraph(session, model, 'query', texts)
      }),
    )
    t.same(runs[1], runs[0], `${file}: the same bits`)
  }
  model.dispose()
})

t.test('the files beside a graph', async (t) => {
  const model = await makeCase('roberta, expansion to 12', seed)
  const folder = path.join(temporary, 'beside-graph')
  const { files, notes } = await exportOnnx(model, folder, { types: ['float32'], output: 'contextual' })
  const settings = 'config_sentence_transformers.json'
  const names = ['config.json', settings, 'model.onnx', 'onnx_config.json', 'special_tokens_map.json', 'tokenizer.json']
  t.same(
    files.map((file) => file.path),
    [...names, 'tokenizer_config.json'],
  )
  for (const { path: name, size } of files) t.equal(size, statSync(path.join(folder, name)).size)
  t.match(notes, [/queries with "late "/, /12 tokens/])
  const read = (name: string) => JSON.parse(readFileSync(path.join(folder, name), 'utf8'))
  const { tokenizer, recipe } = model
  t.match(read('onnx_config.json'), {
    ...{ model_type: 'ColBERT', model_class: 'RobertaModel', uses_token_type_ids: false, embedding_dim: 24 },
    ...{ query_prefix: '[Q] ', query_prefix_id: tokenizer.tokenToId('[Q] '), query_length: 32, document_length: 60 },
    ...{ do_query_expansion: true, attend_to_expansion_tokens: false, skiplist_words: recipe.skiplistWords },
    ...{ mask_token_id: tokenizer.mask, pad_token_id: tokenizer.pad, do_lower_case: false },
  })
  t.match(read(settings), { model_type: 'ColBERT', query_prefix: '[Q] ', prompts: { query: 'late ' } })
  t.match(read('config.json'), { model_type: 'roberta', vocab_size: tokenizer.vocabSize })
  const session = await openGraph(path.join(folder, 'model.onnx'))
  t.same(session.outputNames, ['contextual'])
  await session.release()
  model.dispose()

  const dense = await makeCase('bert, dense, mean', seed)
  const other = path.join(temporary, 'beside-dense')
  t.same((await exportOnnx(dense, other, { types: ['float32'] })).notes, [])
  t.notOk(existsSync(path.join(other, 'onnx_config.json')), 'which is for models of token embeddings')
  const pooled = await openGraph(path.join(other, 'model.onnx'))
  t.same(pooled.outputNames, ['sentence_embedding'])
  await pooled.release()
  dense.dispose()
})

t.test('what readers do otherwise is said', async (t) => {
  for (const [recipe, ...notes] of [
    [{}],
    [{ queryPrefix: '' }, /^queries have no marker token/],
    [{ queryPrefix: '', documentPrefix: '', strip: false }, /^queries and documents have no marker/, /^white space/],
    [{ skiplistTasks: ['query', 'document'], clampNegatives: true }, /skiplist is for queries too/, /negative/],
  ] as [Partial<Recipe>, ...RegExp[]][]) {
    const model = await Colbert.create({ ...cases.bert!, recipe: { documentLength: 60, ...recipe } }, { seed })
    const folder = path.join(temporary, `notes-${notes.length}-${Object.keys(recipe)}`)
    const made = await exportOnnx(model, folder, { types: ['int8'] })
    t.equal(made.notes.length, notes.length, JSON.stringify(recipe))
    t.match(made.notes, notes)
    model.dispose()
  }
})

t.test('what is refused, and that nothing is left of it', async (t) => {
  const model = await makeCase('bert', seed)
  const full = t.testdir({ full: { some: 'thing' } })
  await t.rejects(exportOnnx(model, path.join(full, 'full')), { code: 'ERR_FILE', message: /new folder/ })
  const out = path.join(full, 'out')
  const wrong = (options: object) => exportOnnx(model, out, options as OnnxOptions)
  await t.rejects(wrong({ types: ['float16'] }), { code: 'ERR_ARGUMENT', message: /types/ })
  await t.rejects(wrong({ types: [] }), { code: 'ERR_ARGUMENT', message: /one or more/ })
  await t.rejects(wrong({ typ: ['int8'] }), { code: 'ERR_ARGUMENT', message: /"typ"/ })
  await t.rejects(exportOnnx(model, ''), { code: 'ERR_ARGUMENT' })
  await t.rejects(wrong({ signal: AbortSignal.abort() }), { code: 'ERR_ABORTED' })
  t.same(readdirSync(full), ['full'])

  const saved = path.join(full, 'saved')
  await model.save(saved)
  const int8 = await Colbert.load(saved, { precision: 'int8', ...quiet })
  await t.rejects(exportOnnx(int8, out), { code: 'ERR_UNSUPPORTED', message: /load it as float32/ })
  await exportOnnx(model, out, { types: ['float32'] })
  const session = await openGraph(path.join(out, 'model.onnx'))
  await t.rejects(runGraph(session, model, 'query', texts, { more: 40 }), 'longer than the positions of the model')
  for (const each of [model, int8]) each.dispose()
  await session.release()
})
