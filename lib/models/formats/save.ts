import { existsSync } from 'node:fs'
import { mkdir, readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { types } from 'node:util'
import { FormatError } from '../../errors.js'
import { recoverFolder, writeAtomic, writeFolder } from '../../io/atomic.js'
import type { Json } from '../../io/json-reader.js'
import type { Parameters } from '../../nn/index.js'
import { packageVersion } from '../../packages.js'
import { describeChange } from '../../text/alignment.js'
import type { Recipe } from '../../text/recipe.js'
import type { Tokenizer } from '../../text/tokenizer/tokenizer.js'
import { type DenseConfig, denseFolder, denseJsonOf, denseParameters } from '../networks/dense.js'
import type { Architecture, EncoderConfig } from '../networks/encoder.js'
import { type TensorToWrite, writeSafetensors } from './safetensors.js'
import { type Trained, trainedJson } from './trained.js'

export interface ModelToSave {
  architecture: Architecture
  config: EncoderConfig
  /** config.json of the encoder; unknown keys are passed on. */
  json: Json
  head: readonly DenseConfig[]
  recipe: Recipe
  trained: Trained
  tokenizer: Tokenizer
  parameters: Parameters
}

/** Everything we write; a folder that holds anything else is not ours to replace. */
const ownFiles =
  /^(modules\.json|config\.json|config_sentence_transformers\.json|sentence_bert_config\.json|model\.safetensors|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|README\.md|\d+_Dense)$/

/** What file managers leave in every folder that was looked at. */
const litter = /^(\.DS_Store|\._.*|Thumbs\.db|desktop\.ini)$/i

/**
 * Writes a folder in PyLate's layout, which PyLate and sentence-transformers 6 both load. It appears whole or not at all
 * (lib/io/atomic.ts). A model saved there before is replaced, and is there until then.
 * @throws FormatError ERR_FORMAT when `dir` holds something that is not a saved model
 */
export async function saveModel(dir: string, model: ModelToSave): Promise<void> {
  await recoverFolder(dir)
  await checkReplaceable(path.resolve(dir))
  await writeFolder(dir, (folder) => writeFiles(folder, model), { replaces: true })
}

/** @throws FormatError ERR_FORMAT when `target` is there and is no saved model, which is all that saving replaces */
export async function checkReplaceable(target: string): Promise<void> {
  if (!existsSync(target)) return
  const all = (await stat(target)).isDirectory() ? await readdir(target) : ['']
  const entries = all.filter((name) => !litter.test(name))
  const foreign = entries.find((name) => !ownFiles.test(name))
  if (foreign !== undefined || (entries.length > 0 && !entries.includes('modules.json')))
    throw new FormatError(
      'ERR_FORMAT',
      `${target} exists and is no saved model${foreign ? ` (it holds "${foreign}")` : ''}; save to a new folder`,
      { dir: target, foreign },
    )
}

async function writeFiles(dir: string, model: ModelToSave): Promise<void> {
  const { architecture, config, head, recipe, tokenizer, parameters } = model
  const values = await parameters.values.values()
  const floats = types.isFloat32Array(values) ? values : Float32Array.from(values)
  const entry = new Map(parameters.entries.map((e) => [e.name, e]))

  const encoder: TensorToWrite[] = architecture.parameters(config).flatMap((parameter) =>
    architecture.stored(config, parameter).map(({ name, shape, offset }) => {
      const start = entry.get(parameter.name)!.offset + offset
      return { name, shape, data: floats.subarray(start, start + shape.reduce((product, d) => product * d, 1)) }
    }),
  )
  await writeSafetensors(path.join(dir, 'model.safetensors'), encoder)
  for (const [index, layer] of head.entries()) {
    const folder = denseFolder(index)
    const tensors = denseParameters(layer, index).map(({ name, shape }) => {
      const { offset, size } = entry.get(name)!
      return { name: name.slice(folder.length + 1), shape, data: floats.subarray(offset, offset + size) }
    })
    await mkdir(path.join(dir, folder))
    await writeSafetensors(path.join(dir, folder, 'model.safetensors'), tensors)
    await writeJson(path.join(dir, folder, 'config.json'), denseJsonOf(layer))
  }

  const { torch_dtype: _, ...json } = model.json
  await writeJson(path.join(dir, 'config.json'), {
    ...json,
    architectures: [architecture.className],
    vocab_size: config.vocabulary,
    dtype: 'float32',
  })
  await writeJson(path.join(dir, 'modules.json'), [
    { idx: 0, name: '0', path: '', type: 'sentence_transformers.models.Transformer' },
    ...head.map((_, i) => ({ idx: i + 1, name: `${i + 1}`, path: denseFolder(i), type: 'pylate.models.Dense.Dense' })),
  ])
  await writeJson(path.join(dir, 'sentence_bert_config.json'), {
    max_seq_length: Math.max(recipe.queryLength, recipe.documentLength),
    do_lower_case: recipe.lowerCase,
  })
  await writeJson(path.join(dir, 'config_sentence_transformers.json'), settingsOf(recipe, model.trained))
  await tokenizer.save(dir)
  await writeAtomic(path.join(dir, 'README.md'), [modelCard(model)])
}

/** The keys PyLate writes, in its order; of the versions there, only ours had a part in it. */
function settingsOf(r: Recipe, trained: Trained): Json {
  return {
    model_type: 'ColBERT',
    __version__: { lateforge: packageVersion() },
    prompts: { query: r.queryPrompt, document: r.documentPrompt },
    default_prompt_name: null,
    similarity_fn_name: 'MaxSim',
    query_prefix: r.queryPrefix,
    document_prefix: r.documentPrefix,
    query_length: r.queryLength,
    document_length: r.documentLength,
    attend_to_expansion_tokens: r.attendToExpansionTokens,
    skiplist_words: r.skiplistWords,
    do_query_expansion: r.queryExpansion,
    lateforge: { ...(r.clampNegatives && { clampNegatives: true }), ...trainedJson(trained) },
  }
}

function modelCard({ architecture, config, head, recipe, trained, parameters }: ModelToSave): string {
  const dim = head.at(-1)!.out
  return `---
library_name: PyLate
pipeline_tag: sentence-similarity
tags: [ColBERT, PyLate, sentence-transformers, feature-extraction, lateforge]
---

# ColBERT model

A late-interaction retrieval model: ${architecture.name}, ${config.layers} layers, ${config.width} wide, ${parameters.count} parameters, ${dim} dimensions per token.
Queries have up to ${recipe.queryLength} tokens, documents up to ${recipe.documentLength}. The folder has PyLate's layout.
${promptsText(recipe, trained)}

\`\`\`ts
import { Colbert } from 'lateforge'
const model = await Colbert.load('this folder')
const documents = await model.encodeDocuments(['a text', 'another'])
const hits = await model.search(await model.encodeQueries(['a question']), documents, { topK: 10 })
\`\`\`

\`\`\`python
from pylate import models                            # or: from sentence_transformers import MultiVectorEncoder
model = models.ColBERT("this folder")
\`\`\`
`
}

/** The prompts that the model has learned, and what of its recipe was changed on the way. */
function promptsText({ queryPrompt, documentPrompt }: Recipe, { trained, unknown, changes }: Trained): string {
  const text = (prompt: string): string => (prompt === '' ? 'none' : `\`${prompt}\``)
  const verb = trained ? 'Trained' : 'Not trained yet; set up'
  const lines = [
    !unknown.some((field) => field.endsWith('Prompt'))
      ? `${verb} with lateforge. Prompt of queries: ${text(queryPrompt)}; of documents: ${text(documentPrompt)}.`
      : 'Whether it was trained with prompts is not known.',
  ]
  if (changes.length > 0)
    lines.push(
      '',
      'Changes of its recipe that were accepted:',
      '',
      ...changes.map((change) => `- ${describeChange(change, 'before', 'since')}`),
    )
  return lines.join('\n')
}

/** Keys of config.json that transformers 5 takes only as floats: 2 must be written 2.0, which JSON.stringify cannot. */
const wholeFloats = /("\w*(?:theta|dropout|dropout_prob|initializer_range|cutoff_factor|_eps)": -?\d+)(?=[,\n])/g

function writeJson(file: string, value: unknown): Promise<void> {
  const text = JSON.stringify(value, null, 2).replace(wholeFloats, '$1.0')
  return writeAtomic(file, [`${text}\n`])
}
