// Training steps on several ranks: bytes per step of both ways to gather, and how long ranks wait for each other.
//
// usage: mpirun -n 2 node bench/ranks.mjs [--mode time|bytes] [--threads 1] [--steps 8] [--out FILE.json]
//        node bench/ranks.mjs --threads 2        one rank, for comparison
// Needs the compiled library (npm run setup) and an MPI. `time`: the ettin-17m shape on the lengths of bench/peers,
// batch 64, graphs kept. `bytes`: a small model, 32 and 300 tokens; prints what each rank sent.
import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'

const { values: options } = parseArgs({
  options: {
    mode: { type: 'string', default: 'time' },
    threads: { type: 'string', default: '1' },
    steps: { type: 'string', default: '8' },
    warmup: { type: 'string', default: '2' },
    out: { type: 'string' },
  },
})
process.env.LATEFORGE_THREADS = options.threads
const { contrastive } = await import('lateforge/losses')
const { AdamW, gradCacheAsync, RankGroup, singleProcess, startedByLauncher } = await import('lateforge/train')
const { batchOf, createModel } = await import('../dist/bench/synthetic.js')

const group = startedByLauncher() ? RankGroup.join() : singleProcess
const { rank, size } = group
const timing = options.mode === 'time'
const vocabulary = timing ? 50368 : 200
const shape = timing ? { layers: 7, width: 256, intermediate: 384, heads: 4 } : { layers: 1, width: 64, heads: 1 }
const model = await createModel(shape, vocabulary)
const { steps: lengths } = JSON.parse(readFileSync(new URL('peers/lengths.json', import.meta.url), 'utf8'))
const batches = timing ? lengths : [{ queries: Array(48).fill(32), documents: Array(48).fill(300) }]

const tokensOf = ({ queries, documents }) => [...queries, ...documents].reduce((a, b) => a + b, 0)
const optimizer = new AdamW(model.parameterGroups([{ learningRate: 3e-5, weightDecay: 0.01 }]), { maxGradNorm: 1 })
const loss = ({ queries, documents, ranks }) => contrastive(queries, documents, { temperature: 0.05, ranks })

async function trainStep(step, gather) {
  const lengths = batches[step % batches.length]
  const batch = batchOf(lengths, step, vocabulary, group)
  const settings = { microBatchTokens: 4096, activationMemory: 1.2e9, seed: 1, step, group, gather }
  const value = await gradCacheAsync(model, batch, loss, settings)
  const norm = optimizer.step()
  await Promise.all([value.value(), norm.value()])
  value.dispose()
  norm.dispose()
  return tokensOf(lengths)
}

const statsNow = () => group.stats?.() ?? { bytes: {}, waitSeconds: 0, busySeconds: 0, calls: {} }
const total = ({ bytes }) => Object.values(bytes).reduce((a, b) => a + b, 0)

if (timing) {
  const [seconds, waits, rates] = [[], [], []]
  for (let i = 0; i < Number(options.warmup) + Number(options.steps); i++) {
    await group.exchange(new Uint8Array()) // ranks begin together
    const [before, started] = [statsNow(), performance.now()]
    const tokens = await trainStep(i)
    const took = (performance.now() - started) / 1000
    if (i < Number(options.warmup)) continue
    seconds.push(took)
    waits.push((statsNow().waitSeconds - before.waitSeconds) / took)
    rates.push(tokens / took)
  }
  const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]
  const range = (list, digits) => `${Math.min(...list).toFixed(digits)}-${Math.max(...list).toFixed(digits)}`
  const line = `rank ${rank} of ${size}, ${options.threads} thread(s): ${median(rates).toFixed(0)} tokens/s (${range(rates, 0)}), step ${median(seconds).toFixed(2)} s, waiting ${(100 * median(waits)).toFixed(1)} % (${range(
    waits.map((w) => 100 * w),
    1,
  )})`
  process.stdout.write(`${line}\n`)
} else {
  const sent = {}
  for (const gather of ['queries', 'documents']) {
    const before = statsNow()
    await trainStep(0, gather)
    sent[gather] = total(statsNow()) - total(before)
  }
  const [{ queries, documents }] = batches
  const parameters = model.parameters.count
  const reduction = (2 * (size - 1) * parameters * 4) / size
  const found = {
    ranks: size,
    batch: queries.length,
    queryTokens: queries[0],
    documentTokens: documents[0],
    dim: 128,
    parameters,
    sent: sent.queries,
    sentDocuments: sent.documents,
    embeddings: sent.queries - reduction,
    embeddingsDocuments: sent.documents - reduction,
  }
  if (rank === 0) process.stdout.write(`${JSON.stringify(found)}\n`)
  if (rank === 0 && options.out) {
    let cases = []
    try {
      cases = JSON.parse(readFileSync(options.out, 'utf8')).cases
    } catch {
      // the first
    }
    const others = cases.filter((c) => c.ranks !== size)
    const all = { what: 'bytes sent by rank 0 in a step, counted by the group', cases: [...others, found] }
    all.cases.sort((a, b) => a.ranks - b.ranks)
    writeFileSync(options.out, `${JSON.stringify(all, null, 2)}\n`)
  }
}
await group.exchange(new Uint8Array())
