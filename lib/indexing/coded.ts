/** Documents as residual codes of a codebook: measured when they are made, and joined without being made anew. */
import path from 'node:path'
import { FormatError } from '../errors.js'
import { SafetensorsFile } from '../io/safetensors.js'
import { joined, offsetsOf } from '../ragged.js'
import { DeviceEmbeddings, type EmbeddingData, type Embeddings, slice } from '../retrieval/embeddings.js'
import { scoreBlocks } from '../retrieval/maxsim.js'
import { Best } from '../retrieval/top-k.js'
import type { Device } from '../tensor/device.js'
import { Tensor } from '../tensor/tensor.js'
import type { Codebook } from './lists.js'
import type { SegmentEntry } from './manifest.js'
import { firstTokens, queriesOf } from './own-queries.js'
import { codeBytes, encodeResiduals, type ResidualCodes, type ResidualType, residualLevels } from './residual.js'

export interface Coded extends ResidualCodes {
  type: ResidualType
  book: Codebook
  /** Of the documents' tokens, [documents + 1]. */
  offsets: Float64Array
  dim: number
  /** Share of the exact hits that codes find: `recallOf` when they were made. */
  recall: number
}

type Documents = Embeddings<'document', EmbeddingData>

/** @param of the centroid of each token */
export async function coded(
  device: Device,
  documents: Documents,
  of: Int32Array,
  book: Codebook,
  type: ResidualType,
): Promise<Coded> {
  const { dim } = documents
  const offsets = Float64Array.from(documents.offsets)
  const made = { ...(await encodeResiduals(documents, of, book, type)), type, book, offsets, dim, recall: 1 }
  return { ...made, recall: await recallOf(device, documents, made) }
}

/** Documents of a segment that are asked as queries, and hits of each that are compared. */
const [asked, topK] = [32, 10]

/** Share of the best documents by the vectors, but for the one that asks, that are the best by their codes too. */
async function recallOf(device: Device, documents: Documents, coded: Coded): Promise<number> {
  const asking = spaced(documents)
  const queries = queriesOf(
    asking.map((first) => firstTokens({ ...slice(documents, { first, last: first + 1 }), role: 'document' })),
    documents.dim,
  )
  const best = async (of: Documents | DeviceEmbeddings) => {
    const found = asking.map(() => new Best(topK + 1))
    const how = { device, type: of instanceof DeviceEmbeddings ? of.dtype : 'int8' } as const
    for await (const { firstQuery, lastQuery, firstDocument, lastDocument, scores } of scoreBlocks(queries, of, how))
      for (let q = firstQuery, width = lastDocument - firstDocument; q < lastQuery; q++)
        found[q]!.offerRow(firstDocument, scores, (q - firstQuery) * width, width)
    return found.map((list, q) => {
      const others = list.sorted().filter(({ index }) => index !== asking[q])
      return others.slice(0, topK).map(({ index }) => index)
    })
  }
  using stored = onDevice(device, coded)
  const [exact, found] = [await best(documents), await best(stored)]
  const all = exact.reduce((sum, list) => sum + list.length, 0)
  const same = exact.reduce((sum, list, q) => sum + list.filter((index) => found[q]!.includes(index)).length, 0)
  return all > 0 ? same / all : 1
}

/** Evenly spaced documents that have tokens. */
function spaced({ offsets }: Documents): number[] {
  const some = Array.from({ length: offsets.length - 1 }, (_, i) => i).filter((i) => offsets[i + 1]! > offsets[i]!)
  const count = Math.min(asked, some.length)
  return Array.from({ length: count }, (_, i) => some[Math.floor((i * some.length) / count)]!)
}

function onDevice(device: Device, coded: Coded): DeviceEmbeddings<'document'> {
  const { type, codes, scales, of, book, offsets, dim } = coded
  return DeviceEmbeddings.made(device, { dim, offsets, role: 'document' }, (rows) => ({
    tokens: Tensor.fromUint8(device, codes, [rows, codeBytes(type, dim)]),
    scales: Tensor.fromFloat16(device, scales),
    residual: {
      of: Tensor.fromInt32(device, of),
      levels: Tensor.from(device, residualLevels[type]),
      centroids: Tensor.fromInt8(device, book.centroids, [book.scales.length, dim]),
      centroidScales: Tensor.from(device, book.scales),
    },
  }))
}

/** Those of a segment. @throws FormatError ERR_FORMAT where a token is of no centroid */
export async function readCoded(
  dir: string,
  { vectors, lists, recall }: SegmentEntry,
  { type, dim }: { type: ResidualType; dim: number },
): Promise<Coded> {
  await using stored = await SafetensorsFile.open(path.join(dir, vectors.name))
  await using listed = await SafetensorsFile.open(path.join(dir, lists!.name))
  const bytes = await stored.bytes('scales')
  const of = await stored.integers('of')
  const scales = await listed.floats('scales')
  const centroids = await listed.bytes('centroids')
  if (!of.every((centroid) => centroid >= 0 && centroid < scales.length))
    throw new FormatError('ERR_FORMAT', `${stored.path} is damaged: a token is of no centroid`, { file: stored.path })
  return {
    type,
    codes: await stored.bytes('tokens'),
    scales: new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2),
    of,
    book: {
      centroids: new Int8Array(centroids.buffer, centroids.byteOffset, centroids.length),
      scales,
      cells: await listed.floats('cells'),
      cellOffsets: await listed.numbers('cellOffsets'),
    },
    offsets: await stored.numbers('offsets'),
    dim,
    recall: recall!,
  }
}

/** Some documents of several segments, one after the other. Centroids that no token is of any more are left out. */
export function joinedCoded(parts: readonly { coded: Coded; documents: readonly number[] }[]): Coded {
  const { type, dim } = parts[0]!.coded
  const lengths = parts.flatMap(({ coded: { offsets }, documents }) =>
    documents.map((document) => offsets[document + 1]! - offsets[document]!),
  )
  const offsets = offsetsOf(lengths)
  const tokens = offsets.at(-1)!
  const width = codeBytes(type, dim)
  const made = {
    ...{ codes: new Uint8Array(tokens * width), scales: new Uint16Array(tokens), of: new Int32Array(tokens) },
    ...{ type, offsets, dim, recall: 0 },
  }
  const books: Codebook[] = []
  let [token, before] = [0, 0]
  for (const { coded, documents } of parts) {
    const first = token
    for (const document of documents) {
      const [from, to] = [coded.offsets[document]!, coded.offsets[document + 1]!]
      made.codes.set(coded.codes.subarray(from * width, to * width), token * width)
      made.scales.set(coded.scales.subarray(from, to), token)
      made.of.set(coded.of.subarray(from, to), token)
      token += to - from
    }
    const { book, numbers } = usedOf(coded.book, made.of.subarray(first, token), dim)
    for (let i = first; i < token; i++) made.of[i] = before + numbers[made.of[i]!]!
    before += book.scales.length
    books.push(book)
    made.recall += (coded.recall * documents.length) / Math.max(1, lengths.length)
  }
  return { ...made, book: joinedBooks(books) }
}

/** The centroids that some token is of, and which number each has among them. */
function usedOf({ centroids, scales, cells, cellOffsets }: Codebook, of: Int32Array, dim: number) {
  const used = new Uint8Array(scales.length)
  for (const centroid of of) used[centroid] = 1
  const numbers = new Int32Array(scales.length)
  let count = 0
  for (const [centroid, is] of used.entries()) if (is) numbers[centroid] = count++
  const book = {
    ...{ centroids: new Int8Array(count * dim), scales: new Float32Array(count) },
    ...{ cells, cellOffsets: new Float64Array(cellOffsets.length) },
  }
  for (let cell = 0, at = 0; cell < cellOffsets.length - 1; cell++) {
    for (let centroid = cellOffsets[cell]!; centroid < cellOffsets[cell + 1]!; centroid++) {
      if (!used[centroid]) continue
      book.centroids.set(centroids.subarray(centroid * dim, (centroid + 1) * dim), at * dim)
      book.scales[at++] = scales[centroid]!
    }
    book.cellOffsets[cell + 1] = at
  }
  return { book, numbers }
}

function joinedBooks(books: readonly Codebook[]): Codebook {
  const lengths = books.flatMap(({ cellOffsets }) =>
    Array.from(cellOffsets.subarray(1), (end, cell) => end - cellOffsets[cell]!),
  )
  return {
    centroids: joined(
      Int8Array,
      books.map(({ centroids }) => centroids),
    ),
    scales: joined(
      Float32Array,
      books.map(({ scales }) => scales),
    ),
    cells: joined(
      Float32Array,
      books.map(({ cells }) => cells),
    ),
    cellOffsets: offsetsOf(lengths),
  }
}
