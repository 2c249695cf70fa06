/**
 * Two-level k-means over token embeddings: first into cells, then each cell on its own, so that a token is compared with
 * hundreds of centroids instead of tens of thousands. Deterministic: it begins at evenly spaced tokens, and sums in order.
 */
import { types } from 'node:util'
import { fromHalf, fromInt8 } from '../io/numbers.js'
import { joined, offsetsOf } from '../ragged.js'
import type { EmbeddingData } from '../retrieval/embeddings.js'
import type { Device } from '../tensor/device.js'
import { maxsim } from '../tensor/ops.gen.js'
import { scope } from '../tensor/scope.js'
import { withoutTape } from '../tensor/tape.js'
import { Segments, Tensor } from '../tensor/tensor.js'
import { Turns } from '../turns.js'

/** Token embeddings [rows, dim] as they are stored. */
export interface StoredRows {
  data: EmbeddingData
  scales?: Float32Array
  dim: number
}

export interface Clusters {
  /** [centroids, dim]: means of their tokens. Those of a cell are neighbours. */
  centroids: Float32Array
  /** [cells, dim]: unit vectors that tokens of a cell lie closest to. */
  cells: Float32Array
  /** [cells + 1]: which centroids are whose. */
  cellOffsets: Float64Array<ArrayBuffer>
  /** Of each token, the number of its centroid. */
  of: Int32Array<ArrayBuffer>
}

/** Tokens for a centroid, of a collection: fewer make lists longer to search, more make candidates worse (docs/index.md). */
const tokensPerCentroid = 39
const iterations = 4
/** Tokens that a centroid is found by; the rest are only assigned. */
const sampled = 64
/** Rows that are widened at a time: 32 MiB at 128 dimensions. */
const block = 1 << 16

/** Clusters of `count` rows. @param told how many of 2 · `count` assignments, to cells and to centroids, are made */
export async function cluster(
  device: Device,
  rows: StoredRows,
  count: number,
  told: (done: number) => void = () => {},
): Promise<Clusters> {
  told(0)
  const { dim } = rows
  const wanted = Math.max(1, Math.round(count / tokensPerCentroid))
  const most = Math.min(wanted, Math.max(1, Math.round(2 * Math.sqrt(wanted)))) // of cells
  const turns = new Turns()
  const sample = evenly(count, Math.min(count, sampled * 4 * most))
  const coarse = await kmeans(device, widened(rows, sample), dim, most, turns)
  const cellOf = new Uint32Array(count)
  for (let first = 0; first < count; first += block) {
    const last = Math.min(count, first + block)
    const part = widened(
      rows,
      Uint32Array.from({ length: last - first }, (_, i) => first + i),
    )
    cellOf.set(await nearest(device, part, coarse, dim), first)
    told(last)
  }
  const members = grouped(cellOf, most)
  const of = new Int32Array(count)
  const parts: Float32Array[] = []
  const cells: Float32Array[] = []
  let [found, assignedSoFar] = [0, count]
  for (const [cell, tokens] of members.entries()) {
    if (tokens.length === 0) continue
    cells.push(coarse.subarray(cell * dim, (cell + 1) * dim))
    const own = Math.max(1, Math.round((tokens.length * wanted) / count))
    const chosen = evenly(tokens.length, Math.min(tokens.length, sampled * own)).map((i) => tokens[i]!)
    const fine = await kmeans(device, widened(rows, chosen), dim, own, turns)
    const assigned = new Uint32Array(tokens.length)
    const means = new Means(own, dim)
    for (let first = 0; first < tokens.length; first += block) {
      const some = tokens.subarray(first, first + block)
      const values = widened(rows, some)
      const nearestOf = await nearest(device, values, fine, dim)
      means.add(values, nearestOf)
      assigned.set(nearestOf, first)
      if (turns.due) await turns.take()
    }
    const { centroids, numbers } = means.finish()
    told((assignedSoFar += tokens.length))
    for (const [i, token] of tokens.entries()) of[token] = found + numbers[assigned[i]!]!
    parts.push(centroids)
    found += centroids.length / dim
  }
  const cellOffsets = offsetsOf(parts.map((part) => part.length / dim))
  return { centroids: joined(Float32Array, parts), cells: joined(Float32Array, cells), cellOffsets, of }
}

/** `most` numbers below `count`, evenly spaced. */
const evenly = (count: number, most: number): Uint32Array =>
  Uint32Array.from({ length: most }, (_, i) => Math.floor((i * count) / most))

/** The numbers of the tokens of each cell, rising. */
function grouped(cellOf: Uint32Array, cells: number): Uint32Array[] {
  const counts = new Uint32Array(cells)
  for (const cell of cellOf) counts[cell]!++
  const members = Array.from(counts, (n) => new Uint32Array(n))
  counts.fill(0)
  for (const [token, cell] of cellOf.entries()) members[cell]![counts[cell]!++] = token
  return members
}

/** Rows of these numbers as float32, [numbers, dim]. */
export function widened({ data, scales, dim }: StoredRows, numbers: Uint32Array): Float32Array {
  const chosen = new (data.constructor as new (length: number) => EmbeddingData)(numbers.length * dim)
  for (const [i, row] of numbers.entries()) chosen.set(data.subarray(row * dim, (row + 1) * dim), i * dim)
  if (types.isInt8Array(chosen))
    return fromInt8(
      chosen,
      Float32Array.from(numbers, (row) => scales![row]!),
      dim,
    )
  return types.isUint16Array(chosen) ? fromHalf(chosen) : chosen
}

/** All rows as float32. */
export const allTokens = (rows: StoredRows): Float32Array =>
  widened(
    rows,
    Uint32Array.from({ length: rows.data.length / rows.dim }, (_, i) => i),
  )

/** Unit centroids of rows [n, dim], which lie closest by inner product: spherical k-means. */
async function kmeans(device: Device, rows: Float32Array, dim: number, k: number, turns: Turns): Promise<Float32Array> {
  const n = rows.length / dim
  let centroids = new Float32Array(k * dim)
  for (const [i, row] of evenly(n, k).entries()) centroids.set(rows.subarray(row * dim, (row + 1) * dim), i * dim)
  normalize(centroids, dim)
  if (k >= n) return centroids
  for (let round = 0; round < iterations; round++) {
    const means = new Means(k, dim)
    means.add(rows, await nearest(device, rows, centroids, dim))
    // A centroid that nothing is close to stays where it is.
    centroids = means.over(centroids)
    normalize(centroids, dim)
    if (turns.due) await turns.take()
  }
  return centroids
}

/** The centroid with the largest inner product, of each row; the first of equal ones. */
async function nearest(
  device: Device,
  rows: Float32Array,
  centroids: Float32Array,
  dim: number,
): Promise<ArrayLike<number>> {
  const n = rows.length / dim
  if (centroids.length === dim) return new Uint8Array(n)
  const winners = scope(() =>
    withoutTape(() => {
      const q = Tensor.from(device, rows, [n, dim])
      const d = Tensor.from(device, centroids, [centroids.length / dim, dim])
      const [, argmax] = maxsim(
        q,
        Segments.of(device, [0, n]),
        d,
        Segments.of(device, [0, centroids.length / dim]),
        null,
        {
          ...{ layout: 0, wantArgmax: 1, clampNegatives: 0 },
        },
      )
      return argmax!
    }),
  )
  const values = (await winners.data()) as unknown as ArrayLike<number>
  winners.dispose()
  return values
}

function normalize(rows: Float32Array, dim: number): void {
  for (let at = 0; at < rows.length; at += dim) {
    let square = 0
    for (let k = at; k < at + dim; k++) square += rows[k]! * rows[k]!
    const by = square > 0 ? 1 / Math.sqrt(square) : 0
    for (let k = at; k < at + dim; k++) rows[k]! *= by
  }
}

/** Means of rows by cluster. */
class Means {
  private readonly sums: Float64Array
  private readonly counts: Uint32Array
  private readonly dim: number

  constructor(k: number, dim: number) {
    this.dim = dim
    this.sums = new Float64Array(k * dim)
    this.counts = new Uint32Array(k)
  }

  add(rows: Float32Array, clusters: ArrayLike<number>): void {
    const { sums, counts, dim } = this
    for (let i = 0; i < clusters.length; i++) {
      const [to, from] = [clusters[i]! * dim, i * dim]
      counts[clusters[i]!]!++
      for (let k = 0; k < dim; k++) sums[to + k]! += rows[from + k]!
    }
  }

  /** The means; of clusters without rows what `before` has. */
  over(before: Float32Array): Float32Array<ArrayBuffer> {
    const { sums, counts, dim } = this
    return Float32Array.from(before, (value, at) => {
      const count = counts[Math.floor(at / dim)]!
      return count > 0 ? sums[at]! / count : value
    })
  }

  /** Those of clusters with rows, and which number each cluster has among them. */
  finish(): { centroids: Float32Array; numbers: Uint32Array } {
    const { sums, counts, dim } = this
    const numbers = new Uint32Array(counts.length)
    let found = 0
    for (const [cluster, count] of counts.entries()) if (count > 0) numbers[cluster] = found++
    const centroids = new Float32Array(found * dim)
    for (const [cluster, count] of counts.entries())
      for (let k = 0; k < dim && count > 0; k++)
        centroids[numbers[cluster]! * dim + k] = sums[cluster * dim + k]! / count
    return { centroids, numbers }
  }
}
