// @ts-check
/** A training loop of your own, from the public pieces of lateforge/train. README.md says what and why. */
import { parseArgs } from 'node:util'
import { Colbert, trainWordPiece } from 'lateforge'
import { contrastive } from 'lateforge/losses'
import { ops } from 'lateforge/tensor'
import { AdamW, gradCacheAsync, latest, linear, loadState, memorySource, openData, saveState } from 'lateforge/train'
import { heldOut, inDigits, inWords, trainingRows } from './numbers.js'

const { values: given } = parseArgs({
  options: {
    out: { type: 'string', default: 'runs/custom-loop' },
    steps: { type: 'string', default: '300' },
    device: { type: 'string', default: 'cpu' },
  },
})
const { out, device } = given
const steps = Number(given.steps)
const seed = 1

const rows = trainingRows()
const tokenizer = await trainWordPiece(
  rows.flatMap(({ query, documents }) => [query, ...documents]),
  { vocabSize: 200 },
)
const model = await Colbert.create(
  {
    architecture: 'modernbert',
    ...{ layers: 2, width: 64, heads: 2, dim: 32, tokenizer },
    recipe: { queryLength: 16, documentLength: 16, queryExpansion: false },
  },
  { seed, device },
)
const data = await openData({ sources: [memorySource('numbers', rows)], model, batch: 64, seed })
const opt = new AdamW(model.parameterGroups([{ learningRate: 2e-3, weightDecay: 0.01 }]), { maxGradNorm: 1 })

/**
 * InfoNCE in both directions: each query finds its document, each document its query.
 * @type {import('lateforge/train').BatchLoss}
 */
const symmetric = ({ queries, documents, batch }) => {
  const { queryDuplicateIds, documentDuplicateIds } = batch
  const temperature = 0.1
  const there = contrastive(queries, documents, { temperature, queryDuplicateIds, documentDuplicateIds })
  const back = contrastive(documents, queries, {
    temperature,
    queryDuplicateIds: documentDuplicateIds,
    documentDuplicateIds: queryDuplicateIds,
  })
  return ops.scale(ops.add(there, back), 0.5)
}

// The next batch depends on (seed, step) only, and so does dropout: the step is all there is to resume from.
const checkpoint = await latest(out)
let step = checkpoint ? (await loadState(checkpoint, { model, opt })).step : 0
console.log(checkpoint ? `resuming at step ${step}` : 'starting')

for (; step < steps; step++) {
  const batch = await data.at(step)
  const loss = await gradCacheAsync(model, batch, symmetric, { microBatchTokens: 4096, seed, step })
  const squaredNorm = opt.step({ scale: linear(step, steps, 20) }) // AdamW skips a step whose norm is not finite
  if (step % 50 === 0 || step === steps - 1) {
    const [value, norm] = await Promise.all([loss.value(), squaredNorm.value()])
    console.log(`step ${step}  loss ${value.toFixed(4)}  gradient norm ${Math.sqrt(norm).toFixed(3)}`)
    if (!Number.isFinite(norm)) throw new Error(`step ${step}: the gradient is not finite`)
  }
  loss.dispose()
  if ((step + 1) % 100 === 0 || step === steps - 1) await saveState(out, { model, opt, step: step + 1 })
}

// Numbers that training never saw.
const numbers = heldOut()
const documents = await model.encodeDocuments(numbers.map(inDigits))
const queries = await model.encodeQueries(numbers.map(inWords))
const hits = await model.search(queries, documents, { topK: 1 })
const right = hits.filter(([best], i) => best?.index === i).length
console.log(`held-out numbers found: ${right} of ${numbers.length}`)

data.close()
opt.dispose()
model.dispose()
