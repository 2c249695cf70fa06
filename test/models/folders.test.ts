import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Colbert } from '../../lib/models/colbert.js'
import { Device } from '../../lib/tensor/device.js'
import { fixtures } from './fixture.js'
import { tokenizer } from './words.js'

const temporary = t.testdir()
let made = 0

/** A copy of a fixture folder to break. */
function copy(layout: string): string {
  const dir = path.join(temporary, `${layout}-${made++}`)
  cpSync(path.join(fixtures, 'checkpoints', layout, 'model'), dir, { recursive: true })
  return dir
}

// biome-ignore lint/suspicious/noExplicitAny: edits JSON of any form
function edit(dir: string, file: string, change: (json: any) => void): void {
  const name = path.join(dir, file)
  const json = JSON.parse(readFileSync(name, 'utf8'))
  change(json)
  writeFileSync(name, JSON.stringify(json))
}

const lfsPointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 123456\n`

// biome-ignore lint/suspicious/noExplicitAny: edits JSON of any form
const dropMask = (modules: any[]): void => {
  modules.splice(
    modules.findIndex((m) => m.type.endsWith('.MultiVectorMask')),
    1,
  )
}

t.test('a sentence-transformers folder without a mask is not taken for one of PyLate', async (t) => {
  const dir = copy('st6')
  edit(dir, 'modules.json', dropMask)
  edit(dir, 'sentence_bert_config.json', (j) => {
    delete j.query_expansion
    j.query_length = 20
    j.document_length = 30
  })
  const model = await Colbert.load(dir)
  const { queryPrefix, documentPrefix, queryLength, documentLength, queryExpansion, skiplistWords } = model.recipe
  t.same([queryPrefix, documentPrefix, queryExpansion, skiplistWords], ['', '', false, []])
  t.same([queryLength, documentLength], [20, 30])
  model.dispose()
})

const [settings, transformer] = ['config_sentence_transformers.json', 'sentence_bert_config.json']
/** Fields whose value, or name, we would have to drop in silence. */
const refusedValues: [layout: string, file: string, key: string, value: unknown, message: RegExp][] = [
  ['pylate', settings, 'query_lenght', 32, /"query_lenght" is 32.*did you mean "query_length"/],
  ['pylate', settings, 'query_expansion', null, /query_expansion/],
  ['pylate', settings, 'default_prompt_name', 'query', /default_prompt_name/],
  ['pylate', settings, 'similarity_fn_name', 'meanmaxsim', /meanmaxsim/],
  ['pylate', settings, 'truncate_dim', 8, /truncate_dim/],
  ['pylate', transformer, 'query_length', 32, /query_length/],
  ['pylate', 'modules.json', '1', { type: 'pylate.models.Dense.Dense', path: '1_Dense', weight: 2 }, /"weight"/],
  ['pylate', '1_Dense/config.json', 'dropout', 0.1, /"dropout"/],
  ['pylate', '1_Dense/config.json', 'module_input_name', 'sentence_embedding', /module_input_name/],
  ['pylate', 'config.json', 'quantization_config', { bits: 4 }, /quantization_config/],
  ['st6', settings, 'query_prefix', '[Q] ', /"query_prefix"/],
  ['st6', transformer, 'transformer_task', 'fill-mask', /fill-mask/],
  ['st6', transformer, 'modality_config', { image: {} }, /"image"/],
  ['st6', transformer, 'processing_kwargs', { text: { padding: 'max_length' } }, /processing_kwargs.*"text"/],
  ['st6', transformer, 'processor_kwargs', { use_fast: false }, /processor_kwargs.*"use_fast"/],
  ['st6', transformer, 'query_expansion', { strategy: 'max', length: 8 }, /strategy/],
  ['st6', transformer, 'query_expansion', { strategy: 'min' }, /"length"/],
  ['st6', transformer, 'query_expansion', { strategy: 'min', length: 8, pad: 1 }, /"pad"/],
  ['st6', transformer, 'query_length', 4, /query_length/],
  ['st6', '3_MultiVectorMask/config.json', 'skiplist_tasks', ['passage'], /skiplist_tasks/],
  ['st6', '3_MultiVectorMask/config.json', 'skip', [], /"skip"/],
  ['st6', '4_Normalize/config.json', 'module_input_name', 'sentence_embedding', /module_input_name/],
  ['st6', 'tokenizer_config.json', 'padding_side', 'left', /padding_side/],
  ['st6', 'tokenizer_config.json', 'truncation_side', 'left', /truncation_side/],
  ['st6', '4_Normalize/config.json', 'p', 1, /"p"/],
  ['st6', settings, 'lateforge', { traned: false }, /"traned".*"trained"/],
  ['pylate', settings, 'lateforge', { unknown: ['queryPromt'] }, /"unknown"/],
  ['pylate', 'tokenizer_config.json', 'added_tokens_decoder', { 999999: { content: 'x' } }, /added_tokens_decoder/],
  ['pylate', 'tokenizer_config.json', 'added_tokens_decoder', { none: 1 }, /added_tokens_decoder none/],
  ['pylate', 'tokenizer.json', 'post_processor', { type: 'Other' }, /post-processor "Other"/],
  ['pylate', 'tokenizer.json', 'added_tokens', {}, /added_tokens/],
  ['pylate', 'modules.json', '1', { type: 'pylate.models.Mlp.Mlp', path: '1_Dense' }, /Mlp is not supported/],
  ['stanford', 'artifact.metadata', 'lateforge', { traned: false }, /"traned"/],
  ['stanford', 'artifact.metadata', 'similarity', 'l2', /similarity/],
  ['stanford', 'artifact.metadata', 'interaction', 'flipr', /interaction/],
  ['stanford', 'config.json', 'is_decoder', true, /is_decoder/],
]

t.test('damaged folders give typed errors, and their memory back', async (t) => {
  const device = Device.open()
  await device.synchronize()
  const before = device.memory()
  // biome-ignore lint/suspicious/noExplicitAny: edits JSON of any form
  const config = (change: (json: any) => void) => (dir: string) => edit(dir, 'config.json', change)
  const cases: [string, string, (dir: string) => void, RegExp][] = [
    ['pylate', 'no folder', (dir) => rmSync(dir, { recursive: true }), /no folder/],
    [
      'st6',
      'no config of the mask',
      (dir) => rmSync(path.join(dir, '3_MultiVectorMask/config.json')),
      /MultiVectorMask/,
    ],
    ['pylate', 'no config', (dir) => rmSync(path.join(dir, 'config.json')), /config\.json/],
    ['pylate', 'no JSON', (dir) => writeFileSync(path.join(dir, 'config.json'), '{'), /config\.json/],
    ['pylate', 'no tokenizer', (dir) => rmSync(path.join(dir, 'tokenizer.json')), /tokenizer\.json/],
    ['pylate', 'no weights', (dir) => rmSync(path.join(dir, 'model.safetensors')), /no model\.safetensors/],
    ['pylate', 'no weights of a layer', (dir) => rmSync(path.join(dir, '2_Dense/model.safetensors')), /2_Dense/],
    [
      'pylate',
      'only a pickle',
      (dir) => renameSync(path.join(dir, 'model.safetensors'), path.join(dir, 'pytorch_model.bin')),
      /pickle/,
    ],
    ['pylate', 'another architecture', config((j) => (j.model_type = 'distilbert')), /"distilbert"/],
    ['pylate', 'inherited name', config((j) => (j.model_type = 'constructor')), /"constructor"/],
    [
      'pylate',
      'fewer layers than weights',
      config((j) => Object.assign(j, { num_hidden_layers: 1, layer_types: ['full_attention'] })),
      /nothing reads/,
    ],
    [
      'pylate',
      'more layers than weights',
      config((j) => Object.assign(j, { num_hidden_layers: 4, layer_types: undefined })),
      /no tensor "layers\.3/,
    ],
    ['pylate', 'another width', config((j) => (j.hidden_size = 64)), /shape|features/],
    ['pylate', 'heads that do not divide', config((j) => (j.num_attention_heads = 5)), /num_attention_heads/],
    ['pylate', 'an activation we lack', config((j) => (j.hidden_activation = 'mish')), /"mish"/],
    ['pylate', 'scaled positions', config((j) => (j.rope_parameters.full_attention.rope_type = 'yarn')), /"yarn"/],
    ['pylate', 'a layer type', config((j) => (j.layer_types[1] = 'chunked')), /layer_types/],
    ['stanford', 'relative positions', config((j) => (j.position_embedding_type = 'relative_key')), /relative_key/],
    ['stanford', 'another head', (dir) => edit(dir, 'artifact.metadata', (j) => (j.dim = 24)), /linear\.weight/],
    [
      'pylate',
      'a path outside',
      (dir) => edit(dir, 'modules.json', (j) => (j[1].path = '../1_Dense')),
      /inside the folder/,
    ],
    ['pylate', 'odd modules', (dir) => writeFileSync(path.join(dir, 'modules.json'), '{}'), /list of modules/],
    [
      'pylate',
      'a head that does not fit',
      (dir) => edit(dir, '2_Dense/config.json', (j) => (j.in_features = 8)),
      /2_Dense takes 8/,
    ],
    [
      'pylate',
      'an unknown activation',
      (dir) => edit(dir, '1_Dense/config.json', (j) => (j.activation_function = 'os.system')),
      /os\.system/,
    ],
    [
      'pylate',
      'a length that is no number',
      (dir) => edit(dir, 'config_sentence_transformers.json', (j) => (j.query_length = '32')),
      /query_length/,
    ],
    [
      'st6',
      'pooled tokens',
      (dir) =>
        edit(
          dir,
          'modules.json',
          (j) => (j[4].type = 'sentence_transformers.multi_vector_encoder.modules.HierarchicalTokenPooling'),
        ),
      /not supported/,
    ],
    [
      'pylate',
      'a module of its own',
      (dir) => edit(dir, 'modules.json', (j) => (j[0].type = 'custom_st.Transformer')),
      /custom_st\.Transformer, code of its own/,
    ],
    [
      'st6',
      'embeddings that are no unit vectors',
      (dir) => edit(dir, 'modules.json', (j) => j.pop()),
      /no Normalize module/,
    ],
    [
      'st6',
      'a layer after normalising',
      (dir) => edit(dir, 'modules.json', (j) => j.splice(1, 0, j.pop())),
      /Dense module comes after Normalize/,
    ],
    [
      'pylate',
      'nobody says who wrote it',
      (dir) => {
        edit(dir, 'modules.json', (j) => {
          for (const m of j) m.type = m.type.replace('pylate.', 'sentence_transformers.')
        })
        rmSync(path.join(dir, 'config_sentence_transformers.json'))
      },
      /whether it is PyLate's or sentence-transformers/,
    ],
    [
      'pylate',
      "Git LFS's pointers for files",
      (dir) => writeFileSync(path.join(dir, 'model.safetensors'), lfsPointer),
      /model\.safetensors.*git lfs pull/,
    ],
    [
      'pylate',
      'a pointer for the tokenizer',
      (dir) => writeFileSync(path.join(dir, 'tokenizer.json'), lfsPointer),
      /tokenizer\.json.*git lfs pull/,
    ],
    ...refusedValues.map(([layout, file, key, value, message]): (typeof cases)[number] => [
      layout,
      `${file}: ${key} ${JSON.stringify(value)}`,
      (dir) => edit(dir, file, (j) => (j[key] = value)),
      message,
    ]),
  ]
  for (const [layout, name, damage, message] of cases) {
    const dir = copy(layout)
    damage(dir)
    await t.rejects(Colbert.load(dir), { code: 'ERR_FORMAT', message }, name)
  }
  await device.synchronize()
  const after = device.memory()
  t.same([after.tensors, after.bytes], [before.tensors, before.bytes], 'memory is given back')
})

t.test('older spellings mean the same', async (t) => {
  const texts = ['late interaction', 'what does a token mean?']
  const model = await Colbert.load(copy('pylate'))
  const { data } = await model.encodeDocuments(texts)
  model.dispose()
  const dir = copy('pylate')
  edit(dir, 'config.json', (j) => {
    for (const key of ['rope_parameters', 'layer_types']) delete j[key]
    Object.assign(j, { global_rope_theta: 160000, local_rope_theta: 10000, global_attn_every_n_layers: 3 })
  })
  edit(dir, 'config_sentence_transformers.json', (j) => {
    for (const key of ['model_type', 'do_query_expansion', 'attend_to_expansion_tokens', 'skiplist_words'])
      delete j[key]
  })
  edit(dir, '2_Dense/config.json', (j) => delete j.use_residual)
  const old = await Colbert.load(dir)
  t.same((await old.encodeDocuments(texts)).data, data)
  t.same(
    [old.recipe.queryExpansion, old.recipe.attendToExpansionTokens, old.recipe.skiplistWords.length],
    [true, false, 32],
  )
  old.dispose()
})

t.test('saving replaces models only, and whole numbers of config.json stay floats', async (t) => {
  const model = await Colbert.create({ architecture: 'modernbert', layers: 2, width: 16, heads: 2, dim: 8, tokenizer })
  const dir = path.join(temporary, 'saved')
  mkdirSync(dir)
  await model.save(dir) // an empty folder is fine
  const text = readFileSync(path.join(dir, 'config.json'), 'utf8')
  t.match(text, '"initializer_cutoff_factor": 2.0,')
  t.match(text, '"rope_theta": 160000.0')
  writeFileSync(path.join(dir, 'notes.txt'), 'mine')
  await t.rejects(model.save(dir), { code: 'ERR_FORMAT', message: /notes\.txt/ })
  t.ok(existsSync(path.join(dir, 'notes.txt')), 'and nothing was touched')
  const other = path.join(temporary, 'other')
  mkdirSync(other)
  writeFileSync(path.join(other, 'config.json'), '{}')
  await t.rejects(model.save(other), { code: 'ERR_FORMAT' })
  await t.rejects(model.save(path.join(dir, 'notes.txt')), { code: 'ERR_FORMAT' })
  t.same(
    readdirSync(temporary).filter((name) => name.includes('saving')),
    [],
    'no temporary folder is left',
  )
  model.dispose()
})

t.test('a bad request to create', async (t) => {
  const good = { architecture: 'bert', layers: 1, width: 16, heads: 2, dim: 8, tokenizer } as const
  for (const [change, code] of [
    [{ layer: 3 }, 'ERR_CONFIG'],
    [{ architecture: 'gpt' }, 'ERR_CONFIG'],
    [{ width: 17 }, 'ERR_CONFIG'],
    [{ dim: 12 }, 'ERR_CONFIG'],
    [{ dropout: 1 }, 'ERR_CONFIG'],
    [{ positions: 100 }, 'ERR_RECIPE'],
    [{ recipe: { queryLenght: 3 } }, 'ERR_RECIPE'],
    [{ tokenizer: '/nowhere' }, 'ERR_FORMAT'],
    [{ tokenizer: 5 }, 'ERR_ARGUMENT'],
  ] as const)
    await t.rejects(Colbert.create({ ...good, ...change } as never), { code }, JSON.stringify(change))
  await t.rejects(Colbert.create(good, { seed: -1 }), { code: 'ERR_ARGUMENT' })
})

t.test('a dense model is named as one, and its prompts are kept', async (t) => {
  const dir = copy('pylate')
  edit(dir, 'modules.json', (j) => {
    j[1].type = 'sentence_transformers.models.Pooling'
    j[2].type = 'sentence_transformers.models.Dense'
  })
  writeFileSync(path.join(dir, settings), JSON.stringify({ prompts: { query: 'search: ', passage: 'p: ' } }))
  await t.rejects(Colbert.load(dir), { code: 'ERR_FORMAT', message: /a dense model, which pools .* freshProjection/ })
  const recipe = { queryLength: 32, documentLength: 64 }
  const model = await Colbert.load(dir, { freshProjection: true, dim: 8, recipe })
  t.same([model.recipe.queryPrompt, model.recipe.documentPrompt, model.dim], ['search: ', '', 8])
  model.dispose()
})
