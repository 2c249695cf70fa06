/**
 * The ops with their gradients. Each is one tape record over a native forward/backward pair; shapes are checked natively
 * and errors name the op. T: token rows, d: features, n: sequences.
 */
import * as raw from './ops.gen.js'
import { record } from './tape.js'
import { type DType, type Segments, Tensor } from './tensor.js'

/** Activations in the order of native/ops/list.h. `gelu` is the exact erf form, `geluTanh` the approximation. */
export const activations = ['gelu', 'geluTanh', 'relu', 'tanh', 'sigmoid', 'silu'] as const
/** Names of activations. */
export type ActivationName = (typeof activations)[number]

/** Draws of one dropout: a uint32 pair per sequence as int32 [n, 2], and the counter word that names layer and place. */
export interface DropoutKey {
  /** Probability of dropping, 0 to 1. */
  p: number
  /** int32 [n, 2], a pair per sequence. */
  seeds: Tensor
  /** Names layer and site within it, so that no two dropouts draw the same. */
  site: number
}

const gradientOf = (parameter: Tensor | null | undefined): Tensor | null =>
  parameter?.requiresGradient ? parameter.gradient : null

/** a + b, same shape. */
export function add(a: Tensor, b: Tensor): Tensor {
  return record(
    [a, b],
    () => raw.add(a, b),
    () =>
      ([dy]) => [a.requiresGradient ? dy! : null, b.requiresGradient ? dy! : null],
  )
}

/** x · by. */
export function scale(x: Tensor, by: number): Tensor {
  return record(
    [x],
    () => raw.scale(x, null, { by }),
    () =>
      ([dy]) => [raw.scale(dy!, null, { by })],
  )
}

/** An element-wise activation of x [T, d]. */
export function activation(x: Tensor, name: ActivationName): Tensor {
  const kind = activations.indexOf(name)
  return record(
    [x],
    () => raw.activation(x, { kind }),
    (_, save) => {
      const input = save(x)
      return ([dy]) => [raw.activationBackward(input, dy!, { kind })]
    },
  )
}

/** act(x[:, :I]) ∘ x[:, I:] for x [T, 2I] → [T, I]: ModernBERT's gated MLP. */
export function geglu(x: Tensor, name: ActivationName = 'gelu'): Tensor {
  const kind = activations.indexOf(name)
  return record(
    [x],
    () => raw.geglu(x, { kind }),
    (_, save) => {
      const input = save(x)
      return ([dy]) => [raw.gegluBackward(input, dy!, { kind })]
    },
  )
}

/** Inverted dropout of x [T, d]: draws depend on (sequence seeds, position, feature, site) only; nothing is stored. */
export function dropout(x: Tensor, segments: Segments, key: DropoutKey | null): Tensor {
  if (!key || key.p === 0) return x
  const p = { p: key.p, site: key.site }
  return record(
    [x],
    () => raw.dropout(x, segments, key.seeds, p),
    (_, save) => {
      const [s, seeds] = [save(segments), save(key.seeds)]
      return ([dy]) => [raw.dropout(dy!, s, seeds, p)]
    },
  )
}

/** Rows of x [T, d] divided by max(‖x‖₂, eps), as torch.nn.functional.normalize. */
export function l2Normalize(x: Tensor, eps = 1e-12): Tensor {
  const [y] = record(
    [x],
    () => raw.l2Normalize(x, { eps }),
    ([y, norm], save) => {
      const [out, length] = [save(y), save(norm)]
      return ([dy]) => [raw.l2NormalizeBackward(out, length, dy!, { eps })]
    },
  )
  return y
}

/** Rows of x at strictly rising indices (int32, from the host). */
export function gatherRows(x: Tensor, index: Tensor): Tensor {
  const rows = x.shape[0]!
  return record(
    [x],
    () => raw.gatherRows(x, index),
    (_, save) => {
      const kept = save(index)
      return ([dy]) => [raw.scatterRows(dy!, kept, { rows })]
    },
  )
}

/** Columns of x [n, m] as rows, [m, n]. */
export function rowsToColumns(x: Tensor): Tensor {
  return record(
    [x],
    () => raw.rowsToColumns(x),
    () =>
      ([dy]) => [raw.rowsToColumns(dy!)],
  )
}

/** Rows of x [T, d] over the number of rows of their sequence. */
export function divideRows(x: Tensor, segments: Segments): Tensor {
  return record(
    [x],
    () => raw.divideRows(x, segments),
    (_, save) => {
      const kept = save(segments)
      return ([dy]) => [raw.divideRows(dy!, kept)]
    },
  )
}

/** One row per sequence: its first row (`cls`) or the mean of its rows. */
export function poolRows(x: Tensor, segments: Segments, how: 'cls' | 'mean'): Tensor {
  const kind = how === 'cls' ? 0 : 1
  return record(
    [x],
    () => raw.poolRows(x, segments, { kind }),
    (_, save) => {
      const kept = save(segments)
      return ([dy]) => [raw.poolRowsBackward(dy!, kept, { kind })]
    },
  )
}

/** Rows of table [V, d] at ids [T]. */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  return record(
    [table],
    () => raw.embedding(table, ids),
    (_, save) => {
      const kept = save(ids)
      return ([dy]) => {
        const gradient = gradientOf(table)
        if (gradient) raw.embeddingBackward(dy!, kept, gradient)
        return [null]
      }
    },
  )
}

/** x · wᵀ + b for x [T, in], w [out, in]. */
export function linear(x: Tensor, w: Tensor, b?: Tensor | null): Tensor {
  return record(
    [x, w, b],
    () => raw.linear(x, w, b),
    (_, save) => {
      const [input, weight] = [save(x), save(w)]
      const needInput = x.requiresGradient ? 1 : 0
      return ([dy]) => {
        const dx = raw.linearBackward(input, weight, dy!, gradientOf(w), gradientOf(b), { needInput })[0]
        return [dx, null, null]
      }
    },
  )
}

/**
 * Layer norm of x (+ residual) [T, d], with or without bias: y, and what may be the next residual: the sum (x where no
 * residual was given), or y itself, `nextResidual`. Where x is of 16 bits both are float32
 * (`nextResidual` if asked for, else it is y), so that a residual stream is not rounded in every layer; gradients are of
 * the type of x.
 */
export function layerNorm(
  x: Tensor,
  gamma: Tensor,
  beta: Tensor | null,
  eps: number,
  residual: Tensor | null = null,
  wantNextResidual = false,
): {
  /** [T, d], normalised. */
  y: Tensor
  /** [T, d], x + residual. */
  sum: Tensor
  /** [T, d], y for the next residual. */
  nextResidual: Tensor
} {
  const wanted = wantNextResidual && x.dtype === 'bfloat16' ? 1 : 0
  const [y, sum, , nextResidual] = record(
    [x, residual, gamma, beta],
    () => raw.layerNorm(x, residual, gamma, beta, { eps, wantNextResidual: wanted }),
    ([y, sum, stats], save) => {
      const [input, weight, s] = [save(sum ?? x), save(gamma), save(stats)]
      const { shape, dtype } = y
      const summed = sum !== null
      return (gradients) => {
        const dNext = wanted ? gradients.at(-1) : null
        const dy = gradients[0]
        const whole = dy && dNext ? raw.add(dy, dNext) : (dy ?? dNext ?? zeros(input.device, shape, dtype))
        const dsum = summed ? gradients[1] : null
        const dx = raw.layerNormBackward(input, weight, s, whole, dsum, gradientOf(gamma), gradientOf(beta))
        if (whole !== dy && whole !== dNext) whole.dispose()
        return [x.requiresGradient ? dx : null, residual?.requiresGradient ? dx : null, null, null]
      }
    },
  )
  return { y, sum: sum ?? x, nextResidual: nextResidual ?? y }
}

/** x in another real type, to nearest, ties to even. It carries no gradient. */
export function cast(x: Tensor, dtype: DType): Tensor {
  const y = Tensor.empty(x.device, x.shape, dtype)
  raw.cast(x, y)
  return y
}

/** Zeros of a shape, in the device's real type or `dtype`. */
export function zeros(device: Tensor['device'], shape: readonly number[], dtype?: DType): Tensor {
  const tensor = Tensor.empty(device, shape, dtype)
  raw.zero(tensor)
  return tensor
}

/** Rotates q and k inside qkv [T, 3 · heads · head dim] in place; `table` as `ropeTable` makes it. */
export function rope(qkv: Tensor, segments: Segments, table: Tensor, heads: number): Tensor {
  const rotated = (x: Tensor, s: Tensor, t: Tensor, inverse: number): Tensor => {
    raw.rope(x, s, t, { heads, inverse })
    return x
  }
  return record(
    [qkv],
    () => rotated(qkv, segments, table, 0),
    (_, save) => {
      const [s, t] = [save(segments), save(table)]
      return ([dy]) => [rotated(dy!, s, t, 1)]
    },
  )
}

/** Options of `attention`. */
export interface AttentionOptions {
  /** Number of heads. */
  heads: number
  /** Tokens see |q − k| ≤ window, inclusive; null: everything in their sequence. */
  window: number | null
  /** Of the attention weights; null: none. */
  dropout: DropoutKey | null
}

/**
 * Softmax attention within each sequence of qkv [T, 3 · d] → [T, d], scaled by head dim^-½. Only the first
 * `keyLengths[i]` rows of sequence i are keys (int32 [n]); absent: all. A row that sees no key becomes 0.
 */
export function attention(qkv: Tensor, segments: Segments, keyLengths: Tensor | null, o: AttentionOptions): Tensor {
  const p = { heads: o.heads, window: o.window ?? -1, dropout: o.dropout?.p ?? 0, site: o.dropout?.site ?? 0 }
  const seeds = o.dropout?.p ? o.dropout.seeds : null
  const [out] = record(
    [qkv],
    () => raw.attention(qkv, segments, keyLengths, seeds, p),
    ([out, lse], save) => {
      const [x, y, l, s] = [save(qkv), save(out), save(lse), save(segments)]
      const [k, r] = [keyLengths && save(keyLengths), seeds && save(seeds)]
      return ([dy]) => [raw.attentionBackward(x, y, l, dy!, s, k, r, p)]
    },
  )
  return out
}

/** Packed token embeddings [T, dim] of several texts, and where each text starts. */
export interface TokenEmbeddings {
  /** [T, dim], unit norm from a model. */
  tokens: Tensor
  /** Where each text starts, [texts + 1]. */
  segments: Segments
  /** How the model that made them scores, by its recipe; the losses go by it. */
  clampNegatives?: boolean
}

/** What is scored with what; see `maxsim`. */
export const layouts = ['all', 'grouped', 'pairs'] as const
/** One of `layouts`. */
export type Layout = (typeof layouts)[number]

/**
 * MaxSim scores: Σ over query tokens of the largest inner product with a document token, for packed tokens q [Tq, d] and
 * d [Td, d]. Layout `all` → [nq, nd]; `grouped` (query i owns documents pairs[i] … pairs[i+1]) → [nd]; `pairs` (int64
 * query, document, …) → [n]. An empty document scores 0; ties go to the lowest index; NaN propagates.
 */
export function maxsim(
  q: Tensor,
  qSegments: Segments,
  d: Tensor,
  dSegments: Segments,
  layout: Layout = 'all',
  pairs: Tensor | null = null,
  clampNegatives = false,
): Tensor {
  const wantArgmax = q.requiresGradient || d.requiresGradient ? 1 : 0
  const p = { layout: layouts.indexOf(layout), wantArgmax, clampNegatives: clampNegatives ? 1 : 0 }
  const [scores] = record(
    [q, d],
    () => raw.maxsim(q, qSegments, d, dSegments, pairs, p),
    ([, argmax], save) => {
      const kept = [q, qSegments, d, dSegments].map(save) as [Tensor, Tensor, Tensor, Tensor]
      const [which, won] = [pairs && save(pairs), save(argmax!)]
      return ([ds]) => {
        // Sums of many rows: float32 where the tokens are 16 bits, as the scores are.
        const dq = q.requiresGradient ? zeros(kept[0].device, kept[0].shape, ds!.dtype) : null
        const dd = d.requiresGradient ? zeros(kept[2].device, kept[2].shape, ds!.dtype) : null
        raw.maxsimBackward(...kept, which, won, ds!, dq, dd, { layout: p.layout })
        return [dq, dd]
      }
    },
  )
  return scores
}

/** Cosines, then sines of position · θ^(−2j/headDim) as [positions, headDim], computed in double (RoFormer, eq. 15). */
export function ropeTable(positions: number, headDim: number, theta: number): Float64Array {
  const half = headDim / 2
  const table = new Float64Array(positions * headDim)
  for (let p = 0; p < positions; p++)
    for (let j = 0; j < half; j++) {
      const angle = p * theta ** ((-2 * j) / headDim)
      table[p * headDim + j] = Math.cos(angle)
      table[p * headDim + half + j] = Math.sin(angle)
    }
  return table
}
