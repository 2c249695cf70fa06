import type { PhaseConfig } from './types.js'

type PresetPhase = Omit<PhaseConfig, 'data'>

/** A list of phases without their data, and what whoever takes it should know. */
export interface Preset {
  /** Where its numbers come from, and in what it deviates from there: sentences. */
  about: readonly string[]
  /** A model that it is meant to start from. */
  model: string
  /** Give that model, an encoder, a new projection. */
  freshProjection?: true
  /** Its phases. */
  phases: readonly PresetPhase[]
}

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
  gradientScale: 'pylate',
  queryLength: 32 + extra,
  documentLength: 180 + extra,
  checkpoint: { every: 500 },
})

const supervised = (extra: number): PresetPhase => ({
  ...common,
  name: 'supervised',
  loss: 'contrastive',
  batch: 64,
  negatives: 10,
  learningRate: 8e-6,
  temperature: 0.2,
  gradientScale: 'pylate-contrastive',
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

const finetuned: PresetPhase = {
  ...common,
  name: 'finetune',
  loss: 'contrastive',
  epochs: 3,
  batch: 128,
  negatives: 50,
  sampleNegatives: 7,
  learningRate: 3e-6,
  temperature: 0.02,
  checkpoint: { every: 500 },
}

const paper = "ColBERT-Zero (arXiv 2602.16609), with the numbers of PyLate's examples/train/ColBERT-zero."
const evaluation = 'The scripts choose the best checkpoint on NanoBEIR: add `evaluate: nanobeir` to a phase for that.'
const masks =
  'Equal texts are not negatives of each other (maskDuplicates), which PyLate does not look at; its scores count negative ' +
  'similarities as 0 (recipe: { clampNegatives: true }), these do not.'
const unsupervisedScale =
  "Phase unsupervised has PyLate's gradient, the batch times that of the mean loss, so that nearly every step is clipped."
const hardNegatives =
  'Phase supervised takes at most 10 negatives of a row; the script takes the smallest number of its source, up to 11.'

const rates = 'Its learning rates are those of the three phases; those of this way are not published.'

const projection = { model: 'answerdotai/ModernBERT-base', freshProjection: true } as const
const dense = { model: 'nomic-ai/modernbert-embed-base-unsupervised', freshProjection: true } as const

function family(
  name: string,
  preset: Omit<Preset, 'phases'>,
  phases: (extra: number) => PresetPhase[],
): [string, Preset][] {
  const plain = 'Without prompts, and lengths without the 7 tokens that they take.'
  return [
    [name, { ...preset, phases: phases(7).map((phase) => ({ ...phase, prompts })) }],
    [
      `${name}-no-prompts`,
      {
        ...preset,
        about: [`${preset.about[0]} ${plain}`, ...preset.about.slice(1)],
        phases: phases(0).map((phase) => ({ ...phase, prompts: { query: '', document: '' } })),
      },
    ],
  ]
}

const laptop = ["Sizes for minutes on a laptop's cores, from a small encoder; of our own making."]
const onLaptop = { about: laptop, model: 'jhu-clsp/ettin-encoder-17m', freshProjection: true } as const

/** Phases without their data. */
export const presets: ReadonlyMap<string, Preset> = new Map<string, Preset>([
  ...family(
    'colbert-zero',
    { ...projection, about: [paper, unsupervisedScale, hardNegatives, masks, evaluation] },
    (extra) => [unsupervised(extra), supervised(extra), distilled(extra)],
  ),
  ...family(
    'supervised-kd',
    {
      ...dense,
      about: [
        'The cheap way: from a dense model that was pre-trained with prompts.',
        paper,
        rates,
        hardNegatives,
        masks,
        evaluation,
      ],
    },
    (extra) => [supervised(extra), distilled(extra)],
  ),
  ...family(
    'kd-only',
    {
      ...{ model: 'nomic-ai/modernbert-embed-base', freshProjection: true },
      about: [
        'The cheapest way: from a dense model that was trained in both of its phases.',
        paper,
        rates,
        masks,
        evaluation,
      ],
    },
    (extra) => [distilled(extra)],
  ),
  [
    'finetune',
    {
      about: [
        "From any ColBERT checkpoint on triplets of your own, with the numbers of LateOn's supervised phase (arXiv 2607.27178).",
        'At each step 7 of up to 50 negatives of a row are drawn; a row with fewer gives what it has.',
        'Prompts and lengths are those of the checkpoint.',
      ],
      model: 'lightonai/LateOn-unsupervised',
      phases: [finetuned],
    },
  ],
  ['laptop', { ...onLaptop, phases: small }],
  ['laptop-supervised-kd', { ...onLaptop, phases: small.slice(1) }],
  ['laptop-kd', { ...onLaptop, phases: small.slice(2) }],
])
