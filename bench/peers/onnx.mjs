// A model's ONNX graph in onnxruntime-node beside the model itself: real documents, at most 180 tokens each, tokenization
// included (lateforge's for all), longest first; float32 and int8. Then the same documents ranked for queries, 32 for each. Each in
// turn, several times, with one thread; onnxruntime at every batch size, of which the best counts. Real tokens, and documents
// ranked, a CPU second: padding is none, and what else runs matters little.
//
// usage: node bench/peers/onnx.mjs MODEL DOCUMENTS [count] [rounds] [GRAPH.onnx…]      after npm run setup
//   MODEL      a folder of all-MiniLM-L6-v2; taken as a ColBERT with a random projection, which costs what a trained one does
//   DOCUMENTS  python-doc.jsonl.gz, of which the first `count` (512) are taken
//   GRAPH      graphs of others to time as well: of the encoder alone, as transformers' exporter writes them, which rank nothing
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import { Colbert, setCpu } from 'lateforge'
import { exportOnnx } from 'lateforge/onnx'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { machineOf } from '../../dist/bench/machine.js'
import { Device } from '../../dist/tensor/device.js'

const [modelDir, file, count = '512', rounds = '3', ...others] = process.argv.slice(2)
const rows = gunzipSync(readFileSync(file))
  .toString()
  .trim()
  .split('\n')
  .slice(0, Number(count))
  .map((line) => JSON.parse(line))
const documents = rows.map(({ document }) => document)
const groups = []
for (let i = 0; i < rows.length; i += 32) groups.push([rows[i].query, documents.slice(i, i + 32)])
setCpu({ threads: 1 })
const load = (precision) =>
  Colbert.load(modelDir, {
    ...{ precision, freshProjection: true, seed: 1, onNote: () => {} },
    recipe: { documentLength: 180, documentPrefix: '', skiplistWords: [] },
  })
const models = { float32: await load('float32'), int8: await load('int8') }
const folder = mkdtempSync(path.join(tmpdir(), 'lateforge-onnx-'))
const graphs = path.join(folder, 'graphs')
await exportOnnx(models.float32, graphs)

const cpuMs = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** Embeddings [row][token · dim] of a graph, of texts as token ids, in their order. */
async function embed(session, batch, tokens) {
  const order = tokens.map((_, i) => i).sort((a, b) => tokens[b].length - tokens[a].length)
  const embeddings = []
  for (let first = 0; first < order.length; first += batch) {
    const some = order.slice(first, first + batch)
    const length = tokens[some[0]].length
    const ids = new BigInt64Array(some.length * length).fill(BigInt(models.float32.tokenizer.pad))
    const mask = new BigInt64Array(ids.length)
    for (const [i, row] of some.entries()) {
      for (const [k, id] of tokens[row].entries()) ids[i * length + k] = BigInt(id)
      mask.fill(1n, i * length, i * length + tokens[row].length)
    }
    const tensor = (data) => new Tensor('int64', data, [some.length, length])
    const all = { input_ids: tensor(ids), attention_mask: tensor(mask), token_type_ids: tensor(ids.map(() => 0n)) }
    const found = await session.run(Object.fromEntries(session.inputNames.map((name) => [name, all[name]])))
    const { data, dims } = found[session.outputNames[0]]
    const [, , dim] = dims
    for (const [i, row] of some.entries())
      embeddings[row] = data.subarray(i * length * dim, (i * length + tokens[row].length) * dim)
  }
  return embeddings
}

/** MaxSim of a query and a document, [tokens · dim] each: what a program does with a graph's output. */
function maxsim(query, document, dim) {
  let score = 0
  for (let q = 0; q < query.length; q += dim) {
    let best = Number.NEGATIVE_INFINITY
    for (let d = 0; d < document.length; d += dim) {
      let sum = 0
      for (let i = 0; i < dim; i++) sum += query[q + i] * document[d + i]
      if (sum > best) best = sum
    }
    score += best
  }
  return score
}

// What a system does with the first documents: how many tokens it encodes, how many documents it ranks.
const ofModel = (model) => ({
  async encode(count) {
    const embeddings = await model.encodeDocuments(documents.slice(0, count))
    return embeddings.data.length / embeddings.dim
  },
  async rank(count) {
    for (const [query, texts] of groups.slice(0, count / 32)) await model.rank(query, texts)
    return count
  },
})
const ofGraph = (session, batch, isOurs) => {
  const { featurizer, dim } = models.float32
  return {
    async encode(count) {
      const tokens = documents.slice(0, count).map((text) => featurizer.document(text))
      await embed(session, batch, tokens)
      return tokens.reduce((sum, row) => sum + row.length, 0)
    },
    rank:
      isOurs &&
      async function (count) {
        for (const [query, texts] of groups.slice(0, count / 32)) {
          const [vectors] = await embed(session, 1, [featurizer.query(query)])
          const found = await embed(
            session,
            batch,
            texts.map((text) => featurizer.document(text)),
          )
          found.map((document) => maxsim(vectors, document, dim)).sort((a, b) => b - a)
        }
        return count
      },
  }
}

const systems = Object.fromEntries(
  Object.entries(models).map(([precision, model]) => [`lateforge ${precision}`, ofModel(model)]),
)
const ours = [path.join(graphs, 'model.onnx'), path.join(graphs, 'model_int8.onnx')]
for (const graph of [...ours, ...others]) {
  const session = await InferenceSession.create(graph, { intraOpNumThreads: 1 })
  for (const batch of [4, 16])
    systems[`onnxruntime ${path.basename(graph)}, ${batch} at a time`] = ofGraph(session, batch, ours.includes(graph))
}
const rates = { encode: {}, rank: {} }
for (let round = -1; round < Number(rounds); round++)
  for (const [name, system] of Object.entries(systems))
    for (const work of ['encode', 'rank']) {
      if (!system[work]) continue
      const started = cpuMs()
      const done = await system[work](round < 0 ? 32 : documents.length) // the first round warms up
      const rate = (done / (cpuMs() - started)) * 1000
      if (round >= 0) (rates[work][name] ??= []).push(Number(rate.toFixed(1)))
    }
console.log(
  JSON.stringify({ ...(await machineOf(Device.open(), 'cpu', 0.5)), date: new Date().toISOString(), rates }, null, 1),
)
for (const model of Object.values(models)) model.dispose()
rmSync(folder, { recursive: true })
