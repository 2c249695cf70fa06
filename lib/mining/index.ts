/** Mining of hard negatives. */
export { beirRows, type JudgedRows } from './beir.js'
export type { Dropped } from './choose.js'
export { type MiningCorpus, miningCorpus } from './corpus.js'
export { mineNegatives } from './mine.js'
export type { MineOptions, MineProgress, MineResult } from './options.js'
