import { ArgumentError, UnsupportedError } from '../errors.js'
import { setGradientGuard } from './dispatch.js'
import { add } from './ops.gen.js'
import { Scope, scope } from './scope.js'
import { Tensor } from './tensor.js'

/** Gradients of a node's inputs, in their order; null where none flows. */
type Backward = (gradients: (Tensor | null)[]) => (Tensor | null)[]

interface Node {
  inputs: readonly (Tensor | null | undefined)[]
  outputs: readonly Tensor[]
  saved: readonly Tensor[]
  backward: Backward
}

let current: Tape | null = null

/**
 * Records ops so that gradients can flow back. Recording order is topological, so backward is one reverse loop. A tape
 * keeps what its nodes need as handles of its own, hence scopes may free everything else; each node's share is freed as
 * backward passes it. A tape is used once, in synchronous code; two tapes may be alive at a time.
 */
export class Tape {
  private nodes: Node[] = []
  private readonly held = new Scope('a Tape')

  /** Runs `fn` with this tape recording. */
  run<R>(fn: () => R): R {
    return during(this, fn)
  }

  /** For `record` only. */
  push(node: Node): void {
    this.nodes.push(node)
  }

  /** For `record` only: a handle of the tape's own on a tensor's memory. */
  hold(tensor: Tensor): Tensor {
    return this.held.run(() => tensor.view(0, tensor.shape))
  }

  /** The parameters that what is recorded uses. */
  parameters(): Set<Tensor> {
    return new Set(this.uses().keys())
  }

  /**
   * Sends `seed` (the gradient of whatever is minimised with respect to `output`; default: 1 for a scalar) back through
   * the tape. Parameters accumulate into their `gradient`; gradients of `wanted` tensors are returned, in order, null
   * where none arrived. `final` hears of each parameter once backward has passed the first op that used it: this tape
   * adds nothing to its gradient any more. The tape is empty afterwards.
   */
  backward(
    output: Tensor,
    seed?: Tensor,
    wanted: readonly Tensor[] = [],
    final?: (parameter: Tensor) => void,
  ): (Tensor | null)[] {
    if (!seed && output.size !== 1)
      throw new ArgumentError('ERR_ARGUMENT', `backward from shape [${output.shape}] needs a seed of that shape`)
    return scope(() => during(null, () => this.sweep(output, seed ?? Tensor.from(output.device, [1]), wanted, final)))
  }

  /** How many of the recorded ops use each parameter. */
  private uses(): Map<Tensor, number> {
    const uses = new Map<Tensor, number>()
    for (const { inputs } of this.nodes)
      for (const input of inputs) if (input?.gradient) uses.set(input, (uses.get(input) ?? 0) + 1)
    return uses
  }

  private sweep(
    output: Tensor,
    seed: Tensor,
    wanted: readonly Tensor[],
    final?: (parameter: Tensor) => void,
  ): (Tensor | null)[] {
    const gradients = new Map<Tensor, Tensor>([[output, seed]])
    const keep = new Set(wanted)
    const uses = final ? this.uses() : new Map<Tensor, number>()
    try {
      for (let node = this.nodes.pop(); node; node = this.nodes.pop()) {
        const incoming = node.outputs.map((o) => gradients.get(o) ?? null)
        if (incoming.some((g) => g)) {
          for (const o of node.outputs) if (!keep.has(o)) gradients.delete(o)
          const results = node.backward(incoming)
          for (const [i, g] of results.entries()) if (g) accumulate(gradients, node.inputs[i]!, g)
          const alive = new Set(gradients.values())
          for (const g of incoming) if (g && g !== seed && !alive.has(g)) g.dispose()
        }
        for (const s of node.saved) this.held.release(s).dispose()
        for (const input of node.inputs) {
          const left = input ? uses.get(input) : undefined
          if (left !== undefined) uses.set(input!, left - 1)
          if (left === 1) final?.(input!)
        }
      }
    } finally {
      this.dispose()
    }
    return wanted.map((t) => gradients.get(t) ?? null)
  }

  /** Frees what the nodes still hold. */
  dispose(): void {
    this.nodes = []
    this.held.dispose()
  }

  /** As `dispose`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}

function accumulate(gradients: Map<Tensor, Tensor>, input: Tensor, gradient: Tensor): void {
  const before = gradients.get(input)
  if (!before) {
    gradients.set(input, gradient)
    return
  }
  gradients.set(input, add(before, gradient))
  const alive = new Set(gradients.values()) // one gradient may belong to two inputs (a residual sum)
  if (!alive.has(before)) before.dispose()
  if (!alive.has(gradient)) gradient.dispose()
}

function during<R>(tape: Tape | null, fn: () => R): R {
  const outer = current
  current = tape
  setGradientGuard(tape ? refuse : null)
  try {
    return fn()
  } finally {
    current = outer
    setGradientGuard(outer ? refuse : null)
  }
}

function refuse(op: string): never {
  throw new UnsupportedError(
    'ERR_UNSUPPORTED',
    `${op} was called on a tape with an input that needs a gradient, but without one: the gradient would stop there in ` +
      'silence. Use the function of lib/tensor/ops (or wrap it with record)',
  )
}

/** Runs `fn` without a tape, e.g. to encode for good. */
export function withoutTape<R>(fn: () => R): R {
  return during(null, fn)
}

/**
 * One tape op: runs `forward`, and if a tape is recording and an input needs a gradient, remembers how to go back.
 * `backward` may read only what `forward` saved: `save(t)` returns a handle that stays valid until then.
 */
export function record<R extends Tensor | readonly (Tensor | null)[]>(
  inputs: readonly (Tensor | null | undefined)[],
  forward: () => R,
  backward: (result: R, save: (t: Tensor) => Tensor) => Backward,
): R {
  const tape = current
  if (!tape || !inputs.some((t) => t?.requiresGradient)) return during(null, forward)
  const result = during(null, forward)
  const outputs = (result instanceof Tensor ? [result] : result.filter((t) => t !== null)) as Tensor[]
  const saved: Tensor[] = []
  const save = (t: Tensor): Tensor => {
    if (t.gradient) return t // parameters outlive the tape
    const kept = tape.hold(t)
    saved.push(kept)
    return kept
  }
  tape.push({ inputs, outputs, saved, backward: backward(result, save) })
  for (const o of outputs) o.requiresGradient = true
  return result
}
