import { ArgumentError } from '../errors.js'
import type { OnProgress } from '../progress.js'
import type { Device } from '../tensor/device.js'
import { abortIf, Turns } from '../turns.js'
import {
  checkSides,
  countOf,
  DeviceEmbeddings,
  type EmbeddingData,
  type Embeddings,
  type EmbeddingType,
  rowsOf,
  typeOf,
  typeOn,
} from './embeddings.js'
import { scoreBlocks } from './maxsim.js'
import { Best, type Scored } from './top-k.js'

/** Options of a search. */
export interface SearchOptions {
  /** Hits per query: one number for all, or one for each. Default 10. */
  topK?: number | ArrayLike<number>
  /** Negative similarities count as 0, as in PyLate. Default false. */
  clampNegatives?: boolean
  /** What documents are stored as while they are scored. Default: what they are. */
  dtype?: EmbeddingType
  /** Ends the search, with ERR_ABORTED. */
  signal?: AbortSignal
  /** Told how many documents are scored for all queries; of a stream after each part that is. */
  onProgress?: OnProgress
}

/** A document that a search found. */
export interface Hit extends Scored {
  /** Its name, where the collection has names. */
  id?: string
}

/** Documents that are searched: on the host, on a device, or a stream of parts of which only some are held at a time. */
export type SearchedDocuments = HostDocuments | DeviceEmbeddings<'document'> | AsyncIterable<HostDocuments>

type HostDocuments = Embeddings<'document', EmbeddingData>
type Queries = Embeddings<'query', EmbeddingData>

/** Token rows of a stream that are scored together: 16 MiB at 128 dimensions. */
const streamedRows = 1 << 15

/**
 * Exhaustive MaxSim search: the best documents of each query, best first; equal scores by lowest index. Of a stream
 * about 32,768 token rows are held at a time, and documents are numbered on through its parts; the hits are the same.
 * @throws ArgumentError ERR_ARGUMENT for swapped sides or a bad topK; RecipeError ERR_RECIPE for different recipes;
 *   DataError ERR_DATA when a score is NaN; AbortedError ERR_ABORTED
 */
export async function search(
  device: Device,
  queries: Queries,
  documents: SearchedDocuments,
  options: SearchOptions = {},
): Promise<Hit[][]> {
  const { topK = 10, clampNegatives, dtype, signal, onProgress } = options
  const isStream = typeof documents === 'object' && documents !== null && Symbol.asyncIterator in documents
  checkSides(queries, isStream ? none(queries) : documents)
  const best = Array.from(limitsOf(topK, countOf(queries)), (limit) => new Best(limit))
  const turns = new Turns()
  const names: string[] = []
  let count = 0
  const total = isStream ? {} : { total: countOf(documents) }
  const tell = (done: number) => onProgress?.({ stage: 'searching', done, ...total, unit: 'documents' })
  for await (const part of isStream ? joined(queries, documents) : [documents]) {
    abortIf(signal)
    const where =
      part instanceof DeviceEmbeddings
        ? { device: part.device, type: part.dtype }
        : { device, type: typeOn(device, dtype, part) }
    for await (const block of scoreBlocks(queries, part, { ...where, clampNegatives, signal })) {
      const width = block.lastDocument - block.firstDocument
      for (let q = block.firstQuery; q < block.lastQuery; q++) {
        best[q]!.offerRow(count + block.firstDocument, block.scores, (q - block.firstQuery) * width, width)
        if (turns.due) await turns.take()
      }
      if (block.lastQuery === best.length) tell(count + block.lastDocument)
    }
    for (const id of part.ids ?? []) names.push(id)
    count += countOf(part)
  }
  if (names.length > 0 && names.length !== count)
    throw new ArgumentError('ERR_ARGUMENT', `the stream names ${names.length} of its ${count} documents, expected all`)
  const hits: Hit[][] = []
  for (const kept of best) {
    const list = new Array<Hit>(kept.size)
    while (kept.size > 0) {
      const at = kept.size - 1
      const hit: Hit = kept.pop()
      if (names.length > 0) hit.id = names[hit.index]!
      list[at] = hit
      if (turns.due) await turns.take()
    }
    hits.push(list)
  }
  return hits
}

/** How many hits each query is given. @throws ArgumentError ERR_ARGUMENT */
function limitsOf(topK: number | ArrayLike<number>, queries: number): ArrayLike<number> {
  const limits = typeof topK === 'number' ? new Array<number>(queries).fill(topK) : topK
  if (limits.length !== queries)
    throw new ArgumentError('ERR_ARGUMENT', `topK has ${limits.length} numbers for ${queries} queries`)
  const wrong = Array.prototype.find.call(limits, (limit) => !Number.isInteger(limit) || limit < 1)
  if (wrong !== undefined) throw new ArgumentError('ERR_ARGUMENT', `topK is ${wrong}, expected a whole number ≥ 1`)
  return limits
}

/** No documents, of the same model: what a stream's queries are checked against before it is read. */
function none(queries: Queries): HostDocuments {
  const { ids: _, ...rest } = { ...queries }
  return { ...rest, role: 'document', data: new Float32Array(0), offsets: Float64Array.of(0) }
}

/** Parts of a stream, checked and put together until they are worth a block of scores. */
async function* joined(queries: Queries, parts: AsyncIterable<HostDocuments>): AsyncGenerator<HostDocuments> {
  let waiting: HostDocuments[] = []
  let rows = 0
  for await (const part of parts) {
    checkSides(queries, part)
    if (waiting.length > 0 && typeOf(part) !== typeOf(waiting[0]!)) {
      yield join(waiting, rows)
      waiting = []
      rows = 0
    }
    waiting.push(part)
    rows += rowsOf(part)
    if (rows < streamedRows) continue
    yield join(waiting, rows)
    waiting = []
    rows = 0
  }
  if (waiting.length > 0) yield join(waiting, rows)
}

function join(parts: readonly HostDocuments[], rows: number): HostDocuments {
  const first = parts[0]!
  if (parts.length === 1) return first
  const size = rows * first.dim
  const data = new { float32: Float32Array, float16: Uint16Array, int8: Int8Array }[typeOf(first)](size)
  const scales = typeOf(first) === 'int8' ? new Float32Array(rows) : undefined
  const offsets = new Float64Array(1 + parts.reduce((sum, part) => sum + countOf(part), 0))
  const ids: string[] = []
  let [text, row] = [0, 0]
  for (const part of parts) {
    data.set(part.data, row * part.dim)
    scales?.set(part.scales!, row)
    for (let i = 1; i < part.offsets.length; i++) offsets[++text] = row + part.offsets[i]!
    row = offsets[text]!
    ids.push(...(part.ids ?? []))
  }
  return { ...first, data, ...(scales && { scales }), offsets, ids }
}
