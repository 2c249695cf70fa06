export type { BatchPart, TrainBatch, TrainData } from '../data/collate.js'
export type { TokenColumn } from '../data/column.js'
export { fileSource, fileSources, memorySource, type Source, type TextRow } from '../data/sources.js'
export { AdamW, type AdamWOptions, type ParameterGroup } from './adamw.js'
export { type CheckOptions, checkRun, type RunCheck } from './check.js'
export type { PhaseCheck, SampleRow, SourceCheck } from './check-phase.js'
export { type OpenDataOptions, openData } from './data.js'
export type * from './events.js'
export {
  type BatchLoss,
  type EmbeddingModel,
  type GradCacheOptions,
  gradCache,
  gradCacheAsync,
  type StepKey,
} from './gradcache.js'
export { presets } from './presets.js'
export { duration, type ProgressOptions, showProgress, stepLine } from './progress.js'
export { Run, type TrainOptions, train } from './run.js'
export { constant, cosine, linear, type ScheduleName, schedule } from './schedule.js'
export { latest, loadState, saveState, type TrainingState } from './state.js'
export type {
  BestEvaluation,
  CheckpointConfig,
  CustomLoss,
  Evaluate,
  EvaluateConfig,
  LossName,
  PhaseConfig,
  PhaseResult,
  RunConfig,
  RunResult,
} from './types.js'
