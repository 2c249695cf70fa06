import { type FileHandle, open } from 'node:fs/promises'
import { FormatError } from '../errors.js'
import { Turns } from '../turns.js'
import { writeAtomic } from './atomic.js'
import { lfsHint } from './lfs.js'
import { halfTable } from './numbers.js'

/**
 * The safetensors format (github.com/huggingface/safetensors): u64 header length, JSON header, tensors without holes.
 * Strict: what a reader might understand in two ways is refused.
 */
const widths = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
} as const
export type StoredType = keyof typeof widths

export interface StoredTensor {
  name: string
  dtype: StoredType
  shape: readonly number[]
  /** Byte range in the file. */
  start: number
  end: number
}

const headerLimit = 100 * 1024 * 1024

/** An open file: the checked header, and tensors read one at a time, so that the file is never in memory twice. */
export class SafetensorsFile {
  readonly path: string
  readonly tensors: ReadonlyMap<string, StoredTensor>
  readonly metadata: Readonly<Record<string, string>>
  private readonly file: FileHandle

  private constructor(path: string, file: FileHandle, header: Header) {
    this.path = path
    this.file = file
    this.tensors = header.tensors
    this.metadata = header.metadata
  }

  /** @throws FormatError ERR_FORMAT when the file is missing, damaged or ambiguous; nothing but the header is read */
  static async open(path: string): Promise<SafetensorsFile> {
    let file: FileHandle
    try {
      file = await open(path, 'r')
    } catch (cause) {
      throw new FormatError('ERR_FORMAT', `${path} cannot be read: ${(cause as Error).message}`, { path }, { cause })
    }
    try {
      const { size, isFile } = await file.stat().then((s) => ({ size: s.size, isFile: s.isFile() }))
      if (!isFile) throw damaged(path, 'it is no file')
      const prefix = await readExactly(file, path, 0, Math.min(8, size))
      if (size < 8) throw damaged(path, `it has ${size} bytes, fewer than the 8 of the header length`)
      const length = Number(prefix.readBigUInt64LE())
      if (length > headerLimit || 8 + length > size) {
        const beginning = await readExactly(file, path, 0, Math.min(size, 64))
        const what = `its header would have ${length} bytes, the file has ${size}. It is cut off, or no safetensors`
        throw damaged(path, lfsHint(beginning.toString()) || what)
      }
      const text = (await readExactly(file, path, 8, length)).toString('utf8')
      return new SafetensorsFile(path, file, parseHeader(path, text, 8 + length, size))
    } catch (error) {
      await file.close()
      throw error
    }
  }

  has(name: string): boolean {
    return this.tensors.has(name)
  }

  /** @throws FormatError ERR_FORMAT when there is no such tensor */
  tensor(name: string): StoredTensor {
    const tensor = this.tensors.get(name)
    if (!tensor) throw new FormatError('ERR_FORMAT', `${this.path} has no tensor "${name}"`, { path: this.path, name })
    return tensor
  }

  /** The tensor's raw bytes (little endian). */
  async bytes(name: string): Promise<Buffer> {
    const { start, end } = this.tensor(name)
    return readExactly(this.file, this.path, start, end - start)
  }

  /** The tensor as float32, whatever real or whole type it has in the file. */
  async floats(name: string): Promise<Float32Array> {
    const { dtype } = this.tensor(name)
    const bytes = await this.bytes(name)
    if (dtype === 'F32') return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
    return this.decoded(name, bytes, Float32Array)
  }

  /** The tensor as float64: exact for every type but I64 beyond 2^53. */
  async numbers(name: string): Promise<Float64Array> {
    const { dtype } = this.tensor(name)
    const bytes = await this.bytes(name)
    if (dtype === 'F64') return new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8)
    return this.decoded(name, bytes, Float64Array)
  }

  /** A tensor of I32. @throws FormatError ERR_FORMAT for another type */
  async integers(name: string): Promise<Int32Array> {
    const { dtype } = this.tensor(name)
    if (dtype !== 'I32')
      throw new FormatError('ERR_FORMAT', `${this.path}: "${name}" is ${dtype}, expected I32`, {
        path: this.path,
        name,
      })
    const bytes = await this.bytes(name)
    return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  }

  /** Every value in another type, without holding the event loop. */
  private async decoded<T extends Float32Array | Float64Array>(
    name: string,
    bytes: Buffer,
    type: new (length: number) => T,
  ): Promise<T> {
    const { count, value } = decoder(this.path, name, this.tensor(name).dtype, bytes)
    const out = new type(count)
    const turns = new Turns()
    for (let i = 0; i < count; i++) {
      if (i % 65536 === 0 && turns.due) await turns.take()
      out[i] = value(i)
    }
    return out
  }

  async close(): Promise<void> {
    await this.file.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

async function readExactly(file: FileHandle, path: string, start: number, length: number): Promise<Buffer> {
  const buffer = Buffer.from(new ArrayBuffer(length)) // of its own, so that typed arrays over it are aligned
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(buffer, done, Math.min(length - done, 1 << 30), start + done)
    if (bytesRead === 0) throw damaged(path, `it ends at byte ${start + done}, within a tensor or the header`)
    done += bytesRead
  }
  return buffer
}

function damaged(path: string, what: string): FormatError {
  return new FormatError('ERR_FORMAT', `${path} is damaged: ${what}`, { path })
}

interface Header {
  tensors: Map<string, StoredTensor>
  metadata: Record<string, string>
}

function parseHeader(path: string, text: string, dataStart: number, fileSize: number): Header {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw damaged(path, `its header is no JSON (${(cause as Error).message})`)
  }
  if (!text.startsWith('{') || json === null || typeof json !== 'object' || Array.isArray(json))
    throw damaged(path, 'its header is no JSON object')
  refuseDuplicates(path, text)
  const tensors: StoredTensor[] = []
  const metadata: Record<string, string> = {}
  for (const [name, entry] of Object.entries(json)) {
    if (name === '__metadata__') {
      for (const [key, value] of Object.entries((entry ?? {}) as object)) {
        if (typeof value !== 'string') throw damaged(path, `__metadata__ "${key}" is no string`)
        metadata[key] = value
      }
    } else tensors.push(parseEntry(path, name, entry, dataStart))
  }
  tensors.sort((a, b) => a.start - b.start || a.end - b.end)
  let cursor = dataStart
  for (const { name, start, end } of tensors) {
    if (start !== cursor)
      throw damaged(
        path,
        `tensor "${name}" starts at byte ${start - dataStart} of the data, expected ${cursor - dataStart}`,
      )
    cursor = end
  }
  if (cursor !== fileSize)
    throw damaged(path, `its tensors end at byte ${cursor} but the file has ${fileSize}. It is cut off or has a tail`)
  return { tensors: new Map(tensors.map((t) => [t.name, t])), metadata }
}

function parseEntry(path: string, name: string, entry: unknown, dataStart: number): StoredTensor {
  const { dtype, shape, data_offsets: range } = (entry ?? {}) as Record<string, unknown>
  const isCount = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0
  if (typeof dtype !== 'string' || !Object.hasOwn(widths, dtype))
    throw damaged(
      path,
      `tensor "${name}" has type ${JSON.stringify(dtype)}, expected one of ${Object.keys(widths).join(', ')}`,
    )
  if (!Array.isArray(shape) || !shape.every(isCount)) throw damaged(path, `tensor "${name}" has a bad shape`)
  if (!Array.isArray(range) || range.length !== 2 || !range.every(isCount) || range[0] > range[1])
    throw damaged(path, `tensor "${name}" has bad data_offsets`)
  const size = shape.reduce((product, d) => product * d, widths[dtype as StoredType])
  if (size !== range[1] - range[0])
    throw damaged(path, `tensor "${name}", ${dtype} [${shape}], needs ${size} bytes but has ${range[1] - range[0]}`)
  return { name, dtype: dtype as StoredType, shape, start: dataStart + range[0], end: dataStart + range[1] }
}

/** JSON.parse keeps the last of two equal keys in silence; other readers may keep the first. `text` is valid JSON. */
function refuseDuplicates(path: string, text: string): void {
  const open: Set<string>[] = []
  for (const [token, , colon] of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[{}]/g)) {
    if (token === '{') open.push(new Set())
    else if (token === '}') open.pop()
    else if (colon) {
      const key = JSON.parse(token.slice(0, -colon.length)) as string
      if (open.at(-1)!.has(key)) throw damaged(path, `its header has the key "${key}" twice`)
      open.at(-1)!.add(key)
    }
  }
}

interface Decoder {
  count: number
  value: (i: number) => number
}

function decoder(path: string, name: string, dtype: StoredType, bytes: Buffer): Decoder {
  const { buffer, byteOffset, length } = bytes
  const count = length / widths[dtype]
  const plain = (values: Float64Array | Float32Array | Int32Array | Uint8Array | Int8Array): Decoder => ({
    count,
    value: (i) => values[i]!,
  })
  const half = (table: Float32Array): Decoder => {
    const bits = new Uint16Array(buffer, byteOffset, count)
    return { count, value: (i) => table[bits[i]!]! }
  }
  switch (dtype) {
    case 'F64':
      return plain(new Float64Array(buffer, byteOffset, count))
    case 'F32':
      return plain(new Float32Array(buffer, byteOffset, count))
    case 'F16':
      return half(halfTable())
    case 'BF16':
      return half(bfloat16ToFloat())
    case 'I64': {
      const values = new BigInt64Array(buffer, byteOffset, count)
      return { count, value: (i) => Number(values[i]!) }
    }
    case 'I32':
      return plain(new Int32Array(buffer, byteOffset, count))
    case 'U8':
      return plain(new Uint8Array(buffer, byteOffset, count))
    case 'I8':
      return plain(new Int8Array(buffer, byteOffset, count))
    default:
      throw new FormatError('ERR_FORMAT', `${path}: tensor "${name}" has type ${dtype}, which lateforge cannot use`, {
        path,
        name,
        dtype,
      })
  }
}

/**
 * All 65,536 values of a 16-bit type, computed when the first file has it: importing must stay cheap. Ours and no
 * package: those for float16 know no bfloat16.
 */
function tableOf(value: (bits: number) => number): () => Float32Array {
  let table: Float32Array | undefined
  return () => (table ??= Float32Array.from({ length: 65536 }, (_, bits) => value(bits)))
}

const word = new Uint32Array(1)
const wordAsFloat = new Float32Array(word.buffer)

/** bfloat16 is the upper half of a float32. */
const bfloat16ToFloat = tableOf((bits) => {
  word[0] = bits << 16
  return wordAsFloat[0]!
})

export interface TensorToWrite {
  name: string
  shape: readonly number[]
  /** A Uint16Array holds float16, as bits. */
  data: Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array | Int8Array | Uint16Array
}

/**
 * Writes tensors, whole or not at all and without a copy in memory. They are sorted by falling alignment, then name, as
 * Hugging Face's writer does; its readers want `format` in the metadata.
 * @throws FormatError ERR_FORMAT for an array of another type, one that does not fit its shape, or a name twice; FileError
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Promise<void> {
  await writeAtomic(path, safetensorsOf(tensors, metadata))
}

/** What such a file holds, in pieces and without a copy. @throws FormatError as `writeSafetensors` */
export function safetensorsOf(
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): (Buffer | TensorToWrite['data'])[] {
  const sorted = [...tensors].sort(
    (a, b) => b.data.BYTES_PER_ELEMENT - a.data.BYTES_PER_ELEMENT || (a.name < b.name ? -1 : 1),
  )
  const header: Record<string, unknown> = Object.create(null) // a tensor may be called __proto__
  header.__metadata__ = metadata
  let offset = 0
  for (const { name, shape, data } of sorted) {
    const dtype = typeOf(name, data)
    const bytes = shape.reduce((product, d) => product * d, widths[dtype])
    if (bytes !== data.byteLength)
      throw new FormatError(
        'ERR_FORMAT',
        `tensor "${name}", ${dtype} [${shape}], needs ${bytes} bytes but has ${data.byteLength}`,
        { name, dtype, shape, bytes: data.byteLength },
      )
    if (Object.hasOwn(header, name))
      throw new FormatError('ERR_FORMAT', `there are two tensors named "${name}"`, { name })
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes] }
    offset += bytes
  }
  const text = Buffer.from(JSON.stringify(header))
  const padded = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, ' ')
  padded.writeBigUInt64LE(BigInt(padded.length - 8))
  text.copy(padded, 8)
  return [padded, ...sorted.map(({ data }) => data)]
}

/** Arrays by name and not by class: those of another realm (Jest, vm) are written too, and no other kind is. */
const typesByArray: Readonly<Record<string, StoredType>> = {
  Float32Array: 'F32',
  Float64Array: 'F64',
  Int32Array: 'I32',
  BigInt64Array: 'I64',
  Uint8Array: 'U8',
  Int8Array: 'I8',
  Uint16Array: 'F16',
}

function typeOf(name: string, data: TensorToWrite['data']): StoredType {
  const kind = ArrayBuffer.isView(data) ? data[Symbol.toStringTag] : Object.prototype.toString.call(data)
  const dtype = Object.hasOwn(typesByArray, kind) ? typesByArray[kind] : undefined
  if (dtype) return dtype
  const known = Object.keys(typesByArray).join(', ')
  throw new FormatError('ERR_FORMAT', `tensor "${name}" is of type ${kind}, expected one of ${known}`, { name, kind })
}
