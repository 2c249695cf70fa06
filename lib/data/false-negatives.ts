import { DataError } from '../errors.js'
import type { TextRow } from './rows.js'

/** The score from which on a negative counts as a positive: `dropAbove` times the positive's; of a negative score, as far above it in proportion. */
export function dropLimit(positive: number, dropAbove: number): number {
  return positive * (positive >= 0 ? dropAbove : 2 - dropAbove)
}

/**
 * A row without the negatives that its scores say are positives, by `dropLimit`. As the reads of a shard drop them (native/data/shard.cc),
 * whose scores are float32.
 */
export function withoutFalseNegatives(row: TextRow, dropAbove: number): TextRow {
  const scores = row.scores!.map(Math.fround)
  const limit = dropLimit(scores[0]!, dropAbove)
  const kept = scores.map((score, j) => j === 0 || score < limit)
  if (kept.every(Boolean)) return row
  return { ...row, documents: row.documents.filter((_, j) => kept[j]), scores: row.scores!.filter((_, j) => kept[j]) }
}

/** @throws DataError ERR_DATA */
export function requireScores({ name, scores }: { name: string; scores: boolean }): void {
  if (!scores)
    throw new DataError(
      'ERR_DATA',
      `source "${name}" has no scores, by which dropAbove drops negatives. Its rows need "scores", one for each document`,
      { source: name },
    )
}
