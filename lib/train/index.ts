export type { BatchPart, DataOptions, TrainBatch, TrainData } from '../data/collate.js'
export type { TokenColumn } from '../data/column.js'
export type { Sampling, SmallSources } from '../data/plan.js'
export type { ColumnMap, TextRow } from '../data/rows.js'
export type { PrepareOptions, PrepareProgress, ShardSource } from '../data/shards.js'
export {
  type DataEntry,
  type FileSourceOptions,
  fileSource,
  fileSources,
  memorySource,
  type Source,
  type SourceOptions,
} from '../data/sources.js'
export type { TableFiles } from '../data/table-files.js'
export type { CommDtype } from '../distributed/exchange.js'
export {
  type GroupSettings,
  groupExitCode,
  type Pending,
  type ProcessGroup,
  RankGroup,
  singleProcess,
} from '../distributed/group.js'
export { startedByLauncher } from '../distributed/launcher.js'
export { duration } from '../io/amounts.js'
export type { GroupStats } from '../native.js'
export type { StepKey } from '../nn/index.js'
export type { RunCheck } from './check/check.js'
export type { PhaseCheck, SampleRow, Trial } from './check/check-phase.js'
export type { SourceCheck } from './check/check-source.js'
export type { Fault } from './check/faults.js'
export type { JudgedTexts, Leak, LeakCount } from './check/leaks.js'
export type { MemoryEstimate } from './check/memory.js'
export type { Repeats } from './check/repeats.js'
export type { SampleText, TextLengths } from './check/texts.js'
export { latest, loadState, saveState, type TrainingState } from './checkpoint/state.js'
export { type Preset, presets } from './config/presets.js'
export type {
  BestEvaluation,
  CardConfig,
  CheckpointConfig,
  CustomLoss,
  Evaluate,
  EvaluateConfig,
  GuideConfig,
  LossName,
  LossWeights,
  PhaseConfig,
  PhaseResult,
  ResolvedPhase,
  ResolvedRun,
  RunConfig,
  RunResult,
} from './config/types.js'
export { type OpenDataOptions, openData } from './data.js'
export type * from './events.js'
export {
  type BatchLoss,
  type EmbedBatchOptions,
  type EmbeddingModel,
  embedBatch,
  type GradCacheOptions,
  gradCache,
  gradCacheAsync,
} from './gradcache.js'
export { type CheckOptions, checkRun } from './loop/check-run.js'
export { type ProgressOptions, showProgress, stepLine } from './loop/progress.js'
export { Run, type TrainOptions, train } from './loop/run.js'
export { AdamW, type AdamWOptions, type ParameterGroup } from './optim/adamw.js'
export { constant, cosine, linear, type ScheduleName, schedule } from './optim/schedule.js'
