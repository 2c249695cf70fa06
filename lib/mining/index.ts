/** Mining of hard negatives. */
export { beirRows, type JudgedRows } from './beir.js'
export { type MiningCorpus, miningCorpus } from './corpus.js'
export { mineNegatives } from './mine.js'
export type { Dropped, MineOptions, MineProgress, MineResult, MiningRow } from './options.js'
