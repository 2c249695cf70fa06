/** Token embeddings of several texts, one ragged array: on the host, and on a device. */
import { types } from 'node:util'
import { ArgumentError, RecipeError, ShapeError } from '../errors.js'
import { fromInt8 } from '../io/numbers.js'
import { checkOptions, type Kinds, oneOf, required, signal } from '../options.js'
import { type Range, rangesOf } from '../ragged.js'
import { Device, deviceOption } from '../tensor/device.js'
import { copyRows, decodeResidual } from '../tensor/ops.gen.js'
import { cast, type TokenEmbeddings } from '../tensor/ops.js'
import { ownedBy, scope } from '../tensor/scope.js'
import { withoutTape } from '../tensor/tape.js'
import { type DType, Segments, Tensor } from '../tensor/tensor.js'
import { recipeMismatch } from '../text/alignment.js'
import type { Recipe } from '../text/recipe.js'
import { abortIf } from '../turns.js'

/** Which side texts are on: each has its own prefix, prompt and length. */
export type Role = 'query' | 'document'

/** float32; float16, as its bits; or int8, with a scale for each token. */
export type EmbeddingData = Float32Array | Uint16Array | Int8Array

/**
 * Token embeddings of texts, on the host: row t is one token, `offsets[i]` … `offsets[i + 1]` are the rows of text i. A
 * model's have unit norm; its `role` and `recipe` keep queries, documents and models from being mixed up. Arrays from
 * elsewhere need only `data`, `offsets` and `dim`, and are scored by `maxsim`.
 */
export interface Embeddings<R extends Role = Role, D extends EmbeddingData = Float32Array> {
  /** [rows, dim], row-major. */
  readonly data: D
  /** [rows] of int8 data: a token embedding is its numbers times its scale. */
  readonly scales?: Float32Array
  /** [texts + 1], in rows: rising from 0 to the number of rows. */
  readonly offsets: ArrayLike<number> & Iterable<number>
  /** Length of a token embedding, a multiple of 8. */
  readonly dim: number
  /** Which side the texts are on; `search` refuses swapped sides. */
  readonly role?: R
  /** How their texts became tokens. */
  readonly recipe?: Readonly<Recipe>
  /** Texts longer than the recipe takes, whose ends were cut off: counted by whoever encoded them. */
  readonly truncated?: number
  /** Names of the texts, where they have some. */
  readonly ids?: readonly string[]
}

/** Embeddings of whatever side and type. */
export type AnyEmbeddings = Embeddings<Role, EmbeddingData>

/** What a scoring can be asked to store documents as; int8 is made beforehand, by `quantizeEmbeddings`. */
export type EmbeddingType = 'float32' | 'float16'
export const embeddingTypes = ['float32', 'float16'] as const

export const typeOf = ({ data }: { data: EmbeddingData }): EmbeddingType | 'int8' =>
  types.isInt8Array(data) ? 'int8' : types.isUint16Array(data) ? 'float16' : 'float32'

/** Token rows and texts on the device at a time: the texts bound the block of scores where they are very short. */
export const documentBlock = { rows: 1 << 17, texts: 1 << 13 }

export const countOf = ({ offsets }: { readonly offsets: ArrayLike<number> }): number => offsets.length - 1
export const rowsOf = ({ offsets }: { readonly offsets: ArrayLike<number> }): number => offsets[offsets.length - 1]!
/** Token vectors of one of the texts, [rows, dim], not copied. */
export const vectorsAt = ({ data, offsets, dim }: Embeddings, text: number): Float32Array =>
  data.subarray(offsets[text]! * dim, offsets[text + 1]! * dim)

/** Texts of a range alone, on the same memory. */
export function slice({ data, scales, offsets, dim }: AnyEmbeddings, { first, last }: Range): AnyEmbeddings {
  return {
    data: data.subarray(offsets[first]! * dim, offsets[last]! * dim),
    ...(scales && { scales: scales.subarray(offsets[first], offsets[last]) }),
    offsets: offsetsFrom(offsets, { first, last }),
    dim,
  }
}

function offsetsFrom(offsets: ArrayLike<number>, { first, last }: Range): Float64Array {
  const own = new Float64Array(last - first + 1)
  const start = offsets[first]!
  for (let i = 0; i < own.length; i++) own[i] = offsets[first + i]! - start
  return own
}

/**
 * The type of tensor that documents become on a device: what is wanted, or what they are. CPUs multiply float32, whatever
 * documents are stored as; GPUs float16 where documents are that.
 */
export function typeOn(device: Device, wanted: EmbeddingType | undefined, embeddings: { data: EmbeddingData }): DType {
  const type = wanted ?? typeOf(embeddings)
  return type === 'float32' ? device.real : type
}

/** The type of queries for documents of a type of `typeOn`. */
const queryType = (device: Device, type: DType): DType =>
  type === 'float16' && device.name.startsWith('cuda') ? type : device.real

/** What residual codes stand for, beside their scales: op `maxsimResidual`. */
export interface ResidualTensors {
  /** int32 [T]: which centroid a token lies at. */
  of: Tensor
  /** [4] or [16]: what a code of 2 or 4 bits names. */
  levels: Tensor
  /** int8 [centroids, dim] */
  centroids: Tensor
  /** [centroids] */
  centroidScales: Tensor
}

/** Documents on a device, as they are stored: `tokens` are uint8 where they are residual codes. */
export interface StoredTokens extends TokenEmbeddings {
  /** [T] of int8 tokens; float16 of residual codes. */
  scales: Tensor | null
  /** Of residual codes. */
  residual: ResidualTensors | null
}

/** Tensors of documents, without where each begins. */
export interface StoredRowTensors extends Pick<StoredTokens, 'tokens' | 'scales'> {
  residual?: ResidualTensors
}

/** Copies queries to a device, to score them against documents of a type of `typeOn`. */
export function uploadQueries(device: Device, queries: AnyEmbeddings, type: DType): TokenEmbeddings {
  return upload(device, queries, queryType(device, type))
}

/** Copies embeddings to tensors of a device, as a type of `typeOn`. */
export function upload(device: Device, embeddings: AnyEmbeddings, type: DType): StoredTokens {
  const { scales, offsets, dim } = embeddings
  const widened = types.isInt8Array(embeddings.data) && type !== 'int8'
  const data = widened ? fromInt8(embeddings.data, scales!, dim) : embeddings.data
  const shape = [data.length / dim, dim]
  const segments = Segments.of(device, offsets)
  if (types.isInt8Array(data))
    return {
      ...{ tokens: Tensor.fromInt8(device, data, shape), scales: Tensor.from(device, scales!) },
      ...{ residual: null, segments },
    }
  const given = types.isUint16Array(data) ? Tensor.fromFloat16(device, data, shape) : Tensor.from(device, data, shape)
  const tokens = given.dtype === type ? given : cast(given, type)
  if (tokens !== given) given.dispose()
  return { tokens, scales: null, residual: null, segments }
}

/** Options of `DeviceEmbeddings.upload`. */
export interface UploadOptions {
  /** Where they go: its name, as `cuda`, or the device. */
  device: string | Device
  /** What they are stored as there. Default that of the array. */
  dtype?: EmbeddingType
  /** Ends the upload, with ERR_ABORTED. */
  signal?: AbortSignal
}

const uploadOptions: Kinds<UploadOptions> = { device: deviceOption, dtype: oneOf(...embeddingTypes), signal }

/**
 * Embeddings that stay on a device until `dispose()`: scoring them against new queries copies only the queries, any number
 * of times.
 */
export class DeviceEmbeddings<R extends Role = Role> {
  /** Where they are. */
  readonly device: Device
  /** Length of a token embedding. */
  readonly dim: number
  /** [texts + 1], in rows. */
  readonly offsets: Float64Array
  /** As of `Embeddings`. */
  readonly role: R | undefined
  /** As of `Embeddings`. */
  readonly recipe: Readonly<Recipe> | undefined
  /** As of `Embeddings`. */
  readonly ids: readonly string[] | undefined
  /** [rows, dim], or residual codes. */
  private readonly tokens: Tensor
  /** [rows] of int8 tokens, and of residual codes. */
  private readonly scales: Tensor | null
  private readonly residual: ResidualTensors | null
  /** Of all texts: those of a million take longer to make than most searches. */
  private readonly segments: Segments

  private constructor(
    device: Device,
    { dim, role, recipe, ids, offsets }: Omit<Embeddings<R, EmbeddingData>, 'data' | 'scales'>,
    make: (rows: number) => StoredRowTensors,
  ) {
    this.device = device
    this.dim = dim
    this.offsets = new Float64Array(offsets)
    this.role = role
    this.recipe = recipe
    this.ids = ids
    const owner = { name: `embeddings of ${countOf(this)} texts on a device` }
    const { tokens, scales, residual, segments } = ownedBy(owner, () => ({
      segments: Segments.of(device, this.offsets),
      ...make(rowsOf(this)),
    }))
    this.tokens = tokens
    this.scales = scales
    this.residual = residual ?? null
    this.segments = segments
  }

  /** Embeddings in tensors that `make` makes of so many rows: all of them, so that they can be freed here. */
  static made<R extends Role = Role>(
    device: Device,
    about: Omit<Embeddings<R, EmbeddingData>, 'data' | 'scales'>,
    make: (rows: number) => StoredRowTensors,
  ): DeviceEmbeddings<R> {
    return new DeviceEmbeddings<R>(device, about, make)
  }

  /**
   * Copies embeddings to a device, block by block: the event loop stays free.
   * @throws ShapeError ERR_SHAPE when offsets and data disagree; ArgumentError ERR_ARGUMENT; UnsupportedError
   *   ERR_UNSUPPORTED; DeviceError ERR_DEVICE; OutOfMemoryError ERR_OUT_OF_MEMORY; AbortedError ERR_ABORTED
   */
  static async upload<R extends Role = Role>(
    embeddings: Embeddings<R, EmbeddingData>,
    options: UploadOptions,
  ): Promise<DeviceEmbeddings<R>> {
    checkOptions('DeviceEmbeddings.upload', options, uploadOptions)
    required('DeviceEmbeddings.upload', 'device', options?.device, uploadOptions.device)
    const { dtype, signal } = options
    const device = Device.of(options.device)
    checkEmbeddings('embeddings', embeddings)
    const type = typeOn(device, dtype, embeddings)
    const resident = new DeviceEmbeddings<R>(device, embeddings, (rows) => ({
      tokens: Tensor.empty(device, [rows, embeddings.dim], type),
      scales: type === 'int8' ? Tensor.empty(device, [rows]) : null,
    }))
    const { offsets, tokens, scales } = resident
    try {
      for (const range of rangesOf(offsets, documentBlock)) {
        abortIf(signal)
        scope(() =>
          withoutTape(() => {
            const part = upload(device, slice(embeddings, range), type)
            copyRows(part.tokens, tokens, { row: offsets[range.first]! })
            if (scales) copyRows(part.scales!, scales, { row: offsets[range.first]! })
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

  /** What they are stored as. */
  get dtype(): DType {
    return this.tokens.dtype
  }

  /** Texts of a range as tensors of the ambient scope. */
  block(range: Range = { first: 0, last: countOf(this) }): StoredTokens {
    const { offsets, tokens, scales, residual, device } = this
    const rows = [offsets[range.first]!, offsets[range.last]!] as const
    const isWhole = range.last - range.first === countOf(this)
    return {
      tokens: tokens.rows(...rows),
      scales: scales?.rows(...rows) ?? null,
      residual: residual && { ...residual, of: residual.of.rows(...rows) },
      segments: isWhole ? this.segments : Segments.of(device, offsetsFrom(offsets, range)),
    }
  }

  /** Copies them back to the host, or texts of a range, as they are stored; residual codes as the float32 they stand for. */
  async download(range: Range = { first: 0, last: countOf(this) }): Promise<Embeddings<R, EmbeddingData>> {
    const { tokens, scales, residual, dim, role, recipe } = this
    const offsets = offsetsFrom(this.offsets, range)
    const ids = this.ids?.slice(range.first, range.last)
    const rows = [this.offsets[range.first]!, this.offsets[range.last]!] as const
    const read = (tensor: Tensor) => {
      const part = tensor.rows(...rows)
      return part.data().finally(() => part.dispose())
    }
    const decoded = () => {
      const made = scope(() => {
        const part = this.block(range)
        const { of, centroids, centroidScales, levels } = part.residual!
        return decodeResidual(part.tokens, part.scales!, of, centroids, centroidScales, levels)
      })
      return made.values().finally(() => made.dispose()) as Promise<Float32Array>
    }
    const [data, factors] = residual
      ? [await decoded(), null]
      : await Promise.all([read(tokens) as Promise<EmbeddingData>, scales && read(scales)])
    return {
      ...{ data, offsets, dim },
      ...(factors && { scales: factors as Float32Array }),
      ...(role && { role }),
      ...(recipe && { recipe }),
      ...(ids && { ids }),
    }
  }

  /** Frees device memory; safe to call twice. */
  dispose(): void {
    for (const tensor of [this.tokens, this.scales, this.segments, ...Object.values(this.residual ?? {})])
      tensor?.dispose()
  }

  /** As `dispose`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}

/** @throws ShapeError ERR_SHAPE when offsets and data disagree; ArgumentError ERR_ARGUMENT for other data */
export function checkEmbeddings(side: string, embeddings: AnyEmbeddings): void {
  const { data, scales, offsets, dim } = embeddings ?? {}
  if (!Number.isInteger(dim) || dim < 1)
    throw new ArgumentError('ERR_ARGUMENT', `${side}: dim is ${dim}, expected the length of a token embedding`)
  if (!(types.isFloat32Array(data) || types.isUint16Array(data) || types.isInt8Array(data)))
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `${side}: data must be a Float32Array, a Uint16Array of float16 bits, or an Int8Array, got ${Object.prototype.toString.call(data)}`,
    )
  if (types.isInt8Array(data) ? !types.isFloat32Array(scales) : scales !== undefined)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `${side}: scales, a Float32Array with one a token, belong to int8 data${types.isInt8Array(data) ? '' : ', which this is not'}`,
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
  if (scales && scales.length !== last)
    throw new ShapeError('ERR_SHAPE', `${side}: ${scales.length} scales for ${last} tokens`, { side, last })
}

/**
 * Checks both sides of a scoring. Recipes that both sides have must fit each other; their lengths may differ.
 * @throws ShapeError ERR_SHAPE, ArgumentError ERR_ARGUMENT as `checkEmbeddings`, and for sides of other dimensions;
 *   RecipeError ERR_RECIPE for other recipes
 */
export function checkPair(queries: AnyEmbeddings, documents: AnyEmbeddings | DeviceEmbeddings): void {
  if (queries?.dim !== documents?.dim)
    throw new ArgumentError('ERR_ARGUMENT', `queries have ${queries?.dim} dimensions, documents ${documents?.dim}`)
  checkEmbeddings('queries', queries)
  if (!(documents instanceof DeviceEmbeddings)) checkEmbeddings('documents', documents)
  if (queries.recipe && documents.recipe) checkRecipes(queries, documents)
}

/**
 * Checks that one side is queries and the other documents, by recipes that fit each other, or both by none.
 * @throws as `checkPair`; ArgumentError ERR_ARGUMENT for swapped sides too
 */
export function checkSides(queries: AnyEmbeddings, documents: AnyEmbeddings | DeviceEmbeddings): void {
  for (const [given, role, side, maker] of [
    [queries, 'query', 'queries', 'encodeQueries'],
    [documents, 'document', 'documents', 'encodeDocuments'],
  ] as const)
    if (given?.role !== role)
      throw new ArgumentError(
        'ERR_ARGUMENT',
        `expected ${side} (from ${maker}), got ${given ? `embeddings with role ${given.role}` : typeof given}. Are the two ` +
          'sides swapped?',
        { expected: role, found: given?.role },
      )
  checkPair(queries, documents)
  if (documents.ids && documents.ids.length !== countOf(documents))
    throw new ArgumentError('ERR_ARGUMENT', `${documents.ids.length} ids for ${countOf(documents)} documents`)
  checkRecipes(queries, documents)
}

function checkRecipes(queries: Pick<AnyEmbeddings, 'recipe'>, documents: Pick<AnyEmbeddings, 'recipe'>): void {
  const problem = recipeMismatch(documents.recipe, queries.recipe)
  if (problem)
    throw new RecipeError(
      'ERR_RECIPE',
      `queries and documents were encoded by different recipes:\n  ${problem}\nEncode one side again by the recipe of ` +
        'the other',
      { queries: queries.recipe, documents: documents.recipe },
    )
}
