/**
 * Which documents have a token near a centroid: what finds candidates without looking at every document. One file for each
 * segment that is large enough.
 */
import path from 'node:path'
import { FormatError } from '../errors.js'
import { toInt8 } from '../io/numbers.js'
import { SafetensorsFile, writeSafetensors } from '../io/safetensors.js'
import type { OnProgress, Progress } from '../progress.js'
import { areOffsets } from '../ragged.js'
import type { Device } from '../tensor/device.js'
import { ownedBy } from '../tensor/scope.js'
import { Segments, type Tensor } from '../tensor/tensor.js'
import { cluster, type StoredRows } from './cluster.js'
import { mapTensor } from './mapped.js'

/** Centroids of token vectors, and the cells that they lie in. */
export interface Codebook {
  /** [centroids, dim], times `scales`. Those of a cell are neighbours. */
  centroids: Int8Array
  /** [centroids] */
  scales: Float32Array
  /** [cells, dim] */
  cells: Float32Array
  /** [cells + 1]: which centroids are whose. */
  cellOffsets: Float64Array
}

/** Lists of documents by centroid. */
export interface ListData extends Codebook {
  /** [centroids + 1]: whose documents are whose. */
  offsets: Float64Array
  /** Numbers of documents, rising within a list. */
  documents: Int32Array
}

/** Is told how far lists are. */
export type Clustering = OnProgress<Progress & { stage: 'clustering' }>

/** Centroids of token vectors, and which of them each token belongs to. */
export async function buildCodebook(
  device: Device,
  rows: StoredRows,
  count: number,
  onProgress?: Clustering,
): Promise<{ book: Codebook; of: Int32Array }> {
  const { dim } = rows
  // Every token is given its cell, then its centroid.
  const { centroids, of, cells, cellOffsets } = await cluster(device, rows, count, (done) =>
    onProgress?.({ stage: 'clustering', done, total: 2 * count, unit: 'tokens' }),
  )
  const k = centroids.length / dim
  const book = { centroids: new Int8Array(k * dim), scales: new Float32Array(k), cells, cellOffsets }
  toInt8(centroids, dim, 0, k, book.centroids, book.scales)
  return { book, of }
}

/** @param of the centroid of each token; @param offsets of the documents' tokens, [documents + 1] */
export function listsOf(book: Codebook, of: Int32Array, offsets: ArrayLike<number>): ListData {
  const k = book.scales.length
  const last = new Int32Array(k).fill(-1)
  const ends = new Float64Array(k + 1)
  const each = (visit: (centroid: number, document: number) => void) => {
    last.fill(-1)
    for (let document = 0; document < offsets.length - 1; document++)
      for (let token = offsets[document]!; token < offsets[document + 1]!; token++) {
        const centroid = of[token]!
        if (last[centroid] === document) continue
        last[centroid] = document
        visit(centroid, document)
      }
  }
  each((centroid) => ends[centroid + 1]!++)
  for (let i = 0; i < k; i++) ends[i + 1]! += ends[i]!
  const documents = new Int32Array(ends[k]!)
  const next = Float64Array.from(ends)
  each((centroid, document) => {
    documents[next[centroid]!++] = document
  })
  return { ...book, offsets: ends, documents }
}

export function writeLists(file: string, lists: ListData, dim: number): Promise<void> {
  const { centroids, scales, cells, cellOffsets, offsets, documents } = lists
  return writeSafetensors(file, [
    { name: 'centroids', shape: [scales.length, dim], data: centroids },
    { name: 'scales', shape: [scales.length], data: scales },
    { name: 'cells', shape: [cellOffsets.length - 1, dim], data: cells },
    { name: 'cellOffsets', shape: [cellOffsets.length], data: cellOffsets },
    { name: 'offsets', shape: [offsets.length], data: offsets },
    { name: 'documents', shape: [documents.length], data: documents },
  ])
}

/** The lists of an open segment. */
export class Lists {
  /** int8 [centroids, dim], mapped. */
  readonly centroids: Tensor
  /** [centroids], mapped. */
  readonly scales: Tensor
  /** [cells, dim], mapped. */
  readonly cells: Tensor
  /** Which centroids are whose cell's. */
  readonly cellOffsets: Segments
  /** Of centroids. */
  readonly count: number
  /** [centroids + 1]: whose documents are whose. */
  readonly offsets: Float64Array
  /** Numbers of documents, rising within a list. */
  readonly documents: Int32Array

  private constructor(device: Device, offsets: Float64Array, documents: Int32Array, map: () => MappedBook) {
    this.count = offsets.length - 1
    this.offsets = offsets
    this.documents = documents
    const made = ownedBy({ name: `lists of ${this.count} centroids` }, () => {
      const { cellOffsets, ...tensors } = map()
      return { ...tensors, cellOffsets: Segments.of(device, cellOffsets) }
    })
    this.centroids = made.centroids
    this.scales = made.scales
    this.cells = made.cells
    this.cellOffsets = made.cellOffsets
  }

  /** @throws FormatError ERR_FORMAT for a file that holds no lists of so many documents */
  static async open(device: Device, dir: string, name: string, dim: number, documents: number): Promise<Lists> {
    const file = path.join(dir, name)
    const stored = await SafetensorsFile.open(file)
    try {
      const offsets = await stored.numbers('offsets')
      const cellOffsets = await stored.numbers('cellOffsets')
      const list = await stored.integers('documents')
      const [k, c] = [offsets.length - 1, cellOffsets.length - 1]
      const sound = areOffsets(cellOffsets, k) && areOffsets(offsets, list.length) && areBelow(list, documents)
      if (!sound) throw new FormatError('ERR_FORMAT', `${file} holds no lists of ${documents} documents`, { file })
      return new Lists(device, offsets, list, () => ({
        centroids: mapTensor(device, stored, 'centroids', 'int8', [k, dim]),
        scales: mapTensor(device, stored, 'scales', 'float32', [k]),
        cells: mapTensor(device, stored, 'cells', 'float32', [c, dim]),
        cellOffsets,
      }))
    } finally {
      await stored.close()
    }
  }

  dispose(): void {
    for (const tensor of [this.centroids, this.scales, this.cells, this.cellOffsets]) tensor.dispose()
  }
}

/** Whether all numbers are from 0 to below `end`: `every` takes far longer, and there are millions. */
function areBelow(numbers: Int32Array, end: number): boolean {
  for (let i = 0; i < numbers.length; i++) if (numbers[i]! < 0 || numbers[i]! >= end) return false
  return true
}

/** A codebook as the tensors of a file. */
interface MappedBook {
  centroids: Tensor
  scales: Tensor
  cells: Tensor
  cellOffsets: Float64Array
}
