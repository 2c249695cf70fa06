/** Token embeddings in fewer bytes: float16, or int8 with one scale a token. */
import { types } from 'node:util'
import { ArgumentError } from '../errors.js'
import { fromHalf, toHalf, toInt8 } from '../io/numbers.js'
import { oneOf, required } from '../options.js'
import { rangesOf } from '../ragged.js'
import { Turns } from '../turns.js'
import { checkEmbeddings, type EmbeddingData, type Embeddings, type Role, typeOf } from './embeddings.js'

/** The type in which `quantizeEmbeddings` keeps embeddings. */
export type Quantization = 'float16' | 'int8'

/** Token rows that are converted at a time. */
const block = { rows: 1 << 13 }

/**
 * Embeddings that take half the memory (`float16`), or a quarter and 4 bytes a token (`int8`: x ≈ n · scale, with the
 * scale max |x| / 127 of its token). Searching them takes time and memory traffic accordingly, and loses little: of unit
 * vectors, float16 is off by 2^-12 of a number at most, int8 by 1/254 of the token's largest.
 * @param embeddings float32, or what is already of that type
 * @throws ArgumentError ERR_ARGUMENT for another type; ShapeError ERR_SHAPE; DataError ERR_DATA for int8 of what is not finite
 */
export async function quantizeEmbeddings<R extends Role, D extends EmbeddingData>(
  embeddings: Embeddings<R, D>,
  type: Quantization,
): Promise<Embeddings<R, Uint16Array | Int8Array>> {
  required('quantizeEmbeddings', 'type', type, oneOf('float16', 'int8'))
  checkEmbeddings('embeddings', embeddings)
  const { data, offsets, dim } = embeddings
  if (typeOf(embeddings) === type) return embeddings as Embeddings<R, D & (Uint16Array | Int8Array)>
  if (!types.isFloat32Array(data))
    throw new ArgumentError('ERR_ARGUMENT', `the embeddings are ${typeOf(embeddings)}; only float32 is made ${type}`)
  const made = type === 'int8' ? new Int8Array(data.length) : new Uint16Array(data.length)
  const scales = type === 'int8' ? new Float32Array(data.length / dim) : undefined
  const turns = new Turns()
  for (const { first, last } of rangesOf(offsets, block)) {
    const [from, to] = [offsets[first]!, offsets[last]!]
    if (types.isInt8Array(made)) toInt8(data, dim, from, to, made, scales!)
    else toHalf(data.subarray(from * dim, to * dim), made.subarray(from * dim, to * dim))
    if (turns.due) await turns.take()
  }
  return { ...embeddings, data: made, ...(scales && { scales }) }
}

/** Float16 embeddings as float32, exactly; float32 as they are. */
export async function widenEmbeddings<R extends Role>(
  embeddings: Embeddings<R, Float32Array | Uint16Array>,
): Promise<Embeddings<R>> {
  const { data, offsets, dim } = embeddings
  if (types.isFloat32Array(data)) return { ...embeddings, data }
  const made = new Float32Array(data.length)
  const turns = new Turns()
  for (const { first, last } of rangesOf(offsets, block)) {
    const [from, to] = [offsets[first]! * dim, offsets[last]! * dim]
    fromHalf(data.subarray(from, to), made.subarray(from, to))
    if (turns.due) await turns.take()
  }
  return { ...embeddings, data: made }
}
