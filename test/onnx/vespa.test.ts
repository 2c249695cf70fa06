/** Applications of Vespa. What its own embedder makes of one: bench/peers/vespa. */
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Colbert } from '../../lib/models/colbert.js'
import { exportVespaApp, type VespaOptions } from '../../lib/onnx/index.js'
import type { Recipe } from '../../lib/text/recipe.js'
import { tokenizer } from '../models/words.js'
import { largestDifference, openGraph, runGraph, texts } from './runtime.js'

const temporary = t.testdir()

const make = (recipe: Partial<Recipe>): Promise<Colbert> =>
  Colbert.create(
    {
      ...{ architecture: 'bert', layers: 1, width: 16, heads: 2, dim: 16, positions: 64, tokenizer },
      recipe: { documentLength: 50, ...recipe },
    },
    { seed: 4 },
  )

t.test('an application has what Vespa needs', async (t) => {
  const model = await make({ documentPrompt: 'a "text": ', queryPrompt: 'for ', strip: false })
  const out = path.join(temporary, 'app')
  const { files, notes } = await exportVespaApp(model, out)
  t.same(
    files.map((file) => file.path),
    ['models/model.onnx', 'models/tokenizer.json', 'schemas/doc.sd', 'services.xml'],
  )
  t.match(notes, [/one punctuation mark/, /are zeros/, /begin with "for "/])
  const read = (name: string) => readFileSync(path.join(out, name), 'utf8')
  const id = (token: string) => model.tokenizer.tokenToId(token)
  for (const [name, value] of [
    ...[['max-query-tokens', 32] as const, ['max-document-tokens', 50] as const, ['max-tokens', 64] as const],
    ['transformer-start-sequence-token', id('[CLS]')],
    ['transformer-end-sequence-token', id('[SEP]')],
    ['transformer-mask-token', id('[MASK]')],
    ['transformer-pad-token', id('[PAD]')],
    ['query-token-id', id('[Q] ')],
    ['document-token-id', id('[D] ')],
    ['transformer-output', 'contextual'],
  ] as const)
    t.match(read('services.xml'), `<${name}>${value}</${name}>`)
  t.notMatch(read('services.xml'), 'attend-to-expansion-tokens')
  const schema = read('schemas/doc.sd')
  for (const line of [
    'field colbert_float type tensor<float>(dt{}, x[16])',
    'field colbert_bfloat16 type tensor<bfloat16>(dt{}, x[16])',
    'field colbert_bits type tensor<int8>(dt{}, x[2])',
    'indexing: "a \\"text\\": " . input text | embed colbert | attribute',
    'query(qt) tensor<float>(qt{}, x[16])',
    'sum(reduce(sum(query(qt) * unpack_bits(attribute(colbert_bits)), x), max, dt), qt)',
    'sum(reduce(sum(query(qt) * attribute(colbert_float), x), max, dt), qt)',
  ])
    t.match(schema, line)
  t.same(
    [...schema.matchAll(/[{}]/g)].reduce((open, [brace]) => open + (brace === '{' ? 1 : -1), 0),
    0,
  )
  t.match(JSON.parse(read('models/tokenizer.json')), { truncation: null, padding: null })

  const session = await openGraph(path.join(out, 'models/model.onnx'))
  t.same(session.inputNames, ['input_ids', 'attention_mask'])
  const found = await runGraph(session, model, 'query', texts)
  t.ok(largestDifference(found, (await model.encodeQueries(texts)).data) < 1e-4)
  await session.release()
  model.dispose()
})

t.test('expansion tokens that are attended to are, though Vespa masks them', async (t) => {
  const model = await make({ attendToExpansionTokens: true })
  const out = path.join(temporary, 'attended')
  await exportVespaApp(model, out)
  const session = await openGraph(path.join(out, 'models/model.onnx'))
  const found = await runGraph(session, model, 'query', texts, { expansion: 0 })
  t.ok(largestDifference(found, (await model.encodeQueries(texts)).data) < 1e-4)
  await session.release()
  model.dispose()
})

t.test('tokens that do not score are zeros, the others as they are', async (t) => {
  for (const recipe of [
    {},
    { skiplistTasks: ['query', 'document'] as const, skiplistWords: ['late', '.'] },
    { keepOnlyTokenIds: [tokenizer.tokenToId('late')!, tokenizer.tokenToId('[CLS]')!], skiplistWords: [] },
  ]) {
    const model = await make(recipe as Partial<Recipe>)
    const all = await make({ skiplistWords: [] })
    const out = path.join(temporary, JSON.stringify(recipe).replaceAll(/\W/g, '-'))
    await exportVespaApp(model, out)
    const session = await openGraph(path.join(out, 'models/model.onnx'))
    for (const role of ['query', 'document'] as const) {
      const rows = await runGraph(session, all, role, texts, { batch: 3 })
      const kept = rows.filter((_, i) => rows.subarray(i - (i % 16), i - (i % 16) + 16).some((x) => x !== 0))
      const own = role === 'query' ? await model.encodeQueries(texts) : await model.encodeDocuments(texts)
      const worst = largestDifference(kept, own.data)
      t.ok(worst < 1e-4, `${JSON.stringify(recipe)}, ${role}: off by ${worst}`)
    }
    await session.release()
    for (const each of [model, all]) each.dispose()
  }
})

t.test('documents keep punctuation: by itself a mark is nothing', async (t) => {
  const model = await make({ skiplistWords: [], queryExpansion: false })
  const out = path.join(temporary, 'kept')
  const { notes } = await exportVespaApp(model, out, { type: 'int8', cells: ['bits'] })
  t.match(notes, [/one punctuation mark/, /2026-05-13/, /white space/])
  t.match(readFileSync(path.join(out, 'services.xml'), 'utf8'), '<attend-to-expansion-tokens>false<')
  t.match(readFileSync(path.join(out, 'services.xml'), 'utf8'), 'path="models/model_int8.onnx"')
  t.notMatch(readFileSync(path.join(out, 'schemas/doc.sd'), 'utf8'), 'bfloat16')
  const { normalizer } = JSON.parse(readFileSync(path.join(out, 'models/tokenizer.json'), 'utf8'))
  t.match(normalizer, { type: 'Sequence', normalizers: [{ type: 'Replace', content: '' }, { type: 'BertNormalizer' }] })
  t.notMatch(JSON.stringify(model.tokenizer.toJson()), 'Replace', "the model's own tokenizer is as it was")
  model.dispose()
})

t.test('what Vespa would embed otherwise is refused, with every reason', async (t) => {
  const out = path.join(temporary, 'refused')
  for (const [recipe, ...reasons] of [
    [{ attendToExpansionTokens: true, expansionToken: '[PAD]' }, /attendToExpansionTokens/],
    [{ queryExpansion: 8 }, /expanded to 8/],
    [{ queryPrefix: '', documentPrefix: '' }, /queries have no marker/, /documents have no marker/],
    [{ clampNegatives: true }, /clampNegatives/],
    [{ lowerCase: true }, /lowerCase/],
    [{ pooling: 'mean' }, /one vector.*hugging-face-embedder/],
  ] as [Partial<Recipe>, ...RegExp[]][]) {
    const model = await make(recipe)
    const error = await exportVespaApp(model, out).catch((error) => error)
    t.equal(error.code, 'ERR_UNSUPPORTED')
    for (const reason of reasons) t.match(error.message, reason)
    t.equal(error.details.reasons.length, reasons.length, JSON.stringify(recipe))
    model.dispose()
  }
  const model = await make({})
  for (const options of [{ type: 'float16' }, { cells: ['int4'] }, { cell: ['bits'] }])
    await t.rejects(exportVespaApp(model, out, options as VespaOptions), { code: 'ERR_ARGUMENT' })
  t.notOk(existsSync(out))
  model.dispose()
})
