/**
 * Which documents have a token near a centroid: what finds candidates without looking at every document. One file for each
 * segment that is large enough.
 */
import path from 'node:path'
import { FormatError } from '../errors.js'
import { SafetensorsFile, writeSafetensors } from '../io/safetensors.js'
import type { OnProgress, Progress } from '../progress.js'
import { areOffsets } from '../ragged.js'
import type { Device } from '../tensor/device.js'
import { Tensor } from '../tensor/tensor.js'
import { cluster, type StoredRows } from './cluster.js'

/** Lists of documents by centroid. */
export interface ListData {
  /** [centroids, dim] */
  centroids: Float32Array
  /** [centroids + 1]: whose documents are whose. */
  offsets: Float64Array
  /** Numbers of documents, rising within a list. */
  documents: Int32Array
}

/** Is told how far lists are. */
export type Clustering = OnProgress<Progress & { stage: 'clustering' }>

/** @param offsets of the documents' tokens, [documents + 1] */
export async function buildLists(
  device: Device,
  rows: StoredRows,
  offsets: ArrayLike<number>,
  onProgress?: Clustering,
): Promise<ListData> {
  const count = offsets[offsets.length - 1]!
  // Every token is given its cell, then its centroid.
  const { centroids, of } = await cluster(device, rows, count, (done) =>
    onProgress?.({ stage: 'clustering', done, total: 2 * count, unit: 'tokens' }),
  )
  const k = centroids.length / rows.dim
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
  return { centroids, offsets: ends, documents }
}

export function writeLists(file: string, { centroids, offsets, documents }: ListData, dim: number): Promise<void> {
  return writeSafetensors(file, [
    { name: 'centroids', shape: [centroids.length / dim, dim], data: centroids },
    { name: 'offsets', shape: [offsets.length], data: offsets },
    { name: 'documents', shape: [documents.length], data: documents },
  ])
}

/** The lists of an open segment. */
export class Lists {
  /** [centroids, dim], mapped. */
  readonly centroids: Tensor
  readonly count: number
  private readonly offsets: Float64Array
  private readonly documents: Int32Array

  private constructor(centroids: Tensor, offsets: Float64Array, documents: Int32Array) {
    this.centroids = centroids
    this.count = offsets.length - 1
    this.offsets = offsets
    this.documents = documents
  }

  /** @throws FormatError ERR_FORMAT for a file that holds no lists of so many documents */
  static async open(device: Device, dir: string, name: string, dim: number, documents: number): Promise<Lists> {
    const file = path.join(dir, name)
    const stored = await SafetensorsFile.open(file)
    try {
      const { shape, start, dtype } = stored.tensor('centroids')
      const offsets = await stored.numbers('offsets')
      const list = await stored.integers('documents')
      const sound =
        dtype === 'F32' &&
        shape.length === 2 &&
        shape[1] === dim &&
        offsets.length === shape[0]! + 1 &&
        areOffsets(offsets, list.length) &&
        list.every((document) => document >= 0 && document < documents)
      if (!sound) throw new FormatError('ERR_FORMAT', `${file} holds no lists of ${documents} documents`, { file })
      return new Lists(Tensor.map(device, file, start, [shape[0]!, dim], 'float32'), offsets, list)
    } finally {
      await stored.close()
    }
  }

  /** Visits the documents of a centroid. */
  each(centroid: number, visit: (document: number) => void): void {
    for (let i = this.offsets[centroid]!; i < this.offsets[centroid + 1]!; i++) visit(this.documents[i]!)
  }

  dispose(): void {
    this.centroids.dispose()
  }
}
