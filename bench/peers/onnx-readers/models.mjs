// Models and texts that whoever reads an export is compared on: all-MiniLM-L6-v2 as a ColBERT with a random projection, and small
// models of every architecture with random weights and tokenizers in the published shapes.
import { createReadStream } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { createGunzip } from 'node:zlib'
import { Colbert } from 'lateforge'

const seed = 1
const small = { layers: 2, width: 64, heads: 4, dim: 32, positions: 256 }
// BERT's unused tokens are what stock readers of BERT models have as markers.
const bert = { queryPrefix: '[unused0]', documentPrefix: '[unused1]' }

/** By name: the architecture (and with it the tokenizer's folder), and the recipe. */
const random = {
  bert: ['bert', bert],
  'bert, attended expansion': ['bert', { ...bert, attendToExpansionTokens: true }],
  roberta: ['roberta', {}],
  'xlm-roberta': ['xlm-roberta', {}],
  'xlm-roberta, attended expansion': ['xlm-roberta', { attendToExpansionTokens: true, skiplistWords: [] }],
  modernbert: ['modernbert', {}],
  'modernbert, attended expansion': ['modernbert', { attendToExpansionTokens: true }],
  'modernbert, no expansion': ['modernbert', { queryExpansion: false }],
}

/** [name, a function that makes it] of each. TOKENIZERS is a folder by tokenizer_ids.py. */
export function modelsOf(minilm, tokenizers) {
  const real = () =>
    Colbert.load(minilm, {
      ...{ freshProjection: true, seed, onNote: () => {} },
      recipe: { ...bert, documentLength: 180 },
    })
  const made = Object.entries(random).map(([name, [architecture, recipe]]) => [
    name,
    () => makeRandom(architecture, path.join(tokenizers, architecture), recipe),
  ])
  return [['all-MiniLM-L6-v2', real], ...made]
}

/** With every parameter moved: a bias of 0 that a graph has forgotten would not be missed. */
async function makeRandom(architecture, tokenizer, recipe) {
  const model = await Colbert.create(
    { architecture, ...small, tokenizer, recipe: { documentLength: 180, ...recipe } },
    { seed },
  )
  const values = Float32Array.from(await model.parameters.values.values())
  let state = seed
  for (let i = 0; i < values.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    values[i] += 0.4 * (state / 2 ** 32 - 0.5)
  }
  model.parameters.write(values)
  return model
}

/** The first `count` queries and documents of files of pairs (.jsonl.gz), trimmed. */
export async function textsOf(files, count) {
  const texts = { query: [], document: [] }
  for (const file of files) {
    let left = count
    for await (const line of createInterface({ input: createReadStream(file).pipe(createGunzip()) })) {
      if (left-- === 0) break
      const pair = JSON.parse(line)
      for (const role of ['query', 'document']) texts[role].push(pair[role].trim())
    }
  }
  return texts
}

/** Token rows as a reader writes them: of each text their number (int32), then the floats. */
export function* rowsIn(bytes, dim) {
  for (let at = 0; at < bytes.length; ) {
    const count = bytes.readInt32LE(at) * dim
    yield Float32Array.from({ length: count }, (_, i) => bytes.readFloatLE(at + 4 + 4 * i))
    at += 4 + 4 * count
  }
}
