// The demo's three phases on its own data as one run, on any number of ranks, scored on its test collection.
//
// usage: mpirun -n 4 node bench/ranks-demo.mjs --demo runs/wordnet [--seed 1] --out runs/ranks-4
//        node bench/ranks-demo.mjs --demo runs/wordnet [--seed 1] --out runs/ranks-1
// --demo is the folder of an `npm run demo -- --seed N` that is through: its pairs, its mined triplets, its graph rows.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Colbert, Tokenizer, train } from 'lateforge'
import { bm25Run, compareRuns, formatText, loadBeir, modelRun } from 'lateforge/eval'
import { RankGroup, showProgress, singleProcess, startedByLauncher } from 'lateforge/train'
import * as settings from '../examples/wordnet/settings.js'

const { values: options } = parseArgs({
  options: {
    demo: { type: 'string', default: 'runs/wordnet' },
    seed: { type: 'string', default: '1' },
    out: { type: 'string' },
  },
})
const seed = Number(options.seed)
const own = join(options.demo, `seed-${seed}`)
const files = {
  pairs: join(options.demo, 'pairs.jsonl.gz'),
  triplets: join(own, 'triplets.jsonl.gz'),
  graph: join(own, 'graph.jsonl.gz'),
}
for (const file of Object.values(files))
  if (!existsSync(file)) throw new Error(`${file} is not there: run the demo first`)

const group = startedByLauncher() ? RankGroup.join() : singleProcess
const tokenizers = join(options.demo, 'tokenizer')
const tokenizer = await Tokenizer.load(join(tokenizers, readdirSync(tokenizers)[0]))
const model = await Colbert.create({ ...settings.architecture, tokenizer }, { seed })
const { fromSisters, minedRanks, ...hard } = settings.hardNegatives
const { teacherScale, ...distillation } = settings.graphSupervision
const checkpoint = { every: 1000 }
const started = performance.now()
const run = train(
  {
    ...settings.training,
    cacheDir: join(options.demo, 'cache'),
    model,
    out: options.out,
    seed,
    phases: [
      { name: 'phase-1', data: files.pairs, checkpoint, ...settings.contrastive },
      { name: 'phase-2', data: files.triplets, checkpoint, ...hard },
      { name: 'phase-3', data: files.graph, checkpoint, ...distillation },
    ],
  },
  { group },
)
const isRank0 = group.rank === 0
const [done] = await Promise.allSettled([run.result, isRank0 ? showProgress(run) : undefined])
if (done.status === 'rejected') throw done.reason
const seconds = (performance.now() - started) / 1000

const test = await loadBeir(join(options.demo, 'test'))
const found = await modelRun(model, test, { topK: 100, group })
if (isRank0) {
  const runs = [
    { name: 'BM25', ...(await bm25Run(test, { topK: 100 })) },
    { name: `${group.size} rank(s)`, ...found },
  ]
  const metrics = ['ndcg@10', 'mrr@10', 'recall@100']
  const report = compareRuns(runs, test.qrels, {
    metrics,
    baseline: 'BM25',
    primary: runs[1].name,
    collection: { name: 'WordNet, test', counts: test.counts },
  })
  process.stdout.write(`${formatText(report)}\n${seconds.toFixed(0)} s of training on ${group.size} rank(s)\n`)
  const { waitSeconds, bytes } = group.stats?.() ?? { waitSeconds: 0, bytes: {} }
  process.stdout.write(`waiting ${waitSeconds.toFixed(1)} s; bytes sent ${JSON.stringify(bytes)}\n`)
}
await group.exchange(new Uint8Array())
