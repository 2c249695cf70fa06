export type { Ranks } from '../distributed/batch-slice.js'
export type { TokenEmbeddings } from '../tensor/ops.js'
export { type ContrastiveOptions, contrastive } from './contrastive.js'
export { type DistillationOptions, distillation, type MarginOptions, marginMse } from './distillation.js'
