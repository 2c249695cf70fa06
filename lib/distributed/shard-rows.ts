/** Rows of a batch, sharded over ranks. */
export interface RowShards {
  /** [B] positions in the batch: all rows of rank 0, then all of rank 1, and so on; a rank's are in rising order. */
  order: Int32Array<ArrayBuffer>
  /** Rows of each rank, possibly none. */
  counts: number[]
}

/**
 * Shards rows so that ranks have equal work: the longest row first, each to the rank with the fewest tokens so far (ties:
 * the earlier row, the lower rank). The longest-processing-time rule of Graham 1969, "Bounds on multiprocessing timing
 * anomalies": no two ranks differ by more than the longest row. A pure function: every rank comes to the same result
 * without talking. On one rank the order stays.
 * @param tokens [B] tokens of each row: what it costs to encode
 * @param even each to a rank with the fewest rows first, so that no two differ by more than one row
 */
export function shardRows(tokens: ArrayLike<number>, ranks: number, even = false): RowShards {
  const longestFirst = Int32Array.from(tokens, (_, i) => i).sort((a, b) => tokens[b]! - tokens[a]! || a - b)
  const rankOf = new Int32Array(tokens.length)
  const loads = new Float64Array(ranks)
  const counts = new Array<number>(ranks).fill(0)
  for (const row of longestFirst) {
    let least = 0
    for (let rank = 1; rank < ranks; rank++) {
      const rows = even ? counts[rank]! - counts[least]! : 0
      if (rows < 0 || (rows === 0 && loads[rank]! < loads[least]!)) least = rank
    }
    rankOf[row] = least
    loads[least]! += tokens[row]!
    counts[least]!++
  }
  const next = counts.map((_, rank) => counts.slice(0, rank).reduce((sum, count) => sum + count, 0))
  const order = new Int32Array(tokens.length)
  for (let row = 0; row < rankOf.length; row++) order[next[rankOf[row]!]!++] = row
  return { order, counts }
}
