export type { TokenMatch } from '../retrieval/matches.js'
export type { CheckedFirstStage, CheckedSetting, CheckResult } from './check.js'
export { Index } from './document-index.js'
export { type EncodeCorpusOptions, type EncodeProgress, type EncodeResult, encodeCorpus } from './encode-corpus.js'
export { EncodedDocuments, type EncodedInfo, type EncodedSettings, type PartsOptions } from './encoded.js'
export type { Filter, Selection } from './filter.js'
export type { IndexType, Pooling, SearchSetting, StoredEmbeddings } from './manifest.js'
export type {
  CheckOptions,
  CreateIndexOptions,
  IndexDocument,
  IndexInfo,
  Judgments,
  OpenIndexOptions,
} from './options.js'
export type { ResidualType } from './residual.js'
export type { IndexHit, IndexSearchOptions } from './search.js'
export type { EncodedPart, Kept, Metadata, VerifyOptions } from './segment.js'
export type { StoredDocuments } from './stored.js'
export type { FieldTests, Where, WhereValue } from './where.js'
export type { AddOptions, AddProgress, AddResult, CompactOptions, CompactResult, DeleteResult } from './writer.js'
