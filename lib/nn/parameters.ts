import { ArgumentError, FormatError, UnsupportedError } from '../errors.js'
import type { Device } from '../tensor/device.js'
import type { Owner } from '../tensor/leaks.js'
import { cast, packInt8, zero } from '../tensor/ops.gen.js'
import { ownedBy, scope } from '../tensor/scope.js'
import { type DType, realArray, Segments, Tensor } from '../tensor/tensor.js'

/** Values that are written at a time. */
const WRITTEN = 1 << 18

/** A parameter before it has memory. */
export interface ParameterShape {
  /** As in the model's files, e.g. `layers.0.attn.Wqkv.weight`. */
  name: string
  /** Its shape. */
  shape: readonly number[]
}

/** A parameter's place in the flat buffers. */
export interface ParameterEntry extends ParameterShape {
  /** First element in the flat buffers; −1 of int8 weights, which are not in them. */
  offset: number
  /** Number of elements. */
  size: number
}

/** Weights [out, in] as int8, packed for products: w ≈ n · scale of the row. */
export interface Int8Weights {
  /** int8 [out / 32, in / 4, 32, 4], rounded up. */
  packed: Tensor
  /** [out], a row's largest number / 127. */
  scales: Tensor
}

/** The same, row by row. */
export interface Int8Rows {
  /** [out, in] */
  data: Int8Array
  /** [out] */
  scales: Float32Array
}

/**
 * The parameters of a model and their gradients: views of two flat buffers, so that the optimiser, the gradient norm,
 * zeroing and reductions over ranks are single launches. Entries keep the order they were declared in.
 *
 * Values and gradients are of the device's real type. A model may compute with a narrower one (mixed precision,
 * Micikevicius et al. 2018): `get` then gives views of a copy in that type, which follows the values.
 *
 * Parameters that are made int8 as they are written lie outside the flat buffers (`int8`), and there are no gradients then.
 */
export class Parameters {
  /** Where they are. */
  readonly device: Device
  /** All parameters, in the order they were declared. */
  readonly entries: readonly ParameterEntry[]
  /** All values and all gradients, [total]. An op that changes the values is followed by `refresh()`. */
  readonly values: Tensor
  /** All gradients, [total], of the device's real type. */
  readonly gradients: Tensor
  /** What the model computes with. */
  readonly type: DType
  /** Whether parameters may be int8: nothing can be trained then. */
  readonly encodesOnly: boolean
  /** All values in that type, where it is another one. */
  private readonly narrow: Tensor | null
  /** Where each entry starts in them. */
  readonly segments: Segments
  /** Steps that an optimiser has taken on them here. */
  updates = 0
  /** By what name a warning calls them, should nobody dispose of them: that of the model they are of. */
  readonly owner: Owner = { name: 'a set of parameters' }
  private readonly views = new Map<string, Tensor>()
  private readonly packed = new Map<string, Int8Weights>()
  private readonly offsets: ReadonlyMap<string, number>

  /** @param isInt8 which parameters, of two dimensions, are made int8; nothing can be trained then */
  constructor(
    device: Device,
    shapes: readonly ParameterShape[],
    type: DType = device.real,
    isInt8?: (parameter: ParameterShape) => boolean,
  ) {
    let offset = 0
    this.device = device
    this.type = type
    this.encodesOnly = isInt8 !== undefined
    this.entries = shapes.map(({ name, shape }) => {
      const size = shape.reduce((product, d) => product * d, 1)
      if (isInt8?.({ name, shape })) return { name, shape, offset: -1, size }
      const entry = { name, shape, offset, size }
      offset += size
      return entry
    })
    const flat = this.entries.filter((entry) => entry.offset >= 0)
    this.offsets = new Map(this.entries.map((entry) => [entry.name, entry.offset]))
    const [values, gradients, segments, narrow] = ownedBy(this.owner, () => [
      Tensor.empty(device, [offset]),
      Tensor.empty(device, [isInt8 ? 0 : offset]),
      Segments.fromLengths(
        device,
        flat.map((e) => e.size),
      ),
      type === device.real ? null : Tensor.empty(device, [offset], type),
    ])
    this.values = values
    this.gradients = gradients
    this.segments = segments
    this.narrow = narrow
    for (const tensor of [values, gradients, narrow]) if (tensor) zero(tensor)
    for (const entry of flat) {
      if (this.views.has(entry.name))
        throw new ArgumentError('ERR_ARGUMENT', `parameter ${entry.name} is declared twice`)
      const value = ownedBy(this.owner, () => (narrow ?? values).view(entry.offset, entry.shape))
      this.views.set(entry.name, value)
      if (isInt8) continue
      value.requiresGradient = true
      value.gradient = ownedBy(this.owner, () => gradients.view(entry.offset, entry.shape))
    }
  }

  /** Number of scalars. */
  get count(): number {
    return this.entries.reduce((sum, { size }) => sum + size, 0)
  }

  /** Weights that were made int8; undefined for others. */
  int8(name: string): Int8Weights | undefined {
    return this.packed.get(name)
  }

  /** Whether there is a parameter of that name. */
  has(name: string): boolean {
    return this.views.has(name)
  }

  /** The parameter of that name, to compute with: a view that requires a gradient unless frozen. */
  get(name: string): Tensor {
    const view = this.views.get(name)
    if (!view) throw new FormatError('ERR_FORMAT', `there is no parameter "${name}"`, { name })
    return view
  }

  /**
   * Sets all values, or those of one parameter.
   * @throws FormatError ERR_FORMAT for an unknown name; ShapeError ERR_SHAPE for another number of values
   */
  write(data: ArrayLike<number>, name?: string): void {
    const values = realArray(this.device, data)
    if (name === undefined) {
      if (this.encodesOnly)
        throw new UnsupportedError('ERR_UNSUPPORTED', 'int8 weights are written one by one, by their names')
      this.values.write(values)
      this.refresh()
    } else if (this.offsets.get(name)! < 0) this.pack(this.entryOf(name), values)
    else if (!this.narrow) this.get(name).write(values)
    else
      scope(() => {
        const view = this.get(name)
        const target = this.values.view(this.offsets.get(name)!, view.shape)
        target.write(values)
        cast(target, view)
      })
  }

  /** `write` of one parameter that yields between small steps: millions of values are copied. */
  *writeInSteps(data: Float32Array, name: string): Generator<void, void> {
    const { size, shape } = this.entryOf(name)
    const start = this.offsets.get(name)!
    if (data.length !== size || size <= WRITTEN || start < 0) return this.write(data, name)
    for (let at = 0; at < size; at += WRITTEN) {
      const part = data.subarray(at, at + WRITTEN)
      scope(() => this.values.view(start + at, [part.length]).write(realArray(this.device, part)))
      yield
    }
    if (this.narrow) scope(() => cast(this.values.view(start, shape), this.get(name)))
  }

  /** Number of values and shape. @throws FormatError ERR_FORMAT for an unknown name */
  entryOf(name: string): ParameterEntry {
    const entry = this.entries.find((entry) => entry.name === name)
    if (!entry) throw new FormatError('ERR_FORMAT', `there is no parameter "${name}"`, { name })
    return entry
  }

  /** Int8 weights as they are, n [out, in] and scales [out]. @throws FormatError ERR_FORMAT where there are none */
  async int8Rows(name: string): Promise<Int8Rows> {
    const { shape } = this.entryOf(name)
    const int8 = this.packed.get(name)
    if (!int8) throw new FormatError('ERR_FORMAT', `parameter "${name}" is not int8`, { name })
    const [packed, scales] = await Promise.all([int8.packed.data(), int8.scales.values()])
    const [out, width] = shape as [number, number]
    const words = Math.ceil(width / 4)
    const data = new Int8Array(out * width)
    for (let row = 0; row < out; row++)
      for (let k = 0; k < width; k++)
        data[row * width + k] = Number(packed[(((row >> 5) * words + (k >> 2)) * 32 + (row & 31)) * 4 + (k & 3)])
    return { data, scales: Float32Array.from(scales) }
  }

  private pack({ name, shape }: ParameterEntry, values: Float32Array | Float64Array): void {
    const before = this.packed.get(name)
    const make = () => packInt8(Tensor.from(this.device, values, shape))
    const [packed, scales] = ownedBy(this.owner, () => scope(make))
    this.packed.set(name, { packed, scales })
    before?.packed.dispose()
    before?.scales.dispose()
  }

  /** What the model computes with follows `values`, which an op has changed. */
  refresh(): void {
    if (this.narrow) cast(this.values, this.narrow)
  }

  /** Sets whether parameters whose name matches receive gradients. */
  freeze(matches: (name: string) => boolean, frozen = true): void {
    for (const [name, view] of this.views) if (matches(name)) view.requiresGradient = !frozen
  }

  /** Sets all gradients to 0. */
  zeroGradients(): void {
    zero(this.gradients)
  }

  /** Frees the buffers; safe to call twice. */
  dispose(): void {
    for (const view of this.views.values()) {
      view.gradient?.dispose()
      view.dispose()
    }
    for (const { packed, scales } of this.packed.values()) {
      packed.dispose()
      scales.dispose()
    }
    for (const t of [this.values, this.gradients, this.segments, this.narrow]) t?.dispose()
  }

  /** As `dispose`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}
