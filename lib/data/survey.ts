import { DataError } from '../errors.js'
import { Turns } from '../turns.js'
import { requireScores, withoutFalseNegatives } from './false-negatives.js'
import { checkedRow, throwIfAborted } from './shards.js'
import type { Source, TextRow } from './sources.js'

/** What a source holds, before anything of it is tokenized. Rows count from 1. */
export interface Survey {
  readonly name: string
  readonly rows: number
  /** Negatives that `dropAbove` leaves out, of so many; the rows that have some of them, and those that have no other. */
  readonly dropped: { readonly negatives: number; readonly of: number; readonly rows: number; readonly emptied: number }
  /** By their number of documents without those, rising: how many rows have so many, and which one is the first. */
  readonly documents: readonly { count: number; rows: number; firstAt: number }[]
  /** Whether its rows have teacher scores. */
  readonly scores: boolean
  /** Negatives that are null or empty in the files, and left out. */
  readonly missing: number
  /** Columns that nothing reads, and how many rows have them. */
  readonly unused: Readonly<Record<string, number>>
  /** Files of its data set that are of a kind that is not read. */
  readonly unusedFiles: readonly string[]
  /** Sets of files of which only some parts are there, in words. */
  readonly incomplete: readonly string[]
  /** Rows spread evenly over the source. */
  readonly sample: readonly { row: number; value: TextRow }[]
}

export interface SurveyOptions {
  /** As training takes the rows: without negatives that score so many times the positive, or more. */
  dropAbove?: number
  /** Rows of the sample, at most. */
  sample: number
  signal?: AbortSignal
  onProgress?: (rows: number) => void
  /** Told each row. */
  onRow?: (row: TextRow, number: number) => void
}

/** Rows between two that are told. */
const OFTEN = 1024

/**
 * Reads a source once, every row of it.
 * @throws DataError `ERR_DATA` for the first row that is none, or a source without rows
 */
export async function survey(
  source: Source,
  { sample, dropAbove, signal, onProgress, onRow }: SurveyOptions,
): Promise<Survey> {
  const { name } = source
  const fail = (row: number, problem: string): DataError =>
    new DataError('ERR_DATA', `source "${name}", row ${row}: ${problem}`, { source: name, row })
  const documents = new Map<number, { count: number; rows: number; firstAt: number }>()
  const unused: Record<string, number> = {}
  let scores = false
  let rows = 0
  let missing = 0
  const dropped = { negatives: 0, of: 0, rows: 0, emptied: 0 }
  // Every stride-th row; when they are twice too many, every second of those.
  let taken: { row: number; value: TextRow }[] = []
  let stride = 1
  const turns = new Turns()
  for await (const given of source) {
    throwIfAborted(signal)
    const whole = checkedRow(given, name, ++rows)
    const all = whole.documents.length
    if (rows === 1) scores = whole.scores !== undefined
    else if ((whole.scores !== undefined) !== scores)
      throw fail(rows, `it has ${scores ? 'no ' : ''}teacher scores, unlike those before; give all rows some, or none.`)
    if (whole.scores && whole.scores.length !== all)
      throw fail(rows, `${whole.scores.length} teacher scores for ${all} documents.`)
    if (dropAbove !== undefined && !scores) requireScores({ name, scores })
    const value = dropAbove === undefined ? whole : withoutFalseNegatives(whole, dropAbove)
    onRow?.(value, rows)
    const count = value.documents.length
    dropped.of += all - 1
    dropped.negatives += all - count
    if (count < all) dropped.rows++
    if (count === 1 && all > 1) dropped.emptied++
    const alike = documents.get(count)
    if (alike) alike.rows++
    else documents.set(count, { count, rows: 1, firstAt: rows })
    missing += value.missing ?? 0
    for (const column of value.unused ?? []) unused[column] = (unused[column] ?? 0) + 1
    if ((rows - 1) % stride === 0) taken.push({ row: rows, value })
    if (taken.length > 2 * sample) {
      taken = taken.filter((_, i) => i % 2 === 0)
      stride *= 2
    }
    if (rows % OFTEN === 0) onProgress?.(rows)
    if (turns.due) await turns.take()
  }
  if (rows === 0) throw new DataError('ERR_DATA', `source "${name}" has no rows.`, { source: name })
  const kept = Math.min(sample, taken.length)
  const spread = Array.from({ length: kept }, (_, i) => taken[Math.floor((i * taken.length) / kept)]!)
  const byCount = [...documents.values()].sort((a, b) => a.count - b.count)
  const { unusedFiles = [], incomplete = [] } = source
  return { name, rows, dropped, documents: byCount, scores, missing, unused, unusedFiles, incomplete, sample: spread }
}
