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
  chunkTokens: 65_536,
}

/** Bytes that one rank sends in a step, by collective: what native/core/host_group.cc counts. */
export function bytesPerStep({ ranks, batch, queryTokens, dim, parameters, wire = 4 }) {
  const others = (ranks - 1) / ranks
  return {
    queries: (ranks - 1) * (batch / ranks) * queryTokens * dim * wire, // all-gather
    queryGradients: others * batch * queryTokens * dim * 4, // all-to-all of slices
    statistics: others * batch * 3 * 4 + (ranks - 1) * (batch / ranks) * 4, // all-to-all, and the sums back
    parameters: 2 * others * parameters * 4, // slices there, sums back
  }
}

function predict(ranks, wire) {
  const a = assumptions
  const bytes = bytesPerStep({ ...a, ranks, wire })
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
  // What runs beside them: documents forward; documents again and backward; the backward of the last chunk.
  const [documents, queries] = [119 / 131, 12 / 131].map((share) => share * encoder)
  const last = Math.min(queries, a.chunkTokens / a.recomputedRate)
  const exposed =
    Math.max(0, gather - documents / 3) +
    Math.max(0, home - (documents * 2) / 3) +
    statistics +
    Math.max(0, reduction - last)
  const step = encoder + loss + exposed
  return { ranks, bytes, kept, encoder, loss, gather, home, statistics, reduction, reductionRing, exposed, step }
}

const ms = (seconds) => (seconds * 1000).toFixed(seconds < 0.01 ? 2 : seconds < 0.1 ? 1 : 0)
const mega = (bytes) => (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)
const row = (cells) => `| ${cells.join(' | ')} |`

function tables() {
  const lines = []
  const one = predict(1, 4).step
  for (const [wire, name] of [
    [4, 'float32'],
    [2, 'float16'],
  ]) {
    lines.push(`Unit vectors travel in ${name}:`, '')
    lines.push(
      row([
        'GPUs',
        'encoder ms',
        'loss ms',
        'graphs kept',
        'sent by a rank, MB: queries, their gradients, parameters',
        'in ms',
        'not hidden ms',
        'step ms',
        'efficiency',
      ]),
      row(Array(9).fill('---')),
    )
    for (const ranks of [1, 8, 64, 512]) {
      const p = predict(ranks, wire)
      lines.push(
        row([
          ranks,
          ms(p.encoder),
          ms(p.loss),
          `${Math.round(100 * p.kept)} %`,
          [p.bytes.queries, p.bytes.queryGradients, p.bytes.parameters].map(mega).join(', '),
          ranks === 1 ? '' : `${[p.gather, p.home, p.reduction].map(ms).join(', ')}`,
          ranks === 1 ? '' : ms(p.exposed),
          ms(p.step),
          `${Math.round((100 * one) / (ranks * p.step))} %`,
        ]),
      )
    }
    lines.push('')
  }
  const big = predict(512, 4)
  lines.push(
    `At 512 GPUs the parameter reduction takes ${ms(big.reduction)} ms as all-to-all and sum in rank order, ${ms(big.reductionRing)} ms as a ring.`,
  )
  const { cases } = JSON.parse(readFileSync(new URL('results/ranks.json', import.meta.url), 'utf8'))
  lines.push(
    '',
    row([
      'ranks',
      'batch',
      'query × document tokens',
      'sent by a rank in a step, bytes',
      'formula',
      'documents gathered instead',
    ]),
    row(Array(6).fill('---')),
  )
  for (const c of cases) {
    const formula = Object.values(bytesPerStep({ ...c, wire: 4 })).reduce((a, b) => a + b, 0)
    lines.push(
      row([
        c.ranks,
        c.batch,
        `${c.queryTokens} × ${c.documentTokens}`,
        c.sent,
        Math.round(formula),
        `${c.sentDocuments} (× ${(c.embeddingsDocuments / c.embeddings).toFixed(1)} for the embeddings)`,
      ]),
    )
  }
  return lines.join('\n')
}

if (process.argv[1] === new URL(import.meta.url).pathname) process.stdout.write(`${tables()}\n`)
