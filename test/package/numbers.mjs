// What a package of lateforge computes, in numbers.json: a nano encoder encodes, scores by MaxSim and ranks; then it takes two
// training steps, through shards and a checkpoint. Run by Node for any platform, to compare (native/tools/qemu.cjs).
// Usage: node numbers.mjs <folder of the package> <folder with tokenizer.json> <folder to write to>
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const [root, tokenizer, out] = process.argv.slice(2)
const load = (name) => import(pathToFileURL(path.join(root, 'dist', name)).href)
const started = performance.now()
const { Colbert, train } = await load('index.js')
const { maxsim, maxsimSync } = await load('retrieval/maxsim.js')
const { native } = await load('native.js')

// Whole tokens of the tokenizer, each once in a text: no two similarities are nearly equal, so that rounding decides on
// no maximum.
const words = 'of to token retrieval be ca co de do don if in it ist ke la nai on ov pa per qu su tr ve won'.split(' ')
const sentence = (seed, length) =>
  Array.from({ length }, (_, i) => words[(seed + i * (1 + (seed % 5))) % words.length]).join(' ')
mkdirSync(out, { recursive: true })
const data = path.join(out, 'pairs.jsonl')
const rows = Array.from({ length: 16 }, (_, i) => ({ query: sentence(i, 4), positive: sentence(i, 24) }))
writeFileSync(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))

const model = await Colbert.create(
  { architecture: 'modernbert', layers: 4, width: 128, intermediate: 192, heads: 2, dim: 64, tokenizer },
  { seed: 1 },
)
const texts = Array.from({ length: 6 }, (_, i) => sentence(i + 20, 12 + i))
const queries = await model.encodeQueries([sentence(3, 5), sentence(9, 7)])
const documents = await model.encodeDocuments(texts)
const vectors = ({ data, offsets, dim }) => ({ data: Float32Array.from(data), offsets, dim })
const scores = await maxsim(vectors(queries), vectors(documents))
const atOnce = maxsimSync(vectors(queries), vectors(documents))
const ranked = await model.rank(sentence(3, 5), texts, { topK: 6 })

const run = train({
  model,
  out: path.join(out, 'run'),
  seed: 1,
  microBatchTokens: 256,
  phases: [{ name: 'two', loss: 'contrastive', data, batch: 8, steps: 2, learningRate: 1e-3, temperature: 0.1 }],
})
const steps = []
for await (const event of run) if (event.type === 'step') steps.push([event.loss, event.gradientNorm])
const trained = (await run.result).model
const after = await trained.encodeQueries([sentence(3, 5)])

const { isa, threads } = native().cpuInfo()
writeFileSync(
  path.join(out, 'numbers.json'), // Node has no standard output under Wine
  JSON.stringify({
    machine: {
      platform: process.platform,
      arch: process.arch,
      node: process.version,
      isa,
      threads,
      seconds: (performance.now() - started) / 1000,
    },
    queries: [...queries.data],
    documents: [...documents.data],
    scores: [...scores],
    scoresAtOnce: [...atOnce],
    ranked: ranked.map((hit) => hit.score),
    order: ranked.map((hit) => hit.index),
    firstLoss: [steps[0][0]],
    gradientNorm: [steps[0][1]],
    secondStep: steps[1],
    trained: [...after.data],
  }),
)
