// @ts-check

/** What the demo trains and how. Chosen on the dev collection (docs/demo.md says what else was tried). */

/** A ModernBERT-shaped ColBERT, small enough to train in minutes on two cores. */
export const architecture = {
  architecture: /** @type {const} */ ('modernbert'),
  layers: 2,
  width: 128,
  heads: 2,
  dim: 64,
  recipe: { queryLength: 32, documentLength: 48, queryExpansion: false },
}

export const vocabulary = 8000

/** Shared by all phases. Chunks are small and their graphs are kept: a batch needs little memory here. */
export const training = { chunkTokens: 2048 }

export const contrastive = {
  loss: /** @type {const} */ ('contrastive'),
  batch: 128,
  steps: 3000,
  learningRate: 2e-3,
  warmup: 0.1,
  weightDecay: 0.01,
  temperature: 0.1,
}

/** Negatives per query beside those of the batch, and how they are found. */
export const hardNegatives = {
  loss: /** @type {const} */ ('contrastive'),
  batch: 64,
  steps: 600,
  learningRate: 5e-4,
  warmup: 0.1,
  weightDecay: 0.01,
  temperature: 0.1,
  negatives: 4,
  fromSisters: 2,
  fromModel: 20,
  fromBm25: 20,
}

export const graphSupervision = {
  loss: /** @type {const} */ ('distillation'),
  batch: 64,
  steps: 400,
  learningRate: 3e-4,
  warmup: 0.1,
  weightDecay: 0.01,
  temperature: 0.5,
  normalizeScores: false,
  negatives: 7,
  teacherScale: 10,
}

/** Queries that get candidates, the documents a model mines them from, and how many of the best are looked at. */
export const mining = { queries: 20_000, documents: 20_000, fromModel: 50, fromBm25: 50 }
