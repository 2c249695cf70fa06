import { types } from 'node:util'
import { ArgumentError, DisposedError, DTypeError, ShapeError, UnsupportedError } from '../errors.js'
import { type NativeArray, native } from '../native.js'
import type { Device } from './device.js'
import { type Owner, unwatch, watch } from './leaks.js'
import { adopt } from './scope.js'

/** Element types in the order of native/runtime/dtype.h. */
export const dtypes = [
  'float32',
  'float64',
  'int32',
  'int64',
  'uint8',
  'uint16',
  'float16',
  'bfloat16',
  'int8',
] as const
/** Element types. */
export type DType = (typeof dtypes)[number]

/** Bytes of an element. */
const widths = { float32: 4, float64: 8, int32: 4, int64: 8, uint8: 1, uint16: 2, float16: 2, bfloat16: 2, int8: 1 }

/** Numbers in the device's real type; float32 ones for a device of float32 are not copied. */
export function realArray(device: Device, data: ArrayLike<number>): Float32Array | Float64Array {
  if (device.real === 'float64') return Float64Array.from(data)
  return types.isFloat32Array(data) ? data : Float32Array.from(data)
}

/**
 * A tensor on a device: an integer handle into the native table, with its shape. It lives until `dispose()` or until
 * the scope it was made in ends; garbage collection never frees it. A use after that throws ERR_DISPOSED.
 */
export class Tensor {
  /** Native handle; 0 once disposed of. */
  handle: number
  /** Where it is. */
  readonly device: Device
  /** Element type. */
  readonly dtype: DType
  /** Lengths of its dimensions, row-major. */
  readonly shape: readonly number[]
  /** Whether a tape should carry a gradient to it: set for parameters and for what is computed from them on a tape. */
  requiresGradient = false
  /** Where a parameter's gradient is accumulated: a view of the model's flat gradient buffer. */
  gradient: Tensor | null = null

  /** It shares another tensor's memory. */
  private readonly isView: boolean

  constructor(device: Device, handle: number, dtype: DType, shape: readonly number[], isView = false) {
    this.handle = handle
    this.device = device
    this.dtype = dtype
    this.shape = shape
    this.isView = isView
    if (!adopt(this)) this.watch()
  }

  /**
   * A tensor with the given contents, copied during the call. Real numbers take the device's real type.
   * @throws ShapeError ERR_SHAPE when shape and data disagree; OutOfMemoryError ERR_OUT_OF_MEMORY
   */
  static from(device: Device, data: ArrayLike<number>, shape: readonly number[] = [data.length]): Tensor {
    return Tensor.make(device, device.real, shape, realArray(device, data))
  }

  /** Int32 contents (token ids, row indices, seeds); their range is known to every later check. */
  static fromInt32(device: Device, data: Int32Array, shape: readonly number[] = [data.length]): Tensor {
    return Tensor.make(device, 'int32', shape, data)
  }

  /** float16 contents, as bits. */
  static fromFloat16(device: Device, bits: Uint16Array, shape: readonly number[] = [bits.length]): Tensor {
    return Tensor.make(device, 'float16', shape, bits)
  }

  /** int8 contents. */
  static fromInt8(device: Device, data: Int8Array, shape: readonly number[] = [data.length]): Tensor {
    return Tensor.make(device, 'int8', shape, data)
  }

  /** uint8 contents. */
  static fromUint8(device: Device, data: Uint8Array, shape: readonly number[] = [data.length]): Tensor {
    return Tensor.make(device, 'uint8', shape, data)
  }

  /** Uninitialised memory of the device's real type (or `dtype`). */
  static empty(device: Device, shape: readonly number[], dtype: DType = device.real): Tensor {
    return Tensor.make(device, dtype, shape)
  }

  /**
   * A tensor whose contents are those of a file from byte `offset` on, read when they are used and shared with all who map
   * it. On the CPU. The file must not change, but may lose its name. Ops that would overwrite it refuse it.
   * @throws FileError ERR_FILE; FormatError ERR_FORMAT where the file is too short; UnsupportedError ERR_UNSUPPORTED on
   *   devices with a memory of their own
   */
  static map(device: Device, path: string, offset: number, shape: readonly number[], dtype: DType): Tensor {
    if (device.name.startsWith('cuda'))
      throw new UnsupportedError(
        'ERR_UNSUPPORTED',
        `"${device.name}" has a memory of its own; files are mapped on the CPU`,
      )
    return new Tensor(device, native().map(device.id, path, offset, dtypes.indexOf(dtype), shape), dtype, shape)
  }

  private static make(device: Device, dtype: DType, shape: readonly number[], data?: NativeArray): Tensor {
    return new Tensor(device, native().create(device.id, dtypes.indexOf(dtype), shape, data), dtype, shape)
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((product, d) => product * d, 1)
  }

  /** Of its elements. */
  get bytes(): number {
    return this.size * widths[this.dtype]
  }

  /** Whether it was freed. */
  get disposed(): boolean {
    return this.handle === 0
  }

  /** Overwrites the contents, in stream order. */
  write(data: NativeArray): void {
    this.live('write')
    native().write(this.handle, data)
  }

  /** The contents, once everything issued so far has run. Rejects with the stream's first error. */
  data(): Promise<NativeArray> {
    this.live('data')
    return native().read(this.handle)
  }

  /**
   * The contents as numbers of the device's real type.
   * @throws DTypeError ERR_DTYPE for 16-bit types, which JavaScript has no numbers for: cast first
   */
  async values(): Promise<Float32Array | Float64Array> {
    if (this.dtype === 'float16' || this.dtype === 'bfloat16')
      throw new DTypeError(
        'ERR_DTYPE',
        `values() of a ${this.dtype} tensor: make it ${this.device.real} with cast() first`,
      )
    return (await this.data()) as Float32Array | Float64Array
  }

  /** The value of a scalar (one element). */
  async value(): Promise<number> {
    if (this.size !== 1)
      throw new ShapeError('ERR_SHAPE', `value() needs one element, the tensor has shape [${this.shape}]`)
    return Number((await this.data())[0])
  }

  /** A contiguous range of elements under another shape, sharing memory. Views outlive the tensor they came from. */
  view(offset: number, shape: readonly number[]): Tensor {
    this.live('view')
    return new Tensor(this.device, native().view(this.handle, offset, shape), this.dtype, shape, true)
  }

  /** Rows [first, last) as a view. */
  rows(first: number, last: number): Tensor {
    const width = this.size / (this.shape[0] || 1)
    if (!(first >= 0 && first <= last && last <= this.shape[0]!))
      throw new ArgumentError('ERR_ARGUMENT', `rows ${first} to ${last} do not lie in shape [${this.shape}]`)
    return this.view(first * width, [last - first, ...this.shape.slice(1)])
  }

  /**
   * For scopes: the tensor left the outermost one, and an alarm goes off if it is forgotten (leaks.ts).
   * @param owner who disposes of it, and is named
   */
  watch(owner: Owner | null = null): void {
    const text = `a ${this.dtype} tensor of shape [${this.shape}]`
    watch(this, { handle: this.handle, bytes: this.isView ? 0 : this.bytes, text, owner })
  }

  /** Frees the tensor; safe to call twice. */
  dispose(): void {
    if (this.handle === 0) return
    unwatch(this)
    native().dispose(this.handle)
    this.handle = 0
  }

  /** As `dispose`. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  private live(what: string): void {
    if (this.handle === 0)
      throw new DisposedError('ERR_DISPOSED', `${what}: the tensor of shape [${this.shape}] was disposed of`)
  }
}

/**
 * Where sequences start in packed rows: offsets [n+1] from 0 to the number of rows, known to the host, immutable.
 */
export class Segments extends Tensor {
  /** [n + 1], in rows, on the host. */
  readonly offsets: Float64Array

  private constructor(device: Device, handle: number, offsets: Float64Array) {
    super(device, handle, 'int64', [offsets.length])
    this.offsets = offsets
  }

  /** @throws ArgumentError ERR_ARGUMENT for an offset that is no whole number or negative; the ops check the rest */
  static of(device: Device, offsets: ArrayLike<number>): Segments {
    const copy = new Float64Array(offsets) // which copies a typed array at once; `from` takes a hundred times as long
    return new Segments(device, native().createSegments(device.id, copy), copy)
  }

  /** @throws ArgumentError ERR_ARGUMENT for a length that is no whole number or negative */
  static fromLengths(device: Device, lengths: ArrayLike<number>): Segments {
    const offsets = new Float64Array(lengths.length + 1)
    for (let i = 0; i < lengths.length; i++) {
      const length = lengths[i]!
      if (!Number.isSafeInteger(length) || length < 0)
        throw new ArgumentError('ERR_ARGUMENT', `length ${i} is ${length}, expected a whole number, not negative`)
      offsets[i + 1] = offsets[i]! + length
    }
    return Segments.of(device, offsets)
  }

  /** Number of sequences. */
  get count(): number {
    return this.offsets.length - 1
  }

  /** Number of rows they span. */
  get rowCount(): number {
    return this.offsets[this.offsets.length - 1]!
  }

  /**
   * Sequences [first, last), with offsets that start at 0 again.
   * @throws ArgumentError ERR_ARGUMENT when they are not there
   */
  slice(first: number, last: number): Segments {
    const whole = Number.isInteger(first) && Number.isInteger(last)
    if (!(whole && first >= 0 && first <= last && last <= this.count))
      throw new ArgumentError('ERR_ARGUMENT', `sequences ${first} to ${last} are not among ${this.count}`)
    const start = this.offsets[first]!
    return Segments.of(
      this.device,
      this.offsets.subarray(first, last + 1).map((o) => o - start),
    )
  }
}
