import type { TrainBatch } from '../../data/collate.js'
import type { Sampling, SmallSources } from '../../data/plan.js'
import type { DataEntry, Source } from '../../data/sources.js'
import type { ProcessGroup } from '../../distributed/group.js'
import type { Ranks, TokenEmbeddings } from '../../losses/index.js'
import type { Colbert } from '../../models/colbert.js'
import type { HeadLayerConfig } from '../../models/create.js'
import type { EvaluationDetails } from '../../models/options.js'
import type { OnProgress } from '../../progress.js'
import type { Precision } from '../../tensor/device.js'
import type { Tensor } from '../../tensor/tensor.js'
import type { AlignedField } from '../../text/alignment.js'
import type { Recipe } from '../../text/recipe.js'
import type { ScheduleName } from '../optim/schedule.js'

/** A loss of one's own. Its `id` stands for it in the run's fingerprint: change it when the function changes. */
export interface CustomLoss {
  /** Name of the loss and its version. */
  id: string
  /**
   * From packed unit-norm embeddings to a scalar [1]; called on a tape. The embeddings carry the recipe's
   * `clampNegatives`, which the losses of lateforge/losses go by; one's own scores should too.
   */
  fn: (input: {
    queries: TokenEmbeddings
    documents: TokenEmbeddings
    batch: TrainBatch
    /** On one rank or several: which embeddings these are. The loss is the whole batch's; gradients are summed. */
    ranks: Ranks
    temperature: number
    /** log(1/temperature) as a parameter [1], where the temperature is learned. */
    logScale: Tensor | undefined
  }) => Tensor
}

/** Losses by name: those of lateforge/losses. */
export type LossName = 'contrastive' | 'distillation' | 'margin-mse'

/** Two losses or more in one, by their weights ≥ 0; of one with weight 0 the value is shown and nothing learned. */
export type LossWeights = Partial<Record<LossName, number>>

/** By whose scores a phase leaves out false negatives. */
export interface GuideConfig {
  /** A folder or Hugging Face name, or a model; of any kind that loads, with texts as it reads them. It is not trained. */
  model: string | Colbert
  /** Take a dense model's folder as what it is (as of `Colbert.load`). Default false. */
  dense?: boolean
  /** How texts become tokens, where it is to differ from what the guide's folder says. */
  recipe?: Partial<Omit<Recipe, 'tokenizerHash'>>
  /** Left out is what the guide scores above the positive less this, in units of its scores. Default 0. */
  margin?: number
  /** The margin is a share of the positive's score. Default false. */
  relative?: boolean
}

/** When a phase is evaluated, and by what it is judged. */
export interface EvaluateConfig {
  /** Steps between evaluations; there is always one at the end of the phase. Default: as checkpoints. */
  every?: number
  /** The key of the metrics that decides what is best. Default `ndcg@10`. */
  metric?: string
  /** Whether more is better. Default `max`. */
  mode?: 'max' | 'min'
  /** Stop the phase after so many evaluations in a row without a new best. Default: never. */
  patience?: number
  /**
   * For the function that evaluates: BEIR folders, or names as `nanobeir` and `beir/scifact`; of several, `metric` is the
   * mean. The command line's needs it.
   */
  data?: string | readonly string[]
  /** Of the collections. On the command line by default `dev` of folders, and of a name the one that BEIR reports. */
  split?: string
}

/** When checkpoints are written, and which are kept. */
export interface CheckpointConfig {
  /** Steps between checkpoints; there is always one at the end of the phase. Default 500. */
  every?: number
  /** How many of these to keep, besides the best and the last of each phase. Default 2. */
  keep?: number
}

/** What the card of a trained model, README.md, shows. */
export interface CardConfig {
  /** Rows of each source, cut short. 0: none, for data that may not be shown. Default 3. */
  samples?: number
}

/** One phase of a run: a loss over data, for some steps. */
export interface PhaseConfig {
  /** Letters, digits, `.`, `_`, `-`; unique in the run. */
  name: string
  /** By name, several with their weights (`{ contrastive: 1, distillation: 1 }`), or your own. */
  loss: LossName | LossWeights | CustomLoss
  /**
   * File patterns of .jsonl, .jsonl.gz or .parquet, each file a source; entries { files } that are one; or sources (from
   * TypeScript).
   */
  data: string | DataEntry | Source | readonly (string | DataEntry | Source)[]
  /** Queries of a step, over all devices. */
  batch: number
  /** Most documents beside the positive, from the front of a row; a row with fewer is used as it is. Default: all. */
  negatives?: number
  /**
   * Of these, so many drawn anew at each step, a function of seed, step and row alone; scores follow their documents.
   * Default: all.
   */
  sampleNegatives?: number
  /**
   * Before both, negatives are left out whose stored score is so many times the positive's, or more: false negatives, for
   * a value as 0.95. `check` says how many. Default: none is.
   */
  dropAbove?: number
  /** How long: steps, or passes over the data. Default: one epoch. */
  steps?: number
  /** Instead of `steps`: passes over the data. */
  epochs?: number
  /** Peak learning rate of AdamW. */
  learningRate: number
  /** Default `linear`, to 0. */
  schedule?: ScheduleName
  /** Steps over which the schedule comes down to 0, where the phase stops before. Default: those of the phase. */
  scheduleSteps?: number
  /** Steps of linear warm-up (≥ 1), or their share of `scheduleSteps` (< 1). Default 0. */
  warmup?: number
  /** MaxSim in the loss: the sum over a query's tokens, or their mean (MeanMaxSim, as mLateOn). Default `sum`. */
  scores?: 'sum' | 'mean'
  /** Scores are divided by it before the softmax; 1e-30 to 1e30, where it is learned 0.01 at least. Default 1. */
  temperature?: number
  /** Learn log(1/temperature), without decay; it stays at 0.01 and above. Default false. */
  learnableTemperature?: boolean
  /** Distillation beside another loss: the temperature of the student's scores in it. Default: `temperature`. */
  studentTemperature?: number
  /** Distillation: teacher scores are divided by it before the softmax; 1e-30 to 1e30. Default 1. */
  teacherTemperature?: number
  /** Distillation: the loss times the student's temperature squared, as sentence-transformers. Default false. */
  temperatureSquared?: boolean
  /** Distillation: min-max normalise the student's scores within each query, as PyLate. Default true. */
  normalizeScores?: boolean
  /** Contrastive: equal texts are never each other's negatives. Default true. */
  maskDuplicates?: boolean
  /**
   * Contrastive: the mean of two directions, a query's positive among documents and a positive's query among queries.
   * Default false.
   */
  symmetric?: boolean
  /** Contrastive: a model by whose scores documents are no negatives of a query. Default: none is asked. */
  guide?: GuideConfig
  /** Total tokens with special tokens, prefix and prompt. Default: what the model has. */
  queryLength?: number
  /** Total tokens of a document, as `queryLength`. */
  documentLength?: number
  /** Text before every text. Default: what the model has. */
  prompts?: {
    /** Before every query. */
    query?: string
    /** Before every document. */
    document?: string
  }
  /** How often each source gives a batch. Default `proportional`. */
  sampling?: Sampling
  /** A source with fewer rows than a batch is refused, or its rows repeat within a batch. Default `refuse`. */
  smallSources?: SmallSources
  /** Regular expressions of names of parameters that stay as they are. Default none. */
  freeze?: readonly string[]
  /** Decoupled, on matrices only. Default 0. */
  weightDecay?: number
  /** Largest gradient norm; 0: no clipping. Default 1. */
  maxGradNorm?: number
  /**
   * `mean`: the gradient of the mean loss; `pylate`: of PyLate's CachedContrastive, `batch` times that, with
   * `gather: none` a rank's share of it;
   * `pylate-contrastive`: of its Contrastive that gathers, times the number of ranks; or a factor.
   */
  gradientScale?: 'mean' | 'pylate' | 'pylate-contrastive' | number
  /**
   * Contrastive, on several ranks: which side travels. Queries are shorter; documents are the cross-check. With `none` a
   * query sees the documents of its own rank alone, so that the loss depends on the number of ranks; rows are then dealt
   * out evenly. Default `queries`.
   */
  gather?: 'queries' | 'documents' | 'none'
  /** What the phase before left: its last state, or that of its best evaluation. Default `last`. */
  start?: 'last' | 'best'
  /** Evaluations between steps; names or folders stand for `{ data: … }`. Default none. */
  evaluate?: EvaluateConfig | string | readonly string[]
  /** Checkpoints of the phase. */
  checkpoint?: CheckpointConfig
}

/** A run: a model, a folder, and phases. */
export interface RunConfig {
  /** Name of a preset; `phases` then only says what differs, phase by phase (at least `data`). */
  preset?: string
  /** A folder or Hugging Face name, or a model, which is trained in place. */
  model: string | Colbert
  /** Give a plain encoder folder a new random projection, of `dim` (default 128) dimensions. Default false. */
  freshProjection?: boolean
  /** Train a dense model's folder as what it is, one vector a text (as of `Colbert.load`). Default false. */
  dense?: boolean
  /** Of the fresh projection, which is one matrix. Default 128. */
  dim?: number
  /** In place of `dim`, the layers of the fresh projection. */
  head?: readonly HeadLayerConfig[]
  /** How texts become tokens, where it is to differ from what the model's folder says. Phases set lengths and prompts. */
  recipe?: Partial<Omit<Recipe, 'tokenizerHash'>>
  /**
   * Fields of the recipe that may differ from what the model, or the phase before, was trained with. Any other difference
   * is refused: a model used with other prompts than it was trained with ranks worse. Default none.
   */
  acceptRecipeChange?: readonly AlignedField[]
  /** Folder of the run: checkpoints, log, trained model. */
  out: string
  /** Default 42. */
  seed?: number
  /** Default `cpu`. */
  device?: string
  /** What the model computes with. Default: `bfloat16` on a GPU, else `float32`. */
  precision?: Precision
  /** Tokens encoded at a time. Default 8192. */
  microBatchTokens?: number
  /** Device bytes for graphs that are kept instead of encoded again; `auto`: a quarter of the memory limit. */
  activationMemory?: number | 'auto'
  /** On several ranks: the type in which unit vectors travel; gradients always travel as they are. Default `float32`. */
  commDtype?: 'float32' | 'float16'
  /** Where tokenized data is cached, and how many threads tokenize. */
  cacheDir?: string
  /** Threads that tokenize; 0 does it on the calling thread. Default: as many as compute, at most 8. */
  workers?: number
  /** What the model's card shows. */
  card?: CardConfig
  /** Trained one after the other, each from what the one before left. */
  phases: readonly (PhaseConfig | Partial<PhaseConfig>)[]
}

type Given<T, K extends keyof T> = Omit<Required<T>, K> & Pick<T, K>

/** A phase with its defaults. */
export interface ResolvedPhase
  extends Given<
    Omit<PhaseConfig, 'data' | 'evaluate' | 'checkpoint' | 'guide'>,
    | 'negatives'
    | 'sampleNegatives'
    | 'dropAbove'
    | 'steps'
    | 'epochs'
    | 'scheduleSteps'
    | 'scores'
    | 'studentTemperature'
    | 'teacherTemperature'
    | 'temperatureSquared'
    | 'symmetric'
    | 'queryLength'
    | 'documentLength'
    | 'prompts'
  > {
  /** File patterns, entries and sources. */
  data: readonly (string | DataEntry | Source)[]
  /** With its defaults. */
  guide?: Given<GuideConfig, 'recipe'>
  /** With its defaults. */
  evaluate?: Given<EvaluateConfig, 'patience' | 'data' | 'split'>
  /** With its defaults. */
  checkpoint: Required<CheckpointConfig>
}

/** A run with its defaults, as `config.json` has it. */
export interface ResolvedRun
  extends Given<Omit<RunConfig, 'phases' | 'preset' | 'card'>, 'cacheDir' | 'workers' | 'dim' | 'recipe'> {
  /** The phases with their defaults. */
  phases: ResolvedPhase[]
  /** With its defaults. */
  card: Required<CardConfig>
}

/** The best evaluation so far. */
export interface BestEvaluation {
  /** Name of the phase. */
  phase: string
  /** Steps done in the phase. */
  step: number
  /** Steps done in the run. */
  globalStep: number
  /** As `ndcg@10`. */
  metric: string
  /** Its value. */
  value: number
  /** Folder of the checkpoint; null in a snapshot taken before it was written. */
  checkpoint: string | null
}

/** What a phase came to. */
export interface PhaseResult {
  /** Name of the phase. */
  name: string
  /** Steps it took. */
  steps: number
  /** Steps of the run at its end. */
  globalStep: number
  /** Loss of the last step. */
  loss: number
  /** Its best evaluation; null where there was none. */
  best: BestEvaluation | null
  /** The checkpoint at its end; the model is in its `model` folder. */
  checkpoint: string
}

/** What a run came to. */
export interface RunResult {
  /** The trained model, on the run's device; dispose of it. */
  model: Colbert
  /** One per phase. */
  phases: PhaseResult[]
  /** The best evaluation of the phases that used the metric of the last one. */
  best: BestEvaluation | null
  /** Folder of the run. */
  out: string
}

/** Metrics of the model as it is now; called between steps. */
export type Evaluate = (
  model: Colbert,
  context: {
    phase: string
    step: number
    globalStep: number
    settings: NonNullable<ResolvedPhase['evaluate']>
    /** Absent on several ranks: they stop together, after the evaluation. */
    signal?: AbortSignal
    /** The ranks, all of which evaluate the same model; the metrics of rank 0 count. */
    group: ProcessGroup
    /** Takes what was found query by query; the run's folder keeps it for reports. Calling it is optional. */
    keep?: (details: EvaluationDetails) => void
    /** Is told how the evaluation stands, for who looks at the run. Calling it is optional. */
    onProgress?: OnProgress
  },
) => Promise<Record<string, number>>
