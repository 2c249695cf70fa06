/** What a segment stores of its token vectors: numbers of one type, or residual codes. */
import type { SafetensorsFile, TensorToWrite } from '../io/safetensors.js'
import { rowsOf, type StoredRowTensors } from '../retrieval/embeddings.js'
import type { Device } from '../tensor/device.js'
import { type Coded, coded } from './coded.js'
import { buildCodebook, type Clustering, type ListData, type Lists, listsOf } from './lists.js'
import { type IndexType, rowsOfType } from './manifest.js'
import { mapTensor } from './mapped.js'
import { codeBytes, isResidual, type ResidualType, residualLevels } from './residual.js'
import type { NewSegment } from './segment.js'

export interface VectorExtras {
  /** Lists are made for so many tokens or more. */
  listsFrom: number
  /** Residual codes take the place of token vectors where there are lists; null: they do not. */
  residual: ResidualType | null
  /** Told how far the lists are. */
  onProgress?: Clustering | undefined
}

/** Tensors of the vectors' file; how well residual codes do; lists, where there are some. */
export interface VectorsToWrite {
  tensors: TensorToWrite[]
  recall: number | null
  lists: ListData | null
}

/** Residual codes stay as they are; of other vectors what `extras` says is made. */
export async function vectorsToWrite(
  device: Device,
  given: NewSegment['embeddings'],
  { listsFrom, residual, onProgress }: VectorExtras,
): Promise<VectorsToWrite> {
  if ('codes' in given) return codedToWrite(given)
  const { data, scales, offsets, dim } = given
  const tokens = rowsOf(given)
  const made = tokens >= listsFrom ? await buildCodebook(device, given, tokens, onProgress) : null
  if (made && residual) return codedToWrite(await coded(device, given, made.of, made.book, residual))
  const tensors = [
    { name: 'tokens', shape: [tokens, dim], data },
    ...(scales ? [{ name: 'scales', shape: [tokens], data: scales }] : []),
  ]
  return { tensors, recall: null, lists: made && listsOf(made.book, made.of, offsets) }
}

function codedToWrite({ type, dim, codes, scales, of, recall, book, offsets }: Coded): VectorsToWrite {
  const tokens = of.length
  const levels = residualLevels[type]
  const tensors = [
    { name: 'tokens', shape: [tokens, codeBytes(type, dim)], data: codes },
    { name: 'scales', shape: [tokens], data: scales },
    { name: 'of', shape: [tokens], data: of },
    { name: 'levels', shape: [levels.length], data: levels },
  ]
  return { tensors, recall, lists: listsOf(book, of, offsets) }
}

/** The tensors of a segment's vectors. @throws FormatError ERR_FORMAT where the file has others */
export function mapVectors(
  device: Device,
  file: SafetensorsFile,
  { tokens, type, dim }: { tokens: number; type: IndexType; dim: number },
  lists: Lists | null,
): StoredRowTensors {
  if (isResidual(type) && lists)
    return {
      tokens: mapTensor(device, file, 'tokens', 'uint8', [tokens, codeBytes(type, dim)]),
      scales: mapTensor(device, file, 'scales', 'float16', [tokens]),
      residual: {
        of: mapTensor(device, file, 'of', 'int32', [tokens]),
        levels: mapTensor(device, file, 'levels', 'float32', [residualLevels[type].length]),
        centroids: lists.centroids.rows(0, lists.count),
        centroidScales: lists.scales.rows(0, lists.count),
      },
    }
  const stored = rowsOfType(type)
  return {
    tokens: mapTensor(device, file, 'tokens', stored, [tokens, dim]),
    scales: stored === 'int8' ? mapTensor(device, file, 'scales', 'float32', [tokens]) : null,
  }
}
