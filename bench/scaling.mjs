// Predicts the time of a phase-1 step (global batch 16,384) at 8, 64 and 512 GPUs, from bytes that this project counted,
// published link speeds and the CUDA goals. Nothing here was run on a GPU; docs/scaling.md says what each number is.
//
// usage: node bench/scaling.mjs      prints the tables of docs/scaling.md; reads bench/results/ranks.json
import { readFileSync } from 'node:fs'

/** Every assumption, in one place. Times in seconds, sizes in bytes. */
export const assumptions = {
  batch: 16_384,
  queryTokens: 32, // scored, with expansion
  realTokens: 12 + 119, // attended, of a query and its document (design §7)
  dim: 128,
  parameters: 149e6, // ModernBERT-base with its projection
  keptRate: 450e3, // real tokens/s a GPU, graphs kept: the accepted goal
  recomputedRate: 340e3,
  keptBytesPerToken: 0.4e6, // an estimate: 22 layers with flash attention
  keptBudget: 60e9,
  lossSeconds: 2.1, // InfoNCE 16,384², 32 × 180 tokens, on one GPU: the accepted goal of the portable kernels
  gpusPerNode: 8,
  nvlink: 370e9, // what NCCL reaches of 450 GB/s each way (NVIDIA/nccl-tests#212)
  nic: 47e9, // of one 400 Gb/s adapter per GPU, 46-48 (NVIDIA/nccl-tests#290)
  hop: 5e-6, // latency per step of a ring between nodes, and per message of an all-to-all: a guess
  bucket: 25e6,
  microBatchTokens: 65_536,
}

/** Bytes that one rank sends in a step, by collective: what native/distributed/host_group.cc counts. */
export function bytesPerStep({ ranks, batch, queryTokens, dim, parameters, bytesPerNumber = 4 }) {
  const others = (ranks - 1) / ranks
  return {
    queries: (ranks - 1) * (batch / ranks) * queryTokens * dim * bytesPerNumber, // all-gather
    queryGradients: others * batch * queryTokens * dim * 4, // all-to-all of slices
    statistics: others * batch * 3 * 4 + (ranks - 1) * (batch / ranks + 1) * 4, // all-to-all; the sums back; the loss
    parameters: 2 * others * parameters * 4, // slices there, sums back
  }
}

function predict(ranks, bytesPerNumber) {
  const a = assumptions
  const bytes = bytesPerStep({ ...a, ranks, bytesPerNumber })
  const nodes = Math.ceil(ranks / a.gpusPerNode)
  const tokens = (a.batch * a.realTokens) / ranks
  const kept = Math.min(1, a.keptBudget / (tokens * a.keptBytesPerToken))
  const encoder = (tokens * kept) / a.keptRate + (tokens * (1 - kept)) / a.recomputedRate
  const loss = a.lossSeconds / ranks
  // A ring enters each node once, through all its adapters; an all-to-all leaves it through each rank's own.
  const ring = (sent) => sent / (nodes > 1 ? Math.min(a.nvlink, a.gpusPerNode * a.nic) : a.nvlink) + a.hop * nodes
  const apart = (ranks - Math.min(ranks, a.gpusPerNode)) / Math.max(1, ranks - 1) // share that leaves the node
  const toAll = (sent) => Math.max((sent * apart) / a.nic, (sent * (1 - apart)) / a.nvlink) + a.hop * nodes
  const gather = ring(bytes.queries)
  const home = toAll(bytes.queryGradients)
  const statistics = toAll(bytes.statistics) + a.hop * nodes
  const buckets = Math.ceil((a.parameters * 4) / a.bucket)
  const reduction = toAll(bytes.parameters) + a.hop * nodes * (buckets - 1)
  const reductionRing = ring(bytes.parameters) + a.hop * nodes * (buckets - 1)
  // What runs beside them: documents forward; documents again and backward; the backward of the last micro-batch.
  const [documents, queries] = [119 / 131, 12 / 131].map((share) => share * encoder)
  const last = Math.min(queries, a.microBatchTokens / a.recomputedRate)
  const exposed = (reduction) =>
    Math.max(0, gather - documents / 3) +
    Math.max(0, home - (documents * 2) / 3) +
    statistics +
    Math.max(0, reduction - last)
  const steps = [reduction, reductionRing].map((r) => encoder + loss + (ranks > 1 ? exposed(r) : 0))
  return { ranks, bytes, kept, encoder, loss, gather, home, reduction, reductionRing, steps }
}

const ms = (seconds) => (seconds * 1000).toFixed(seconds < 0.01 ? 2 : seconds < 0.1 ? 1 : 0)
const mega = (bytes) => (bytes / 1e6).toFixed(0)
const row = (cells) => `| ${cells.join(' | ')} |`
const head = (...names) => [row(names), row(names.map(() => '---'))]

function prediction() {
  const one = predict(1, 4).steps[0]
  const lines = head(
    'GPUs',
    'graphs kept',
    'encoder ms',
    'loss ms',
    'a rank sends, MB: queries, dQ, parameters',
    'ms: queries, dQ, parameters (as a ring)',
    'step ms (ring)',
    'efficiency (ring)',
  )
  for (const ranks of [1, 8, 64, 512]) {
    const { kept, encoder, loss, bytes, gather, home, reduction, reductionRing, steps } = predict(ranks, 4)
    const alone = ranks === 1
    const efficiency = steps.map((step) => `${Math.round((100 * one) / (ranks * step))} %`)
    lines.push(
      row([
        ranks,
        `${Math.round(100 * kept)} %`,
        ms(encoder),
        ms(loss),
        alone ? '' : [bytes.queries, bytes.queryGradients, bytes.parameters].map(mega).join(', '),
        alone ? '' : `${[gather, home, reduction].map(ms).join(', ')} (${ms(reductionRing)})`,
        alone ? ms(steps[0]) : `${ms(steps[0])} (${ms(steps[1])})`,
        alone ? '' : `${efficiency[0]} (${efficiency[1]})`,
      ]),
    )
  }
  return lines
}

function counted() {
  const { cases } = JSON.parse(readFileSync(new URL('results/ranks.json', import.meta.url), 'utf8'))
  const lines = head(
    'ranks',
    'a rank sends in a step, bytes',
    'formula',
    'with documents gathered',
    'embeddings and statistics alone',
  )
  for (const c of cases) {
    const formula = Object.values(bytesPerStep({ ...c, bytesPerNumber: 4 })).reduce((a, b) => a + b, 0)
    const ratio = (c.embeddingsDocuments / c.embeddings).toFixed(2)
    lines.push(row([c.ranks, c.sent, Math.round(formula), c.sentDocuments, `${ratio} times as many`]))
  }
  return lines
}

if (process.argv[1] === new URL(import.meta.url).pathname)
  process.stdout.write(`${[...prediction(), '', ...counted()].join('\n')}\n`)
