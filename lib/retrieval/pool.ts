/** Fewer token embeddings a document: those that lie close together become their mean. */
import { types } from 'node:util'
import { ArgumentError } from '../errors.js'
import { checkOptions, flag, func, type Kinds, number, required, whole } from '../options.js'
import { type OnProgress, seldom } from '../progress.js'
import { offsetsOf } from '../ragged.js'
import { Turns } from '../turns.js'
import { checkEmbeddings, countOf, type Embeddings, type Role, vectorsAt } from './embeddings.js'

/** Options of `poolTokens`. */
export interface PoolOptions {
  /** About 1 / factor of the tokens are kept; 1 or more, fractions too. */
  factor: number
  /** So many tokens at the beginning of each document are kept as they are. Default 1, `[CLS]`. */
  protectedTokens?: number
  /** Gives all that is kept unit norm, as sentence-transformers does by default; PyLate does not. Default true. */
  normalize?: boolean
  /** Told how many documents are pooled. */
  onProgress?: OnProgress
}

const kinds: Kinds<PoolOptions> = { factor: number(1), protectedTokens: whole(0), normalize: flag, onProgress: func }

/**
 * Hierarchical token pooling (Clavié et al. 2024, arXiv 2409.14683): tokens of a document, but for the protected ones, are
 * clustered by Ward's method on 1 − cosine until max(⌊n / factor⌋, 1) clusters are left, and each becomes the mean of its
 * tokens. The clusters are those of sentence-transformers 6.2 and PyLate 1.6 (scipy's `linkage` and `fcluster`), here in the
 * order of their first tokens. Of a document of n tokens it takes n² · (dim + 10) operations in JavaScript.
 * @param embeddings float32, of unit norm
 * @throws ArgumentError ERR_ARGUMENT; ShapeError ERR_SHAPE when offsets and data disagree
 */
export async function poolTokens<R extends Role>(
  embeddings: Embeddings<R>,
  options: PoolOptions,
): Promise<Embeddings<R>> {
  checkOptions('poolTokens', options, kinds)
  required('poolTokens', 'factor', options?.factor, kinds.factor)
  checkEmbeddings('embeddings', embeddings)
  const { factor, protectedTokens = 1, normalize = true } = options
  const { data, dim } = embeddings
  if (!types.isFloat32Array(data))
    throw new ArgumentError('ERR_ARGUMENT', 'poolTokens takes float32; quantize the embeddings afterwards')
  const pooled = new Float32Array(data.length)
  const lengths = new Float64Array(countOf(embeddings))
  const turns = new Turns()
  const tell = seldom(options.onProgress)
  let row = 0
  for (let i = 0; i < lengths.length; i++) {
    const tokens = vectorsAt(embeddings, i)
    const clusters = clustersOf(tokens, dim, factor, protectedTokens)
    for (const members of clusters) meanInto(pooled.subarray(row * dim, ++row * dim), tokens, members, normalize)
    lengths[i] = clusters.length
    tell(() => ({ stage: 'pooling', done: i + 1, total: lengths.length, unit: 'documents' }))
    if (turns.due) await turns.take()
  }
  return { ...embeddings, data: pooled.slice(0, row * dim), offsets: offsetsOf(lengths) }
}

function meanInto(mean: Float32Array, tokens: Float32Array, members: readonly number[], normalize: boolean): void {
  const dim = mean.length
  for (const member of members) for (let k = 0; k < dim; k++) mean[k]! += tokens[member * dim + k]!
  let square = 0
  for (let k = 0; k < dim; k++) {
    mean[k]! /= members.length
    square += mean[k]! * mean[k]!
  }
  if (!normalize) return
  const by = 1 / Math.max(Math.sqrt(square), 1e-12) // as torch's normalize
  for (let k = 0; k < dim; k++) mean[k]! *= by
}

/** Which tokens [n, dim] become one, by their numbers, in the order of the first of each. */
function clustersOf(tokens: Float32Array, dim: number, factor: number, protectedTokens: number): number[][] {
  const all = tokens.length / dim
  const kept = Math.min(protectedTokens, all)
  const n = all - kept
  const wanted = Math.max(Math.floor(n / factor), 1)
  const alone = (first: number, count: number) => Array.from({ length: count }, (_, i) => [first + i])
  if (wanted >= n) return alone(0, all)
  const merges = ward(distancesOf(tokens.subarray(kept * dim), dim), n)
  // fcluster's maxclust cuts at a height: merges of the height of the last one are all made.
  let made = n - wanted
  while (made < merges.length && merges[made]!.height <= merges[made - 1]!.height) made++
  const parent = Int32Array.from({ length: n }, (_, i) => i)
  const root = (i: number): number => {
    let at = i
    while (parent[at] !== at) at = parent[at]!
    return at
  }
  for (const { a, b } of merges.slice(0, made)) {
    const [first, second] = [root(a), root(b)]
    parent[Math.max(first, second)] = Math.min(first, second)
  }
  const members = new Map<number, number[]>()
  for (let i = 0; i < n; i++) {
    const first = root(i)
    const list = members.get(first)
    if (list) list.push(kept + i)
    else members.set(first, [kept + i])
  }
  return [...alone(0, kept), ...members.values()]
}

/** 1 − cosine of each pair i < j, from 0 to 2, squared: what Ward's method goes by. [n · n], both halves. */
function distancesOf(tokens: Float32Array, dim: number): Float64Array {
  const n = tokens.length / dim
  const distances = new Float64Array(n * n)
  for (let i = 0; i < n; i++)
    for (let j = i + 1; j < n; j++) {
      let cosine = 0
      for (let k = 0; k < dim; k++) cosine += tokens[i * dim + k]! * tokens[j * dim + k]!
      const distance = Math.min(Math.max(1 - Math.fround(cosine), 0), 2)
      distances[i * n + j] = distances[j * n + i] = distance * distance
    }
  return distances
}

interface Merge {
  /** A token of either cluster. */
  a: number
  b: number
  height: number
}

/**
 * The merges of Ward's method, lowest first, by chains of nearest neighbours (Murtagh 1985): O(n²). Distances of a merged
 * cluster follow from those of its parts (Lance and Williams 1967).
 * @param squares squared distances [n · n]; overwritten
 */
function ward(squares: Float64Array, n: number): Merge[] {
  const size = new Float64Array(n).fill(1)
  const merges: Merge[] = []
  const chain: number[] = []
  while (merges.length < n - 1) {
    if (chain.length === 0) chain.push(size.findIndex((count) => count > 0))
    for (;;) {
      const x = chain.at(-1)!
      // Of equal ones the cluster before in the chain, so that chains end.
      let y = chain.length > 1 ? chain.at(-2)! : -1
      let least = y < 0 ? Number.POSITIVE_INFINITY : squares[x * n + y]!
      for (let i = 0; i < n; i++)
        if (size[i]! > 0 && i !== x && squares[x * n + i]! < least) {
          least = squares[x * n + i]!
          y = i
        }
      if (chain.length > 1 && y === chain.at(-2)) break
      chain.push(y)
    }
    const [x, y] = [chain.pop()!, chain.pop()!].sort((p, q) => p - q) as [number, number]
    const between = squares[x * n + y]!
    merges.push({ a: x, b: y, height: Math.sqrt(between) })
    const [nx, ny] = [size[x]!, size[y]!]
    size[x] = 0
    size[y] = nx + ny
    for (let i = 0; i < n; i++) {
      const ni = size[i]!
      if (ni === 0 || i === y) continue
      const merged = ((nx + ni) * squares[x * n + i]! + (ny + ni) * squares[y * n + i]! - ni * between) / (nx + ny + ni)
      squares[y * n + i] = squares[i * n + y] = Math.max(merged, 0)
    }
  }
  return merges.sort((p, q) => p.height - q.height)
}
