/** Which of the documents that a miner ranked become a row's negatives. */
import { dropLimit } from '../data/false-negatives.js'
import { Random } from '../io/random.js'
import type { Scored } from '../retrieval/top-k.js'
import type { Dropped, Rules } from './options.js'

/** The documents at the ranks of `depth`, best first, and how many above its end never are candidates and have no rank. */
export function candidatesOf(
  found: readonly Scored[],
  never: ReadonlySet<number>,
  [from, to]: Rules['depth'],
): { candidates: Scored[]; excluded: number } {
  const ranked: Scored[] = []
  let excluded = 0
  for (const document of found) {
    if (ranked.length === to) break
    if (never.has(document.index)) excluded++
    else ranked.push(document)
  }
  return { candidates: ranked.slice(from - 1), excluded }
}

/**
 * The candidates of a row that pass all rules.
 * @param positive the score of the row's positive
 * @param dropped what is added to for each candidate that a rule drops
 */
export function passing(candidates: readonly Scored[], positive: number, rules: Rules, dropped: Dropped): Scored[] {
  return candidates.filter(({ score }) => {
    const rule = ruleAgainst(score, positive, rules)
    if (rule) dropped[rule]++
    return !rule
  })
}

function ruleAgainst(score: number, positive: number, rules: Rules): keyof Dropped | undefined {
  const { maxScore, minScore, dropAbove, margin } = rules
  if (maxScore !== undefined && score > maxScore) return 'maxScore'
  if (minScore !== undefined && score < minScore) return 'minScore'
  if (dropAbove !== undefined && score >= dropLimit(positive, dropAbove)) return 'dropAbove'
  if (margin !== undefined && score >= positive - margin) return 'margin'
  return undefined
}

/** The negatives among those that pass: the first, or a set drawn by (seed, row) alone; best first. */
export function chosenOf(passed: readonly Scored[], row: number, { negatives, sampling, seed }: Rules): Scored[] {
  if (sampling === 'top') return passed.slice(0, negatives)
  const random = new Random(seed, `negatives of row ${row}`)
  const kept: Scored[] = []
  for (const [i, candidate] of passed.entries())
    if (random.integer(passed.length - i) < negatives - kept.length) kept.push(candidate) // each set is as likely
  return kept
}
