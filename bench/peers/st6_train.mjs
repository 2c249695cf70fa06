// Trains a model through `train` on the batches that st6_train.py was given, and compares the loss of every step, and nDCG@10
// of both models before and after: the table of docs/equality.md.
//
// usage: node bench/peers/st6_train.mjs THEIRS BATCHES.jsonl.gz COLLECTIONS [OUT.json]      after npm run setup
//   THEIRS       what st6_train.py wrote: start/, end/ and losses.json
//   COLLECTIONS  a folder of BEIR folders
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import { Colbert } from 'lateforge'
import { beirEvaluator } from 'lateforge/eval'
import { memorySource, train } from 'lateforge/train'
import { createPlan } from '../../dist/data/plan.js'

const [theirs, given, collections, out] = process.argv.slice(2)
const expected = JSON.parse(readFileSync(path.join(theirs, 'losses.json'), 'utf8'))
const batches = gunzipSync(readFileSync(given))
  .toString()
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line).rows)
const scratch = mkdtempSync(path.join(os.tmpdir(), 'equality-'))
try {
  const model = await Colbert.load(withoutDropout(path.join(theirs, 'start')), { onNote })
  const [losses, seconds] = await trained(model)
  console.error(`${losses.length} steps in ${seconds.toFixed(0)} s`)
  const end = await Colbert.load(path.join(theirs, 'end'), { onNote })
  const start = await Colbert.load(path.join(theirs, 'start'), { onNote })
  report({ losses, seconds, start: await scores(start), ours: await scores(model), theirs: await scores(end) })
  for (const each of [model, start, end]) each.dispose()
} finally {
  rmSync(scratch, { recursive: true })
}

function onNote() {}

/** Dropout is a setting of config.json; theirs was off. */
function withoutDropout(folder) {
  const dir = path.join(scratch, 'model')
  cpSync(folder, dir, { recursive: true })
  const file = path.join(dir, 'config.json')
  const config = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify({ ...config, hidden_dropout_prob: 0, attention_probs_dropout_prob: 0 }))
  return dir
}

/** nDCG@10 by collection. */
async function scores(model) {
  const found = {}
  for (const name of readdirSync(collections).sort()) {
    const evaluate = await beirEvaluator(path.join(collections, name), { split: 'test', metrics: ['ndcg@10'] })
    found[name] = (await evaluate(model))['ndcg@10']
    console.error(`${name}: ${found[name].toFixed(4)}`)
  }
  return found
}

/** Every batch is a source of one batch; the plan says at which step it comes, so that the order is theirs. */
async function trained(model) {
  const [seed, batch] = [42, batches[0].length]
  const plan = createPlan({ seed, batch, sources: batches.map((_, i) => ({ name: `${i}`, rows: batch })) })
  const data = []
  for (const [step, rows] of batches.entries())
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
        warmup: expected.warmup,
        maskDuplicates: false,
      },
    ],
  })
  for await (const event of run) {
    if (event.type !== 'step') continue
    losses.push(event.loss)
    if (losses.length % 10 === 0)
      console.error(
        `step ${losses.length}: ${(event.loss - expected.losses[losses.length - 1]).toExponential(1)} from theirs`,
      )
  }
  await run.result
  return [losses, (performance.now() - started) / 1000]
}

function report({ losses, seconds, start, ours, theirs }) {
  const off = losses.map((loss, i) => Math.abs(loss - expected.losses[i]))
  const worst = Math.max(...off)
  console.log(
    `${losses.length} steps in ${seconds.toFixed(0)} s (theirs: ${expected.seconds.toFixed(0)} s); losses differ by ` +
      `${worst.toExponential(1)} at most (step ${off.indexOf(worst) + 1})`,
  )
  console.log('| nDCG@10 | before | after: ours | theirs | difference |\n|---|---|---|---|---|')
  for (const name of Object.keys(start)) {
    const values = [start[name], ours[name], theirs[name], ours[name] - theirs[name]].map((x) => x.toFixed(4))
    console.log(`| ${[name, ...values].join(' | ')} |`)
  }
  const { model: processor } = os.cpus()[0]
  const versions = { node: process.version, ...expected.versions }
  const found = {
    processor,
    versions,
    steps: losses.length,
    seconds,
    secondsOfTheirs: expected.seconds,
    worst,
    start,
    ours,
    theirs,
  }
  if (out) writeFileSync(out, `${JSON.stringify(found, null, 1)}\n`)
  const furthest = Math.max(...Object.keys(start).map((name) => Math.abs(ours[name] - theirs[name])))
  if (!(worst < 1e-3 && furthest < 0.002)) process.exitCode = 1
}
