export type { Ranks } from '../distributed/batch-slice.js'
export { type ContrastiveOptions, contrastive, type TokenEmbeddings } from './contrastive.js'
export { type DistillationOptions, distillation, marginMse } from './distillation.js'
