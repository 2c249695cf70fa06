import { ArgumentError, FormatError } from '../errors.js'
import type { Device } from '../tensor/device.js'
import { zero } from '../tensor/ops.gen.js'
import { outsideScopes } from '../tensor/scope.js'
import { Segments, Tensor } from '../tensor/tensor.js'

export interface ParameterShape {
  name: string
  shape: readonly number[]
}

export interface ParameterEntry extends ParameterShape {
  /** First element in the flat buffers. */
  offset: number
  size: number
}

/**
 * The parameters of a model and their gradients: views of two flat buffers, so that the optimiser, the gradient norm,
 * zeroing and reductions over ranks are single launches. Entries keep the order they were declared in.
 */
export class Parameters {
  readonly device: Device
  readonly entries: readonly ParameterEntry[]
  /** All values and all gradients, [total]. */
  readonly values: Tensor
  readonly gradients: Tensor
  /** Where each entry starts in them. */
  readonly segments: Segments
  private readonly views = new Map<string, Tensor>()

  constructor(device: Device, shapes: readonly ParameterShape[]) {
    let offset = 0
    this.device = device
    this.entries = shapes.map(({ name, shape }) => {
      const size = shape.reduce((product, d) => product * d, 1)
      const entry = { name, shape, offset, size }
      offset += size
      return entry
    })
    const [values, gradients, segments] = outsideScopes(() => [
      Tensor.empty(device, [offset]),
      Tensor.empty(device, [offset]),
      Segments.fromLengths(
        device,
        this.entries.map((e) => e.size),
      ),
    ])
    this.values = values
    this.gradients = gradients
    this.segments = segments
    zero(values)
    zero(gradients)
    for (const entry of this.entries) {
      if (this.views.has(entry.name))
        throw new ArgumentError('ERR_ARGUMENT', `parameter ${entry.name} is declared twice`)
      const [value, gradient] = outsideScopes(() => [
        values.view(entry.offset, entry.shape),
        gradients.view(entry.offset, entry.shape),
      ])
      value.requiresGradient = true
      value.gradient = gradient
      this.views.set(entry.name, value)
    }
  }

  /** Number of scalars. */
  get count(): number {
    return this.values.size
  }

  has(name: string): boolean {
    return this.views.has(name)
  }

  /** The parameter of that name: a view that requires a gradient unless frozen. */
  get(name: string): Tensor {
    const view = this.views.get(name)
    if (!view) throw new FormatError('ERR_FORMAT', `there is no parameter "${name}"`, { name })
    return view
  }

  /** Sets whether parameters whose name matches receive gradients. */
  freeze(matches: (name: string) => boolean, frozen = true): void {
    for (const [name, view] of this.views) if (matches(name)) view.requiresGradient = !frozen
  }

  zeroGradients(): void {
    zero(this.gradients)
  }

  dispose(): void {
    for (const view of this.views.values()) {
      view.gradient?.dispose()
      view.dispose()
    }
    for (const t of [this.values, this.gradients, this.segments]) t.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
