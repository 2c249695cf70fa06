import { ArgumentError, RecipeError } from '../errors.js'
import type { Device } from '../tensor/device.js'
import { checkVectors, ResidentVectors, type VectorType } from './vectors.js'

/**
 * Token embeddings of texts, on the host: row t is one token, `offsets[i]` … `offsets[i + 1]` are the rows of text i.
 * Rows have unit norm. `kind` and `recipeHash` keep queries, documents and models from being mixed up.
 */
export interface Embeddings<K extends 'queries' | 'documents' = 'queries' | 'documents'> {
  readonly kind: K
  /** [rows, dim], row-major. */
  readonly data: Float32Array
  /** [texts + 1], in rows. */
  readonly offsets: Float64Array
  readonly dim: number
  readonly dtype: 'float32'
  readonly recipeHash: string
  /** Texts longer than the recipe takes, whose ends were cut off: counted by whoever encoded them. */
  readonly truncated?: number
  /** Names of the texts, where they have some. */
  readonly ids?: readonly string[]
}

/** Embeddings of documents that stay on a device until `dispose()`, for any number of searches. */
export class ResidentDocuments {
  readonly kind = 'documents'
  readonly vectors: ResidentVectors
  readonly recipeHash: string
  readonly ids: readonly string[] | undefined

  private constructor(vectors: ResidentVectors, { recipeHash, ids }: Embeddings<'documents'>) {
    this.vectors = vectors
    this.recipeHash = recipeHash
    this.ids = ids
  }

  /** @throws as `ResidentVectors.upload` */
  static async upload(
    documents: Embeddings<'documents'>,
    options: { device: string | Device; dtype?: VectorType; signal?: AbortSignal },
  ): Promise<ResidentDocuments> {
    return new ResidentDocuments(await ResidentVectors.upload(documents, { ...options, dim: documents.dim }), documents)
  }

  get dim(): number {
    return this.vectors.dim
  }

  get offsets(): Float64Array {
    return this.vectors.offsets
  }

  dispose(): void {
    this.vectors.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/**
 * Checks that one side is queries and the other documents, of the same recipe.
 * @throws ArgumentError ERR_ARGUMENT for swapped sides or other dimensions; RecipeError ERR_RECIPE for other recipes;
 *   ShapeError ERR_SHAPE when offsets and data disagree
 */
export function checkSides(queries: Embeddings, documents: Embeddings | ResidentDocuments): void {
  for (const [given, kind, maker] of [
    [queries, 'queries', 'encodeQueries'],
    [documents, 'documents', 'encodeDocuments'],
  ] as const)
    if (given?.kind !== kind)
      throw new ArgumentError(
        'ERR_ARGUMENT',
        `expected ${kind} (from ${maker}), got ${given?.kind ?? typeof given}. Are the two sides swapped?`,
        { expected: kind, found: given?.kind },
      )
  if (queries.dim !== documents.dim)
    throw new ArgumentError('ERR_ARGUMENT', `queries have ${queries.dim} dimensions, documents ${documents.dim}`)
  checkVectors('queries', queries, queries.dim)
  if (!(documents instanceof ResidentDocuments)) checkVectors('documents', documents, documents.dim)
  if (documents.ids && documents.ids.length !== documents.offsets.length - 1)
    throw new ArgumentError('ERR_ARGUMENT', `${documents.ids.length} ids for ${documents.offsets.length - 1} documents`)
  if (queries.recipeHash !== documents.recipeHash)
    throw new RecipeError(
      'ERR_RECIPE',
      'queries and documents were encoded with different recipes (prefixes, prompts, lengths or tokenizer). ' +
        'Encode one side again with the recipe of the other',
      { queries: queries.recipeHash, documents: documents.recipeHash },
    )
}
