/** What an export goes through, whatever the target: documents come from the index, float32, a few at a time. */
import type { Metadata } from '../indexing/segment.js'

/** A document on its way. */
export interface Outgoing {
  id: string
  /** '' where the index has none. */
  text: string
  /** {} where the index has none. */
  metadata: Metadata
  /** [tokens, dim] */
  vectors: Float32Array
}

/** What has gone out so far. */
export interface Totals {
  /** Documents that went out. */
  documents: number
  /** Their token vectors. */
  tokens: number
  /** Token vectors that were stored as int8 or float16, and went out as float32. */
  widened: number
  /** Documents without a text, which went out with an empty one. */
  withoutText: number
  /** Documents without token vectors, which no target takes: they did not go out. */
  withoutVectors: number
}

/** What a target knows of an export. */
export interface Plan {
  /** Of the collection, table or schema: a letter, then letters, digits and underscores. */
  name: string
  /** Of a token vector. */
  dim: number
}

/** Token vectors of a query that finds the first document: [tokens, dim] */
export interface Example {
  id: string
  vectors: Float32Array
}

/** A place that takes documents with token vectors. */
export interface Target {
  /** Writes documents, and what is needed to load and to search them, into an empty folder. */
  write(folder: string, documents: AsyncIterable<Outgoing>, plan: Plan): Promise<void>
}

/** Token vectors of a query that is made of a document: its first ones, as many as queries usually have. */
export function exampleOf({ id, vectors }: Outgoing, dim: number): Example {
  return { id, vectors: vectors.slice(0, 32 * dim) }
}
