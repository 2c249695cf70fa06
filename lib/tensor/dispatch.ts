import { DisposedError } from '../errors.js'
import { native } from '../native.js'
import { dtypes, Tensor } from './tensor.js'

/** An input that may be absent. */
export type Operand = Tensor | null | undefined

const resultDoubles = 7 // handle, dtype, rank, four dimensions (native/binding/ops.cc)

let guard: ((op: string) => never) | null = null

/** The tape's watch over ops that would lose a gradient (tape.ts). */
export function setGradientGuard(refuse: ((op: string) => never) | null): void {
  guard = refuse
}

/** Runs op number `op`: handles, then params into the shared block; the outputs come back in the same place. */
export function run(
  op: number,
  inputs: readonly Operand[],
  params: readonly number[],
  outputs: number,
): (Tensor | null)[] {
  const addon = native()
  const block = addon.block
  let cursor = 0
  let device = null
  for (const input of inputs) {
    if (input) {
      if (input.handle === 0)
        throw new DisposedError(
          'ERR_DISPOSED',
          `${addon.opList()[op]!.name}: a tensor of shape [${input.shape}] was disposed of`,
        )
      if (guard && input.requiresGradient) guard(addon.opList()[op]!.name)
      device ??= input.device
      block[cursor++] = input.handle
    } else block[cursor++] = 0
  }
  for (const param of params) block[cursor++] = param
  addon.call(op)
  const results: (Tensor | null)[] = []
  const made: [number, number, number[]][] = []
  for (let i = 0; i < outputs; i++) {
    const at = i * resultDoubles
    made.push([block[at]!, block[at + 1]!, Array.from(block.subarray(at + 3, at + 3 + block[at + 2]!))])
  }
  for (const [handle, dtype, shape] of made)
    results.push(handle ? new Tensor(device!, handle, dtypes[dtype]!, shape) : null)
  return results
}
