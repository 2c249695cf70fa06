/** Which documents a search may find, decided before anything is ranked, so that topK is filled. */
import { ArgumentError } from '../errors.js'
import { object } from '../options.js'
import { abortIf, Turns } from '../turns.js'
import type { Metadata, Segment } from './segment.js'
import { testOf, type Where } from './where.js'

/** Documents that may be found: those of a list, and those whose metadata pass a test. Both: both must hold. */
export interface Filter {
  /** Their ids. Unknown ones find nothing. */
  ids?: Iterable<string>
  /**
   * What their metadata are: `{ year: { $gte: 1990 } }`; or a function, called once for each document that is not deleted, with its
   * metadata (`{}` where it has none).
   */
  where?: Where | ((metadata: Metadata, id: string) => boolean)
}

/**
 * The documents that a filter lets through, found out once for any number of searches: a bit for each. `Index.select` makes one. Of
 * documents that come later it finds out when they are first searched.
 */
export interface Selection {
  /** How many there were when it was made. */
  readonly documents: number
}

export class Selected implements Selection {
  documents = 0
  private readonly ids: ReadonlySet<string> | null
  private readonly passes: ((metadata: Metadata, id: string) => boolean) | null
  private readonly bits = new Map<string, Uint8Array>()

  private constructor(ids: ReadonlySet<string> | null, passes: ((metadata: Metadata, id: string) => boolean) | null) {
    this.ids = ids
    this.passes = passes
  }

  /** @throws ArgumentError ERR_ARGUMENT for a filter that filters nothing */
  static of(what: string, filter: Filter | Selection): Selected {
    if (filter instanceof Selected) return filter
    const fail = (message: string, details = {}) => new ArgumentError('ERR_ARGUMENT', `${what}: ${message}`, details)
    if (!object.is(filter)) throw fail('expected a filter, as { ids } or { where }')
    const unknown = Object.keys(filter).find((key) => key !== 'ids' && key !== 'where')
    const { ids, where } = filter as Filter
    if (unknown !== undefined || (ids === undefined && where === undefined))
      throw fail('filter has ids, where, or both; or it is what select made', { unknown })
    if (where !== undefined && typeof where !== 'function' && (typeof where !== 'object' || where === null))
      throw fail('filter.where is tests of metadata, as { year: { $gte: 1990 } }, or a function of metadata and id')
    if (ids !== undefined && (typeof ids === 'string' || typeof ids?.[Symbol.iterator] !== 'function'))
      throw fail('filter.ids is a list of ids')
    return new Selected(ids ? new Set(ids) : null, typeof where === 'object' ? testOf(where) : (where ?? null))
  }

  /** The numbers of a segment's documents that pass and are not deleted, in order; null: all its documents. */
  async within(segment: Segment, signal?: AbortSignal): Promise<number[] | null> {
    const key = segment.content
    let bits = this.bits.get(key)
    if (!bits) {
      bits = await this.found(segment, signal)
      this.bits.set(key, bits)
    }
    return numbersOf(segment, bits)
  }

  /** Forgets what the index no longer has. */
  keepOnly(segments: readonly Segment[]): void {
    const there = new Set(segments.map(({ content }) => content))
    for (const key of this.bits.keys()) if (!there.has(key)) this.bits.delete(key)
  }

  private async found(segment: Segment, signal?: AbortSignal): Promise<Uint8Array> {
    const { ids, passes } = this
    const bits = new Uint8Array(Math.ceil(segment.documents / 8))
    const metadata = passes && (await segment.allMetadata(signal))
    const turns = new Turns()
    const look = (i: number) => {
      if (!passes || passes(metadata![i] ?? {}, segment.id(i))) bits[i >> 3]! |= 1 << (i & 7)
    }
    if (ids && ids.size < segment.documents) for (const i of await segment.numbersOf(ids)) look(i)
    else
      for (let i = 0; i < segment.documents; i++) {
        if (!segment.isDeleted(i) && (!ids || ids.has(segment.id(i)))) look(i)
        if (turns.due) await turns.take()
        abortIf(signal)
      }
    return bits
  }
}

/** As `Selected.within`. @param bits of the documents that pass; null: all do */
export function numbersOf(segment: Segment, bits: Uint8Array | null): number[] | null {
  const { documents, deleted } = segment
  if (!bits && !deleted) return null
  const numbers: number[] = []
  for (let byte = 0; byte < Math.ceil(documents / 8); byte++) {
    const left = (bits ? bits[byte]! : 0xff) & ~(deleted ? deleted[byte]! : 0)
    for (let bit = 0; left >> bit; bit++)
      if ((left >> bit) & 1 && 8 * byte + bit < documents) numbers.push(8 * byte + bit)
  }
  return numbers.length === documents ? null : numbers
}
