/** Which of the documents that a miner ranked become a row's negatives. */
import { dropLimit } from '../data/false-negatives.js'
import { Random } from '../io/random.js'

/** Rules by which candidates become negatives. */
export interface Rules {
  /** Negatives of a row, at most. */
  readonly negatives: number
  /** Ranks that are looked at, from 1, both included. */
  readonly depth: readonly [from: number, to: number]
  /** The best of those that pass, or some drawn among them. */
  readonly sampling: 'top' | 'random'
  readonly seed: number
  readonly dropAbove: number | undefined
  readonly margin: number | undefined
  readonly maxScore: number | undefined
  readonly minScore: number | undefined
}

/** Why a candidate is no negative. */
export interface Dropped {
  /** Score above `maxScore`. */
  maxScore: number
  /** Score below `minScore`. */
  minScore: number
  /** Score of `dropAbove` times the positive's, or more. */
  dropAbove: number
  /** Score nearer to the positive's than `margin`, or above it. */
  margin: number
}

/** A document by number, with its score. */
export interface Candidate {
  readonly index: number
  readonly score: number
}

/**
 * The negatives of a row, best first.
 * @param ranked the documents that may be negatives of the query, best first: the first has rank 1
 * @param positive the score of the row's positive
 * @param row its number, which draws depend on
 * @param dropped what is added to for each candidate that a rule drops: the first one counts
 */
export function chooseNegatives(
  ranked: readonly Candidate[],
  positive: number,
  row: number,
  rules: Rules,
  dropped: Dropped,
): Candidate[] {
  const { negatives, sampling, seed } = rules
  const passed: Candidate[] = []
  for (const candidate of ranked.slice(rules.depth[0] - 1, rules.depth[1])) {
    const reason = reasonAgainst(candidate.score, positive, rules)
    if (reason) dropped[reason]++
    else passed.push(candidate)
  }
  return sampling === 'top' ? passed.slice(0, negatives) : drawn(passed, negatives, seed, row)
}

function reasonAgainst(score: number, positive: number, rules: Rules): keyof Dropped | undefined {
  const { maxScore, minScore, dropAbove, margin } = rules
  if (maxScore !== undefined && score > maxScore) return 'maxScore'
  if (minScore !== undefined && score < minScore) return 'minScore'
  if (dropAbove !== undefined && score >= dropLimit(positive, dropAbove)) return 'dropAbove'
  if (margin !== undefined && score >= positive - margin) return 'margin'
  return undefined
}

/** So many of the candidates, each set as likely as any other, in their order. */
function drawn(candidates: readonly Candidate[], count: number, seed: number, row: number): Candidate[] {
  const random = new Random(seed, `negatives of row ${row}`)
  const kept: Candidate[] = []
  for (const [i, candidate] of candidates.entries())
    if (random.integer(candidates.length - i) < count - kept.length) kept.push(candidate)
  return kept
}
