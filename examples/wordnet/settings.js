// @ts-check

/** What the demo trains and how. Chosen on the dev collection; docs/notes/demo-trials.md says what else was tried. */

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

/** Shared by all phases; `seed` and `out` are options. */
export const training = { microBatchTokens: 2048 }

const optimizer = { warmup: 0.1, weightDecay: 0.5 }

/** Phase 1: the other documents of the batch are the negatives. */
export const contrastive = {
  ...optimizer,
  loss: /** @type {const} */ ('contrastive'),
  batch: 128,
  steps: 1200,
  learningRate: 2e-3,
  temperature: 0.1,
}

/**
 * Phase 2. Negatives are drawn from what the phase-1 model ranks from 6 to 50: the very best are too often right as
 * well. Sisters only fill up, see docs/notes/demo-trials.md.
 */
export const hardNegatives = {
  ...optimizer,
  loss: /** @type {const} */ ('contrastive'),
  batch: 64,
  steps: 100, // each query once: repeating the few that were mined overfits
  learningRate: 5e-4,
  temperature: 0.1,
  negatives: 4,
  fromSisters: 0,
  minedRanks: [5, 50],
}

/** Phase 3. Lin's similarities differ by little; `teacherScale` makes a distribution of them that has a peak. */
export const graphSupervision = {
  ...optimizer,
  loss: /** @type {const} */ ('distillation'),
  batch: 64,
  steps: 60,
  learningRate: 3e-5, // what was learnt should stay, see docs/notes/demo-trials.md
  temperature: 0.1,
  normalizeScores: false,
  negatives: 7,
  teacherScale: 40,
}

/** Queries that get candidates, the documents that the model searches for them, and how many of the best are kept. */
export const mining = { queries: 6_400, documents: 10_000, fromModel: 50, fromBm25: 50 }
