import type { PhaseConfig, RunConfig } from './types.js'

type PresetPhase = Omit<PhaseConfig, 'data'>

/** A list of phases without their data, and what whoever takes it should know. */
export interface Preset {
  /** Where its numbers come from, and in what it deviates from there: sentences. */
  about: readonly string[]
  /** A model that it is meant to start from. */
  model: string
  /** Give that model, an encoder, a new projection. */
  freshProjection?: true
  /** Layers of that projection, where it is not one matrix. */
  head?: RunConfig['head']
  /** How texts become tokens, where it is to differ from what the model says. */
  recipe?: RunConfig['recipe']
  /** Its phases. */
  phases: readonly PresetPhase[]
}

/**
 * ColBERT-Zero (arXiv 2602.16609; numbers from PyLate's examples/train/ColBERT-zero): AdamW without decay, clipping at
 * 1, no warm-up, linear decay to 0. Its texts have prompts, which use 7 tokens of the length.
 */
const prompts = { query: 'search_query: ', document: 'search_document: ' }
const adamW = { schedule: 'linear', warmup: 0, weightDecay: 0, maxGradNorm: 1 } as const
const common = { ...adamW, epochs: 1 } as const

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

/** LateOn and mLateOn (arXiv 2607.27178; numbers from lightonai/mdenseon-mlateon). They have no prompts. */
const pretrained = (learningRate: number): PresetPhase => ({
  ...adamW,
  name: 'unsupervised',
  loss: 'contrastive',
  batch: 16_384,
  negatives: 0,
  steps: 90_000,
  scheduleSteps: 110_000,
  warmup: 0.05,
  learningRate,
  temperature: 0.02,
  gradientScale: 'pylate',
  sampling: { tempered: 0.5 },
  smallSources: 'wrap',
  queryLength: 42,
  documentLength: 310,
  checkpoint: { every: 1000 },
})

const drawn = {
  ...common,
  loss: 'contrastive',
  epochs: 3,
  batch: 128,
  negatives: 50,
  sampleNegatives: 7,
  learningRate: 3e-6,
  temperature: 0.02,
} as const

const lateOn: PresetPhase = {
  ...drawn,
  name: 'supervised',
  dropAbove: 0.99,
  gather: 'none',
  documentLength: 300,
  checkpoint: { every: 2000 },
}

/** For rows without scores, on one machine, from a checkpoint whose lengths it keeps. */
const finetuned: PresetPhase = { ...drawn, name: 'finetune', checkpoint: { every: 500 } }

const mLateOn: PresetPhase = {
  ...common,
  name: 'supervised',
  loss: { contrastive: 1, distillation: 1 },
  batch: 128,
  negatives: 10,
  sampleNegatives: 7,
  dropAbove: 0.95,
  learningRate: 3e-6,
  scores: 'mean',
  temperature: 0.001,
  studentTemperature: 0.001,
  teacherTemperature: 0.1,
  normalizeScores: false,
  sampling: { tempered: 0.5 },
  smallSources: 'wrap',
  queryLength: 8192,
  documentLength: 8192,
  checkpoint: { every: 20_000 },
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

const late = "with the numbers of the authors' scripts (arXiv 2607.27178, lightonai/mdenseon-mlateon)."
const lateHead =
  'The projection is a residual MLP, 768 to 1536 to 768, and a matrix to 128; an encoder of another width needs other numbers.'
const lateNegatives =
  'The scripts leave out rows with too few negatives, and draw the same places in the lists of a whole batch; here every row ' +
  'is used, and its negatives are drawn for itself.'
const lateEvaluation =
  'The scripts evaluate on NanoBEIR, those of mLateOn on its translations: add `evaluate: nanobeir` to a phase for that.'
const oneRank =
  'In phase supervised a query sees the documents of its own rank alone (gather: none), so that the number of ranks counts; ' +
  'how many the authors used is not published.'
const twoScores =
  'The script drops negatives by the scores of a retriever and distils from those of a reranker (rerank_scores); here one ' +
  'column of scores serves for both.'
const byRanks =
  "The script's contrastive term counts as often as there are GPUs, against once for the distillation: with 8 of them, " +
  'loss: { contrastive: 8, distillation: 1 }.'
const oneRecipe =
  'The script turns query expansion off and empties the skiplist for phase supervised alone; here, where a model is used as ' +
  'it was trained, both phases have it so.'
const residual = {
  freshProjection: true,
  head: [{ out: 1536, residual: true }, { out: 768, residual: true }, { out: 128 }],
} as const

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
    'lateon',
    {
      ...residual,
      model: 'answerdotai/ModernBERT-base',
      about: [
        `LateOn, unsupervised and supervised, ${late}`,
        ...[lateHead, unsupervisedScale, lateNegatives, oneRank, masks, lateEvaluation],
      ],
      phases: [pretrained(2e-4), lateOn],
    },
  ],
  [
    'mlateon',
    {
      ...residual,
      model: 'jhu-clsp/mmBERT-base',
      recipe: { queryExpansion: false, skiplistWords: [] },
      about: [
        `mLateOn, unsupervised and supervised with a reranker's scores, ${late}`,
        ...[lateHead, unsupervisedScale, lateNegatives, twoScores, byRanks, oneRecipe, masks, lateEvaluation],
      ],
      phases: [pretrained(8e-5), mLateOn],
    },
  ],
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
