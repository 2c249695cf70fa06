// Token embeddings of texts by transformers.js: its tokenizer, its session, and what onnx_config.json says of the rest.
//
// usage: node transformers_reader.mjs PEER FOLDER TEXTS OUT      PEER has node_modules/@huggingface/transformers
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [peer, folder, textsFile, out] = process.argv.slice(2)
const entry = createRequire(path.join(path.resolve(peer), 'package.json')).resolve('@huggingface/transformers')
const { AutoModel, AutoTokenizer, Tensor, env } = await import(pathToFileURL(entry))
env.allowRemoteModels = false
env.localModelPath = path.dirname(folder)
const name = path.basename(folder)
const model = await AutoModel.from_pretrained(name, { subfolder: '', dtype: 'fp32' })
const tokenizer = await AutoTokenizer.from_pretrained(name)
const config = JSON.parse(readFileSync(path.join(folder, 'onnx_config.json'), 'utf8'))
const skipped = new Set(tokenizer.convert_tokens_to_ids(config.skiplist_words))

/** Token ids of a text: marked, cut; queries filled up. */
function tokensOf(text, role) {
  const length = config[`${role}_length`]
  const ids = tokenizer.encode(text)
  ids.splice(1, 0, config[`${role}_prefix_id`])
  if (ids.length > length) ids.splice(length - 1, ids.length - length)
  const own = ids.length
  if (role === 'query' && config.do_query_expansion) while (ids.length < length) ids.push(config.mask_token_id)
  return { ids, attended: config.attend_to_expansion_tokens ? ids.length : own }
}

const parts = []
const together = 4
const texts = JSON.parse(readFileSync(textsFile, 'utf8'))
for (const role of ['query', 'document'])
  for (let first = 0; first < texts[role].length; first += together) {
    const batch = texts[role].slice(first, first + together).map((text) => tokensOf(text, role))
    const length = Math.max(...batch.map(({ ids }) => ids.length))
    const ids = new BigInt64Array(batch.length * length).fill(BigInt(config.pad_token_id))
    const mask = new BigInt64Array(ids.length)
    for (const [i, one] of batch.entries()) {
      ids.set(one.ids.map(BigInt), i * length)
      mask.fill(1n, i * length, i * length + one.attended)
    }
    const shape = [batch.length, length]
    const { output } = await model({
      input_ids: new Tensor('int64', ids, shape),
      attention_mask: new Tensor('int64', mask, shape),
    })
    const dim = config.embedding_dim
    for (const [i, one] of batch.entries()) {
      const rows = one.ids.flatMap((id, k) => (role === 'document' && skipped.has(id) ? [] : [k]))
      const bytes = Buffer.alloc(4 + 4 * rows.length * dim)
      bytes.writeInt32LE(rows.length)
      for (const [at, row] of rows.entries())
        for (let k = 0; k < dim; k++)
          bytes.writeFloatLE(output.data[(i * length + row) * dim + k], 4 + 4 * (at * dim + k))
      parts.push(bytes)
    }
  }
writeFileSync(out, Buffer.concat(parts))
