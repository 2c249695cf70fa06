import type { Tensor } from './tensor.js'

/**
 * Ranks that train together. Calls are asynchronous on the device's stream, are issued in one order that is the same on
 * every rank, and change tensors in place; sums are taken in rank order.
 */
export interface Group {
  readonly rank: number
  readonly size: number
  allReduceSum(tensor: Tensor): void
  allReduceMax(tensor: Tensor): void
}

/** One process on its own: every reduction is already done. */
export const self: Group = {
  rank: 0,
  size: 1,
  allReduceSum() {},
  allReduceMax() {},
}
