export {
  type CreateIndexOptions,
  Index,
  type IndexDocument,
  type IndexInfo,
  type OpenIndexOptions,
} from './document-index.js'
export type { Filter } from './filter.js'
export type { StoredEmbeddings } from './manifest.js'
export type { IndexHit, IndexSearchOptions } from './search.js'
export type { Kept, Metadata } from './segment.js'
export type { AddOptions, AddResult } from './writer.js'
