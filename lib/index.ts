/** ColBERT models: train them, encode with them, search with them. Nothing native is loaded before it is used. */
export {
  AbortedError,
  ArgumentError,
  CheckpointError,
  ConfigError,
  DataError,
  DeviceError,
  DisposedError,
  DivergedError,
  DTypeError,
  FileError,
  FormatError,
  GroupError,
  HubError,
  LateforgeError,
  LockedError,
  NativeError,
  OutOfMemoryError,
  RecipeError,
  RequestError,
  ShapeError,
  UnsupportedError,
} from './errors.js'
export type { PushOptions, PushResult } from './hub/push.js'
export type { HubProgress } from './hub/repository.js'
export { Colbert } from './models/colbert.js'
export type { CreateConfig, HeadLayerConfig } from './models/create.js'
export type { EncodeOptions } from './models/encode.js'
export {
  type ExplainedDocument,
  type ExplainedMatch,
  type ExplainedText,
  type ExplainedToken,
  type ExplainOptions,
  type Explanation,
  explain,
  type TokenKind,
  tokenKinds,
} from './models/explain.js'
export type {
  CreateOptions,
  EvaluationDetails,
  EvaluationRecord,
  LoadOptions,
  PhaseRecord,
  SaveOptions,
  SourceRecord,
  TrainingRecord,
} from './models/options.js'
export type { ParameterGroupOptions } from './models/parameter-groups.js'
export { pushFolder } from './models/push.js'
export type { OnProgress, Progress, ProgressStage, ProgressUnit } from './progress.js'
export type { DeviceEmbeddings, Embeddings, Role } from './retrieval/embeddings.js'
export type { TokenMatch } from './retrieval/matches.js'
export type { Hit, SearchedDocuments, SearchOptions } from './retrieval/search.js'
export { type CpuSettings, type CpuState, setCpu } from './tensor/cpu.js'
export type { AlignedField, RecipeChange } from './text/alignment.js'
export { defaultRecipe, type Recipe } from './text/recipe.js'
export { Tokenizer } from './text/tokenizer/tokenizer.js'
export { trainWordPiece, type WordPieceOptions } from './text/tokenizer/train-wordpiece.js'
export type {
  BestEvaluation,
  CustomLoss,
  Evaluate,
  PhaseConfig,
  PhaseResult,
  ResolvedPhase,
  ResolvedRun,
  RunConfig,
  RunResult,
} from './train/config/types.js'
export type * from './train/events.js'
export { Run, type TrainOptions, train } from './train/loop/run.js'
