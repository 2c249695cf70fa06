export { Bm25, type Bm25Hit, type Bm25Options } from '../retrieval/bm25.js'
export {
  type Depth,
  type Evaluation,
  type EvaluationCounts,
  evaluate,
  type Metric,
  parseMetric,
  type Qrels,
  type RankOptions,
  type RunCounts,
  rankHits,
  type ScoredId,
  type SystemRun,
  type TrecRun,
} from '../retrieval/metrics.js'
export { bm25Run } from './baseline.js'
export { beirFolder, beirNames, privateBeirNames } from './beir.js'
export {
  type BeirContent,
  type BeirDocument,
  beirFolders,
  type Collection,
  type CollectionCounts,
  type Corpus,
  collectionNotes,
  type LoadBeirOptions,
  loadBeir,
  type Texts,
  writeBeir,
} from './collections.js'
export { type FindOptions, type FoundCollection, type FoundCollections, findCollections } from './find.js'
export {
  beirEvaluator,
  type CollectionEvaluator,
  type EvaluatorOptions,
  type ModelRunOptions,
  modelRun,
} from './model.js'
export { type FetchOptions, nanoBeirFolder, nanoBeirNames } from './nanobeir.js'
export { readQrels } from './qrels.js'
export {
  type ComparedCollection,
  type CompareOptions,
  type Comparison,
  type ComparisonRow,
  compareRuns,
  formatMarkdown,
  formatText,
  type MacroComparison,
  type MeanRow,
  type MissingCollection,
  macroMean,
} from './report.js'
export { type RerankOptions, rerankRun } from './rerank.js'
export {
  checkRunIds,
  type MtebOptions,
  type MtebResult,
  mtebResult,
  type RunFile,
  readRun,
  writeMteb,
  writeRun,
} from './runs.js'
export {
  bootstrapInterval,
  holm,
  type Interval,
  type IntervalOptions,
  macroInterval,
  macroTest,
  type ResampleOptions,
  randomizationTest,
  type TestResult,
  type WeightOptions,
} from './significance.js'
