/** Which documents a search may find, decided before anything is ranked, so that topK is filled. */
import { ArgumentError } from '../errors.js'
import { Turns } from '../turns.js'
import type { Metadata, Segment } from './segment.js'

/** Documents that may be found: those of a list, and those whose metadata pass a test. Both: both must hold. */
export interface Filter {
  /** Their ids. Unknown ones find nothing. */
  ids?: Iterable<string>
  /** Called once for each document that is not deleted, with its metadata (`{}` where it has none). */
  where?: (metadata: Metadata, id: string) => boolean
}

/** Of a segment's documents those that may be found, as their numbers in order; null: all of them. */
export async function allowedIn(segment: Segment, filter: PreparedFilter | undefined): Promise<number[] | null> {
  if (!filter && !segment.deleted) return null
  if (filter?.ids && !filter.where) {
    return (await segment.numbersOf(filter.ids)).sort((a, b) => a - b)
  }
  const turns = new Turns()
  const metadata = filter?.where && (await segment.allMetadata())
  const allowed: number[] = []
  for (let i = 0; i < segment.documents; i++) {
    if (turns.due) await turns.take()
    if (segment.isDeleted(i)) continue
    if (filter?.ids && !filter.ids.has(segment.id(i))) continue
    if (metadata && !filter!.where!(metadata[i] ?? {}, segment.id(i))) continue
    allowed.push(i)
  }
  return allowed.length === segment.documents ? null : allowed
}

interface PreparedFilter {
  ids?: ReadonlySet<string>
  where?: NonNullable<Filter['where']>
}

/** @throws ArgumentError ERR_ARGUMENT for one that filters nothing */
export function prepared(filter: Filter | undefined): PreparedFilter | undefined {
  if (filter === undefined) return undefined
  const unknown = Object.keys(filter).find((key) => key !== 'ids' && key !== 'where')
  const { ids, where } = filter
  if (unknown !== undefined || (ids === undefined && where === undefined))
    throw new ArgumentError('ERR_ARGUMENT', 'search: filter has ids, where, or both', { unknown })
  if (where !== undefined && typeof where !== 'function')
    throw new ArgumentError('ERR_ARGUMENT', 'search: filter.where is a function of metadata and id')
  if (ids !== undefined && (typeof ids === 'string' || typeof ids?.[Symbol.iterator] !== 'function'))
    throw new ArgumentError('ERR_ARGUMENT', 'search: filter.ids is a list of ids')
  return { ...(ids && { ids: new Set(ids) }), ...(where && { where }) }
}
