import { types } from 'node:util'
import { AbortedError, ArgumentError, ShapeError, UnsupportedError } from '../errors.js'
import { checkOptions, type Kinds, oneOf, required, signal, whole } from '../options.js'
import { type Range, rangesOf } from '../ragged.js'
import { Device, deviceOption } from '../tensor/device.js'
import { copyRows } from '../tensor/ops.gen.js'
import { cast } from '../tensor/ops.js'
import { ownedBy, scope } from '../tensor/scope.js'
import { withoutTape } from '../tensor/tape.js'
import { type DType, Segments, Tensor } from '../tensor/tensor.js'

/** Token vectors of several texts: rows `offsets[i]` … `offsets[i + 1]` of `data` [rows, dim] belong to text i. */
export interface TokenVectors {
  /** float32; or float16, as its bits. */
  data: Float32Array | Uint16Array
  /** [texts + 1], rising from 0 to the number of rows. */
  offsets: ArrayLike<number>
}

/** What vectors are multiplied as; sums and scores are float32. */
export type VectorType = 'float32' | 'float16'

/** Token rows and texts on the device at a time: the texts bound the block of scores where they are very short. */
export const documentBlock = { rows: 1 << 17, texts: 1 << 13 }

/** Vectors on a device. */
export interface Uploaded {
  tokens: Tensor
  segments: Segments
}

/** Texts of a range alone, on the same memory. */
export function slice({ data, offsets }: TokenVectors, { first, last }: Range, dim: number): TokenVectors {
  return {
    data: data.subarray(offsets[first]! * dim, offsets[last]! * dim),
    offsets: offsetsFrom(offsets, { first, last }),
  }
}

function offsetsFrom(offsets: ArrayLike<number>, { first, last }: Range): Float64Array {
  return Float64Array.from({ length: last - first + 1 }, (_, i) => offsets[first + i]! - offsets[first]!)
}

/**
 * The type of tensor that vectors become on a device.
 * @throws UnsupportedError ERR_UNSUPPORTED for float16 where it is asked for and not multiplied
 */
export function typeOn(device: Device, wanted: VectorType | undefined, { data }: Pick<TokenVectors, 'data'>): DType {
  const half = device.name.startsWith('cuda')
  if (wanted !== undefined && wanted !== 'float32' && wanted !== 'float16')
    throw new ArgumentError('ERR_ARGUMENT', `dtype is "${wanted}", expected float32 or float16`)
  if (wanted === 'float16' && !half)
    throw new UnsupportedError('ERR_UNSUPPORTED', `device "${device.name}" multiplies no float16, only GPUs do`)
  return half && (wanted ?? (types.isUint16Array(data) ? 'float16' : 'float32')) === 'float16' ? 'float16' : device.real
}

/** Copies vectors to a device, as a type of `typeOn`. */
export function upload(device: Device, { data, offsets }: TokenVectors, dim: number, type: DType): Uploaded {
  const shape = [data.length / dim, dim]
  const given = types.isUint16Array(data) ? Tensor.fromFloat16(device, data, shape) : Tensor.from(device, data, shape)
  const tokens = given.dtype === type ? given : cast(given, type)
  if (tokens !== given) given.dispose()
  return { tokens, segments: Segments.of(device, offsets) }
}

export interface ResidentOptions {
  /** Length of a token vector, a multiple of 8. */
  dim: number
  /** Where they go: its name, as `cuda`, or the device. */
  device: string | Device
  /** Default that of the array where the device multiplies it, else float32. */
  dtype?: VectorType
  signal?: AbortSignal
}

const residentOptions: Kinds<ResidentOptions> = {
  dim: whole(1),
  device: deviceOption,
  dtype: oneOf('float32', 'float16'),
  signal,
}

/** Vectors that stay on a device until `dispose()`, so that scoring them against new queries copies only the queries. */
export class ResidentVectors {
  readonly device: Device
  readonly dim: number
  readonly offsets: Float64Array
  /** [rows, dim] */
  private readonly tokens: Tensor

  private constructor(device: Device, dim: number, offsets: Float64Array, tokens: Tensor) {
    this.device = device
    this.dim = dim
    this.offsets = offsets
    this.tokens = tokens
  }

  /**
   * Copies vectors to a device, block by block: the event loop stays free.
   * @throws ShapeError ERR_SHAPE when offsets and data disagree; ArgumentError ERR_ARGUMENT; UnsupportedError
   *   ERR_UNSUPPORTED; OutOfMemoryError ERR_OUT_OF_MEMORY; AbortedError ERR_ABORTED
   */
  static async upload(vectors: TokenVectors, options: ResidentOptions): Promise<ResidentVectors> {
    checkOptions('ResidentVectors.upload', options, residentOptions)
    for (const key of ['dim', 'device'] as const)
      required('ResidentVectors.upload', key, options?.[key], residentOptions[key])
    const { dim, dtype, signal } = options
    const device = Device.of(options.device)
    checkVectors('vectors', vectors, dim)
    const type = typeOn(device, dtype, vectors)
    const offsets = Float64Array.from(vectors.offsets)
    const owner = { name: `resident vectors of ${offsets.length - 1} texts` }
    const tokens = ownedBy(owner, () => Tensor.empty(device, [offsets.at(-1)!, dim], type))
    const resident = new ResidentVectors(device, dim, offsets, tokens)
    try {
      for (const range of rangesOf(offsets, documentBlock)) {
        abortIf(signal)
        scope(() =>
          withoutTape(() => {
            const part = upload(device, slice(vectors, range, dim), dim, type)
            copyRows(part.tokens, tokens, { row: offsets[range.first]! })
          }),
        )
        await device.event()
      }
      return resident
    } catch (error) {
      resident.dispose()
      throw error
    }
  }

  get dtype(): DType {
    return this.tokens.dtype
  }

  /** Texts of a range as tensors of the ambient scope. */
  block(range: Range = { first: 0, last: this.offsets.length - 1 }): Uploaded {
    const { offsets, tokens, device } = this
    return {
      tokens: tokens.rows(offsets[range.first]!, offsets[range.last]!),
      segments: Segments.of(device, offsetsFrom(offsets, range)),
    }
  }

  /** Frees device memory; safe to call twice. */
  dispose(): void {
    this.tokens.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/** @throws ShapeError ERR_SHAPE when offsets and data disagree; ArgumentError ERR_ARGUMENT for other data */
export function checkVectors(side: string, vectors: TokenVectors, dim: number): void {
  const { data, offsets } = vectors ?? {}
  if (!Number.isInteger(dim) || dim < 1)
    throw new ArgumentError('ERR_ARGUMENT', `dim is ${dim}, expected the vectors' length`)
  if (!(types.isFloat32Array(data) || types.isUint16Array(data)))
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `${side}: data must be a Float32Array, or a Uint16Array of float16 bits, got ${Object.prototype.toString.call(data)}`,
    )
  if (typeof offsets?.length !== 'number')
    throw new ArgumentError('ERR_ARGUMENT', `${side}: offsets must be an array, got ${offsets}`)
  const last = offsets[offsets.length - 1]
  let rising = offsets[0] === 0
  for (let i = 1; i < offsets.length; i++) rising &&= Number.isInteger(offsets[i]) && offsets[i]! >= offsets[i - 1]!
  if (!rising || data.length !== last! * dim)
    throw new ShapeError(
      'ERR_SHAPE',
      `${side}: ${data.length} values of dim ${dim} do not fit offsets that ${rising ? `end at row ${last}` : 'do not rise from 0'}`,
      { side, values: data.length, dim, last },
    )
}

/** @throws AbortedError ERR_ABORTED once the signal has fired */
export function abortIf(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortedError('ERR_ABORTED', 'aborted by the caller', {}, { cause: signal.reason })
}
