import type { PhaseConfig } from './types.js'

type PresetPhase = Omit<PhaseConfig, 'data'>

/**
 * ColBERT-Zero (arXiv 2602.16609; numbers from PyLate's examples/train/ColBERT-zero): AdamW without decay, clipping at
 * 1, no warm-up, linear decay to 0. Its texts have prompts, which use 7 tokens of the length.
 */
const prompts = { query: 'search_query: ', document: 'search_document: ' }
const common = { schedule: 'linear', warmup: 0, weightDecay: 0, maxGradNorm: 1, epochs: 1 } as const

const unsupervised = (extra: number): PresetPhase => ({
  ...common,
  name: 'unsupervised',
  loss: 'contrastive',
  batch: 16_384,
  negatives: 0,
  learningRate: 3e-4,
  temperature: 0.02,
  queryLength: 32 + extra,
  documentLength: 180 + extra,
  checkpoint: { every: 500 },
})

/** Hard negatives: all that a row has; the paper's sources have up to 10. */
const supervised = (extra: number): PresetPhase => ({
  ...common,
  name: 'supervised',
  loss: 'contrastive',
  batch: 64,
  learningRate: 8e-6,
  temperature: 0.2,
  queryLength: 32 + extra,
  documentLength: 512 + extra,
  checkpoint: { every: 1500 },
})

/** 32 documents a query with scores of a cross-encoder. */
const distilled = (extra: number): PresetPhase => ({
  ...common,
  name: 'distillation',
  loss: 'distillation',
  batch: 128,
  learningRate: 4e-6,
  queryLength: 32 + extra,
  documentLength: 512 + extra,
  checkpoint: { every: 400 },
})

/** Sizes for minutes on a laptop's cores, from random weights or a small encoder; of our own making. */
const small: PresetPhase[] = [
  {
    name: 'unsupervised',
    loss: 'contrastive',
    batch: 96,
    negatives: 0,
    steps: 800,
    learningRate: 2e-3,
    schedule: 'cosine',
    warmup: 0.05,
    temperature: 0.05,
    checkpoint: { every: 200 },
  },
  {
    name: 'supervised',
    loss: 'contrastive',
    batch: 32,
    steps: 400,
    learningRate: 5e-4,
    warmup: 0.05,
    temperature: 0.1,
    checkpoint: { every: 200 },
  },
  { name: 'distillation', loss: 'distillation', batch: 16, steps: 300, learningRate: 2e-4, checkpoint: { every: 150 } },
]

function family(name: string, phases: (extra: number) => PresetPhase[]): [string, readonly PresetPhase[]][] {
  return [
    [name, phases(7).map((phase) => ({ ...phase, prompts }))],
    [`${name}-no-prompts`, phases(0).map((phase) => ({ ...phase, prompts: { query: '', document: '' } }))],
  ]
}

/** Phases without their data. */
export const presets: ReadonlyMap<string, readonly PresetPhase[]> = new Map<string, readonly PresetPhase[]>([
  ...family('colbert-zero', (extra) => [unsupervised(extra), supervised(extra), distilled(extra)]),
  ...family('supervised-kd', (extra) => [supervised(extra), distilled(extra)]),
  ...family('kd-only', (extra) => [distilled(extra)]),
  ['laptop', small],
  ['laptop-supervised-kd', small.slice(1)],
  ['laptop-kd', small.slice(2)],
])
