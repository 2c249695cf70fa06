import { DataError } from '../errors.js'

/** A document by its number, with its score. */
export interface Scored {
  /** The document's number, from 0. */
  index: number
  /** Its MaxSim score: a sum over query tokens. Higher is better. */
  score: number
}

/**
 * The k best of what is offered: higher scores first, equal ones by lowest index, in whatever order they come. A heap
 * with the worst of those kept at its root, so n offers cost O(n log k), and k = n is a sort.
 */
export class Best {
  size = 0
  private readonly limit: number
  private scores: Float64Array
  private indices: Float64Array

  constructor(limit: number) {
    this.limit = limit
    this.scores = new Float64Array(Math.min(limit, 16))
    this.indices = new Float64Array(this.scores.length)
  }

  /** @throws DataError ERR_DATA for a score that is NaN */
  offer(index: number, score: number): void {
    if (Number.isNaN(score))
      throw new DataError('ERR_DATA', `the score of document ${index} is NaN: an embedding is not finite`, { index })
    if (this.size < this.limit) {
      if (this.size === this.scores.length) this.grow()
      this.rise(this.size++, index, score)
    } else if (this.worse(0, index, score)) this.sink(index, score)
  }

  /** Offers `count` scores from `scores[start]`, of documents from number `first`; but for those below `bottom`. */
  offerRow(
    first: number,
    scores: Float32Array | Float64Array,
    start: number,
    count: number,
    bottom = Number.NEGATIVE_INFINITY,
  ): void {
    const floor = (): number => (this.size === this.limit ? Math.max(bottom, this.scores[0]!) : bottom)
    let least = floor()
    for (let j = 0; j < count; j++) {
      const score = scores[start + j]!
      if (score < least) continue // almost all of a large collection; never NaN
      this.offer(first + j, score)
      least = floor()
    }
  }

  /** Takes the worst of those that are left. */
  pop(): Scored {
    const worst = { index: this.indices[0]!, score: this.scores[0]! }
    const last = --this.size
    this.sink(this.indices[last]!, this.scores[last]!)
    return worst
  }

  /** Takes all, best first. */
  sorted(): Scored[] {
    const hits = new Array<Scored>(this.size)
    while (this.size > 0) hits[this.size - 1] = this.pop()
    return hits
  }

  /** Whether the kept entry at `at` is worse than this one. */
  private worse(at: number, index: number, score: number): boolean {
    const kept = this.scores[at]!
    return kept < score || (kept === score && this.indices[at]! > index)
  }

  private put(at: number, index: number, score: number): void {
    this.indices[at] = index
    this.scores[at] = score
  }

  private rise(hole: number, index: number, score: number): void {
    while (hole > 0) {
      const parent = (hole - 1) >> 1
      if (this.worse(parent, index, score)) break
      this.put(hole, this.indices[parent]!, this.scores[parent]!)
      hole = parent
    }
    this.put(hole, index, score)
  }

  /** Replaces the root. */
  private sink(index: number, score: number): void {
    const { size, scores, indices } = this
    let hole = 0
    for (let child = 1; child < size; child = 2 * hole + 1) {
      if (child + 1 < size && this.worse(child + 1, indices[child]!, scores[child]!)) child++
      if (!this.worse(child, index, score)) break
      this.put(hole, indices[child]!, scores[child]!)
      hole = child
    }
    this.put(hole, index, score)
  }

  private grow(): void {
    const length = Math.min(this.limit, 2 * this.scores.length)
    const [scores, indices] = [new Float64Array(length), new Float64Array(length)]
    scores.set(this.scores)
    indices.set(this.indices)
    this.scores = scores
    this.indices = indices
  }
}
