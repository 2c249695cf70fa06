/** Which documents are whose, as every loss is told. */
import { ArgumentError } from '../errors.js'
import { either, kind, numbers, whole } from '../options.js'
import { offsetsOf } from '../ragged.js'

/** As many for each query, or the number of each: an Int32Array of a batch, say. */
export type DocumentsPerQuery = number | ArrayLike<number>

const count = whole(1)
const counts = kind(
  'an array of whole numbers ≥ 1, one for each query',
  (v) => numbers.is(v) && Array.prototype.every.call(v, count.is),
)
export const documentsPerQueryKind = either(count, counts)

/**
 * [queries + 1] where the documents of each query start, the positive first.
 * @throws ArgumentError ERR_ARGUMENT for another number of counts than of queries
 */
export function documentOffsets(
  what: string,
  documentsPerQuery: DocumentsPerQuery,
  queries: number,
): Float64Array<ArrayBuffer> {
  if (typeof documentsPerQuery === 'number')
    return Float64Array.from({ length: queries + 1 }, (_, i) => i * documentsPerQuery)
  if (documentsPerQuery.length !== queries)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `${what}: documentsPerQuery has ${documentsPerQuery.length} counts for ${queries} queries of the whole batch`,
      { option: 'documentsPerQuery', queries },
    )
  return offsetsOf(documentsPerQuery)
}
