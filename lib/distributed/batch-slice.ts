import { ArgumentError } from '../errors.js'
import { checkOptions, type Kinds, list, oneOf, processGroup, required, whole } from '../options.js'
import { type ProcessGroup, singleProcess } from './group.js'

/** How a batch of B queries, each with its documents, is spread over ranks: whose is the query, whose are its documents. */
export interface Ranks {
  /** The process group that the batch is spread over. */
  group: ProcessGroup
  /** Queries of each rank, in rank order; they sum to B. */
  counts: readonly number[]
  /** The side that every rank has from all ranks, in rank order. Of the other, and of both with `none`, it has its own. */
  gathered: 'queries' | 'documents' | 'none'
}

const kinds: Kinds<Ranks> = {
  group: processGroup,
  counts: list(whole(0)),
  gathered: oneOf('queries', 'documents', 'none'),
}

/** Queries [first, first + count) of the batch. */
export interface Span {
  first: number
  count: number
}

/** Which part of the batch is here: whose queries are rows, and whose documents are columns. */
export interface BatchSlice extends Ranks {
  /** B. */
  total: number
  own: Span
  rows: Span
  columns: Span
}

/** @throws ArgumentError ERR_ARGUMENT when the counts are not those of the group, or `queries` are not the rows */
export function batchSliceOf(ranks: Ranks | undefined, queries: number): BatchSlice {
  checkOptions('ranks', ranks, kinds)
  if (ranks) for (const key of ['group', 'counts', 'gathered'] as const) required('ranks', key, ranks[key], kinds[key])
  const { group, counts, gathered } = ranks ?? { group: singleProcess, counts: [queries], gathered: 'none' as const }
  const { rank, size } = group
  if (counts.length !== size) throw new ArgumentError('ERR_ARGUMENT', `${counts.length} counts for ${size} ranks`)
  const before = (r: number): number => counts.slice(0, r).reduce((sum, n) => sum + n, 0)
  const total = before(size)
  const own = { first: before(rank), count: counts[rank]! }
  const all = { first: 0, count: total }
  const rows = gathered === 'queries' ? all : own
  if (queries !== rows.count)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `rank ${rank} has ${queries} queries where the counts [${counts}] with ${gathered} gathered say ${rows.count}`,
    )
  return { group, counts, gathered, total, own, rows, columns: gathered === 'documents' ? all : own }
}
