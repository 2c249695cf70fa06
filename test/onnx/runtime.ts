/** Exported graphs, run by onnxruntime as anybody else would, and what they differ from the model by. */
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { columnFromTexts } from '../../lib/data/column.js'
import type { Colbert } from '../../lib/models/colbert.js'
import type { Role } from '../../lib/retrieval/embeddings.js'
import { texts as words } from '../models/words.js'

/** Of odd and even lengths, one of which is cut, and one empty. */
export const texts = [...words, '', words.join(' ').repeat(3), 'per token, per text']

interface RunOptions {
  /** Texts that are padded to one length and run together. */
  batch?: number
  /** Padding beyond the longest text. */
  more?: number
  /** What the mask says of expansion tokens, instead of what the recipe does. */
  expansion?: 0 | 1
}

/** A graph as a session on one thread. */
export const openGraph = (file: string): Promise<InferenceSession> =>
  InferenceSession.create(file, { intraOpNumThreads: 1, logSeverityLevel: 3 })

/** What the graph makes of texts: the rows that count, one after another, as `encodeQueries` and `encodeDocuments` have them. */
export async function runGraph(
  session: InferenceSession,
  model: Colbert,
  role: Role,
  texts: readonly string[],
  { batch = texts.length, more = 0, expansion }: RunOptions = {},
): Promise<Float32Array> {
  const { featurizer, tokenizer, dim } = model
  const pools = model.recipe.pooling !== 'none'
  const column = columnFromTexts(featurizer, texts, role)
  const lengthOf = (i: number): number => column.offsets[i + 1]! - column.offsets[i]!
  const kept = new Set(column.keep ?? column.ids.keys())
  const maskOf = (i: number, k: number): number => {
    if (expansion !== undefined && k >= featurizer.features(texts[i]!, role).ids.length) return expansion
    return Number(k < column.keyLengths[i]!)
  }
  const rows: number[] = []
  for (let first = 0; first < texts.length; first += batch) {
    const count = Math.min(batch, texts.length - first)
    const length = more + Math.max(...Array.from({ length: count }, (_, i) => lengthOf(first + i)))
    const ids = new BigInt64Array(count * length).fill(BigInt(tokenizer.pad!))
    const mask = new BigInt64Array(count * length)
    for (let i = 0; i < count; i++)
      for (let k = 0; k < lengthOf(first + i); k++) {
        ids[i * length + k] = BigInt(column.ids[column.offsets[first + i]! + k]!)
        mask[i * length + k] = BigInt(maskOf(first + i, k))
      }
    const [output] = session.outputNames
    const made = await session.run({
      input_ids: new Tensor('int64', ids, [count, length]),
      attention_mask: new Tensor('int64', mask, [count, length]),
    })
    const values = made[output!]!.data as Float32Array
    for (let i = 0; i < count; i++)
      for (let k = 0; k < (pools ? 1 : lengthOf(first + i)); k++)
        if (pools || kept.has(column.offsets[first + i]! + k)) {
          const row = pools ? i : i * length + k
          rows.push(...values.subarray(row * dim, (row + 1) * dim))
        }
  }
  return Float32Array.from(rows)
}

/** The largest difference between numbers of two arrays; NaN where one is. */
export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.NaN
  let worst = 0
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i]! - b[i]!))
  return worst
}

/** The largest difference between a graph's embeddings and a model's: queries and documents, in several batches. */
export async function compare(
  file: string,
  model: Colbert,
  of: readonly string[] = texts,
): Promise<{ worst: number; inputs: readonly string[] }> {
  const session = await openGraph(file)
  let worst = 0
  for (const role of ['query', 'document'] as const) {
    const own = role === 'query' ? await model.encodeQueries(of) : await model.encodeDocuments(of)
    for (const options of [{ batch: 1 }, { batch: 3, more: 3 }, { batch: 8 }])
      worst = Math.max(worst, largestDifference(await runGraph(session, model, role, of, options), own.data))
  }
  const inputs = session.inputNames
  await session.release()
  return { worst, inputs }
}
