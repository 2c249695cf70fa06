/** Which document token answers which query token. */

/** Where a query token found its best match. */
export interface TokenMatch {
  /** Number of the document's token vector; −1 where a floor of 0 is above all of them, or there is none. */
  token: number
  /** Their inner product; a document's score is the sum of these. */
  score: number
}

/** Inner products of token vectors: each of [q, dim] with each of [d, dim]. @returns [q × d], row-major */
export function similaritiesOf(query: Float32Array, document: Float32Array, dim: number): Float32Array {
  const [rows, columns] = [query.length / dim, document.length / dim]
  const products = new Float32Array(rows * columns)
  for (let q = 0; q < rows; q++)
    for (let d = 0; d < columns; d++) {
      let sum = 0
      for (let k = 0; k < dim; k++) sum += query[q * dim + k]! * document[d * dim + k]!
      products[q * columns + d] = sum
    }
  return products
}

/** The largest of each row of [q × d]; of equal ones the first. */
export function matchesIn(similarities: Float32Array, rows: number, clampNegatives: boolean): TokenMatch[] {
  const columns = similarities.length / rows
  return Array.from({ length: rows }, (_, q) => {
    const none = clampNegatives || columns === 0
    let best: TokenMatch = { token: -1, score: none ? 0 : Number.NEGATIVE_INFINITY }
    for (let d = 0; d < columns; d++) {
      const score = similarities[q * columns + d]!
      if (score > best.score) best = { token: d, score }
    }
    return best
  })
}

/** The best match of each query token [q, dim] among document tokens [d, dim]; of equal ones the first. */
export function bestMatches(
  query: Float32Array,
  document: Float32Array,
  dim: number,
  clampNegatives: boolean,
): TokenMatch[] {
  return matchesIn(similaritiesOf(query, document, dim), query.length / dim, clampNegatives)
}
