/** Texts that come more than once in a source; the same but for white space and composition, as in a batch. */
import { contentKey, type RowKeys } from '../../data/content-hash.js'
import type { TextRow } from '../../data/rows.js'

/** What of a source comes more than once. */
export interface Repeats {
  /** Rows whose query and positive a row before them has. */
  rows: number
  /** Rows whose query a row before them has. */
  queries: number
  /** Rows whose positive a row before them has. */
  positives: number
  /** Negatives that are the positive of their row. */
  falseNegatives: number
  /**
   * Pairs of rows of a batch with the same query or the same positive, on average. `maskDuplicates` leaves the documents of
   * the other one out.
   */
  pairsInBatch: number
}

/** Counts what repeats; 24 bytes a row. */
export class RepeatCounter {
  private readonly queries = new Numbers()
  private readonly positives = new Numbers()
  private readonly both = new Numbers()
  private falseNegatives = 0

  add({ query, positive }: RowKeys, { documents: [, ...negatives] }: TextRow): void {
    this.queries.add(query)
    this.positives.add(positive)
    this.both.add(mixed(query, positive))
    for (const negative of negatives) if (contentKey(negative) === positive) this.falseNegatives++
  }

  /** @param batch rows of a step */
  count(batch: number): Repeats {
    const [queries, positives, both] = [this.queries.repeats(), this.positives.repeats(), this.both.repeats()]
    const rows = this.queries.count
    const drawn = Math.min(batch, rows)
    const share = rows > 1 ? (drawn * (drawn - 1)) / (rows * (rows - 1)) : 0
    return {
      rows: both.again,
      queries: queries.again,
      positives: positives.again,
      falseNegatives: this.falseNegatives,
      pairsInBatch: share * (queries.pairs + positives.pairs - both.pairs),
    }
  }
}

/** One number of 53 bits for two. */
const mixed = (a: number, b: number): number => {
  const low = ((a % 2 ** 32) ^ Math.imul(b % 2 ** 32, 0x9e3779b1)) >>> 0
  const high = Math.floor(a / 2 ** 32) ^ Math.floor(b / 2 ** 32)
  return low + high * 2 ** 32
}

/** Numbers in a growing array. */
class Numbers {
  private values = new Float64Array(1024)
  count = 0

  add(value: number): void {
    if (this.count === this.values.length) {
      const more = new Float64Array(2 * this.count)
      more.set(this.values)
      this.values = more
    }
    this.values[this.count++] = value
  }

  /** How many are equal to one before them, and how many pairs of equal ones there are. */
  repeats(): { again: number; pairs: number } {
    const sorted = this.values.subarray(0, this.count).sort()
    let [again, pairs] = [0, 0]
    for (let i = 1, alike = 0; i < sorted.length; i++) {
      alike = sorted[i] === sorted[i - 1] ? alike + 1 : 0
      if (alike > 0) again++
      pairs += alike
    }
    return { again, pairs }
  }
}
