import { addInto, copyRows } from '../tensor/ops.gen.js'
import { cast } from '../tensor/ops.js'
import { Tensor } from '../tensor/tensor.js'
import type { Pending, ProcessGroup } from './group.js'

/** The type in which embeddings travel; `float32` stands for their own. Gradients always travel as they are. */
export type CommDtype = 'float32' | 'float16'

/**
 * All ranks' token embeddings, in rank order, from each rank's own; rank r has rows[r]. As float16 a unit vector is off
 * by at most 2⁻¹¹ of each component; the own ones are rounded too, so that every rank works with the same.
 */
export function allGatherTokens(
  group: ProcessGroup,
  own: Tensor,
  rows: readonly number[],
  commDtype: CommDtype,
): Pending {
  if (commDtype === 'float32' || own.dtype === commDtype) return group.allGather(own, rows)
  const half = cast(own, 'float16')
  const pending = group.allGather(half, rows)
  half.dispose()
  return {
    wait() {
      const all = pending.wait()
      const wide = cast(all, own.dtype)
      all.dispose()
      return wide
    },
  }
}

/**
 * The gradient of this rank's rows from every rank's share of it: each rank has a gradient of all rows and sends every
 * owner its slice; the owner sums the slices in rank order.
 */
export function reduceScatterRows(group: ProcessGroup, gradient: Tensor, rows: readonly number[]): Pending {
  const own = rows[group.rank]!
  const pending = group.allToAll(gradient, rows, Array<number>(group.size).fill(own))
  return {
    wait() {
      const parts = pending.wait()
      const sum = Tensor.empty(parts.device, [own, ...parts.shape.slice(1)])
      for (let r = 0; r < group.size; r++) {
        const part = parts.rows(r * own, (r + 1) * own)
        if (r === 0) copyRows(part, sum, { row: 0 })
        else addInto(part, sum)
        part.dispose()
      }
      parts.dispose()
      return sum
    },
  }
}
