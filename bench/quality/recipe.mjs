// The settings of all experiments here, chosen on tldr's dev split before any test was looked at.
import { openColbert, openDense } from './common.mjs'

/** Rows of each source for which negatives are mined. */
export const minedRows = { tldr: 4000, 'python-doc': 1200, 'postgresql-doc': 1200, 'libreoffice-help': 1200 }
const unsupervised = { batch: 64, steps: 300, learningRate: 6e-5, temperature: 1 }
const supervised = { batch: 16, steps: 60, learningRate: 2e-5, temperature: 1, negatives: 4 }
const distillation = {
  ...{ batch: 16, steps: 50, learningRate: 2e-5, negatives: 7 },
  // Cosines of the teacher lie within some tenths of each other: at temperature 1 they say next to nothing.
  ...{ temperature: 1, studentTemperature: 1, teacherTemperature: 0.05, normalizeScores: false },
}

const lengths = { queryLength: 64, documentLength: 180 }
const common = { sampling: { tempered: 0.5 }, ...lengths, warmup: 0.1, checkpoint: { every: 50 } }
const teacherPrompts = { queryPrompt: 'Represent this sentence for searching relevant passages: ', documentPrompt: '' }

/** The prompts of ColBERT-Zero, which take tokens of the length. */
export const prompted = {
  prompts: { query: 'search_query: ', document: 'search_document: ' },
  ...{ queryLength: 70, documentLength: 186 },
}

/** A dense encoder's folder as a ColBERT with a new projection. */
export const startOf = (seed) => ({
  ...{ freshProjection: true, seed },
  recipe: { queryLength: 128, queryExpansion: 32, documentLength: 256 },
})

export const unsupervisedPhase = (data) => ({
  ...{ name: 'unsupervised', loss: 'contrastive', data, smallSources: 'wrap' },
  ...{ ...common, ...unsupervised },
})
export const supervisedPhase = (data) => ({ name: 'supervised', loss: 'contrastive', data, ...common, ...supervised })
/** What prompts.mjs and miners.mjs compare is trained for less: a fifth of the first phase's steps, half of the second's. */
export const short = { first: { steps: 60 }, second: { steps: 30 } }
export const distillationPhase = (data) => ({
  ...{ name: 'distillation', loss: { contrastive: 1, distillation: 1 }, data },
  ...{ ...common, ...distillation },
})

/** How negatives are mined, by whatever ranks. */
export const mining = (seed) => ({ negatives: 15, depth: [3, 60], dropAbove: 0.98, sampling: 'random', seed })

export const openStart = (folder, seed) => openColbert(folder, startOf(seed))
export const openPlain = (folder) => openDense(folder, { queryPrompt: '', documentPrompt: '' })
export const openTeacher = (folder) => openDense(folder, teacherPrompts)
