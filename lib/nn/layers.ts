import { linearInt8 } from '../tensor/ops.gen.js'
import { layerNorm as layerNormOp, linear as linearOp } from '../tensor/ops.js'
import { scope } from '../tensor/scope.js'
import type { Segments, Tensor } from '../tensor/tensor.js'
import type { Parameters } from './parameters.js'

/** Token rows of several sequences, unpadded. */
export interface Packed {
  /** Token ids, int32 [T]. */
  ids: Tensor
  /** The same on the host: RoBERTa's positions depend on them. */
  hostIds: Int32Array
  /** Where each sequence starts, [n + 1]. */
  segments: Segments
  /** How many leading rows of each sequence are attended to, int32 [n]; null: all (query expansion is not). */
  keyLengths: Tensor | null
}

/** What a training forward pass needs for dropout: a uint32 pair per sequence, int32 [n, 2]. */
export interface Training {
  /** The pairs. */
  seeds: Tensor
}

/** x · Wᵀ + b with `NAME.weight`, which may be int8, and, where the model has it, `NAME.bias`. */
export function linear(params: Parameters, name: string, x: Tensor): Tensor {
  const int8 = params.int8(`${name}.weight`)
  if (int8) return linearInt8(x, int8.packed, int8.scales, optional(params, `${name}.bias`))
  return linearOp(x, params.get(`${name}.weight`), optional(params, `${name}.bias`))
}

/** Layer norm of x (+ residual) with `NAME.weight` and, where the model has it, `NAME.bias`; results as of the op. */
export function layerNorm(
  params: Parameters,
  name: string,
  x: Tensor,
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
  return layerNormOp(x, params.get(`${name}.weight`), optional(params, `${name}.bias`), eps, residual, wantNextResidual)
}

function optional(params: Parameters, name: string): Tensor | null {
  return params.has(name) ? params.get(name) : null
}

/**
 * One layer: computes the next state in a scope of its own and frees the previous one, so that a forward pass holds two
 * layers' activations at most (on a tape, plus what the tape keeps for backward).
 */
export function runLayer<T extends Record<string, Tensor | null>>(state: T, layer: (state: T) => T): T {
  const next = scope(() => layer(state))
  const kept = new Set(Object.values(next))
  for (const tensor of Object.values(state)) if (!kept.has(tensor)) tensor?.dispose()
  return next
}
