/** An index with all that an export may meet: deleted documents, several segments, odd ids and texts, and nothing beside some. */
import path from 'node:path'
import { Index, type IndexType } from '../../lib/indexing/index.js'
import { Random } from '../../lib/io/random.js'

export const dim = 8

/** Vectors of documents of these many tokens. */
export function unitVectors(lengths: readonly number[], seed: number) {
  const random = new Random(seed)
  const offsets = [0]
  for (const length of lengths) offsets.push(offsets.at(-1)! + length)
  const data = Float32Array.from({ length: offsets.at(-1)! * dim }, () => random.next() - 0.5)
  for (let row = 0; row < data.length; row += dim) {
    const norm = Math.hypot(...data.subarray(row, row + dim))
    for (let k = row; k < row + dim; k++) data[k]! /= norm
  }
  return { data, offsets, dim, role: 'document' as const }
}

export const ids = ['a', 'b "quoted" \\ / line\nbreak', '日本', 'gone', 'empty', 'd5', 'd6', 'd7']
export const left = ids.filter((id) => id !== 'gone' && id !== 'empty')
const lengths = [3, 1, 40, 5, 0, 7, 2, 9]
const texts = ['one', 'two "quotes"\n\u0007bell', '三', 'four', 'five', undefined, 'seven', 'eight']

/** Makes it. The first five documents are a segment, the rest another. */
export async function makeIndex(folder: string, type: IndexType, listsFrom?: number): Promise<Index> {
  const index = await Index.create(path.join(folder, `idx-${type}`), { dim, type, ...(listsFrom && { listsFrom }) })
  for (const [first, last] of [
    [0, 5],
    [5, 8],
  ] as const)
    await index.addEmbeddings(
      { ...unitVectors(lengths.slice(first, last), first + 1), ids: ids.slice(first, last) },
      {
        kept: texts.slice(first, last).map((text, i) => ({
          ...(text !== undefined && { text }),
          ...(i !== 1 && { metadata: { number: first + i, tags: ['x', { y: null }] } }),
        })),
      },
    )
  await index.delete(['gone'])
  return index
}

/** What is to go out: the vectors as they are stored, as float32. */
export async function stored(
  index: Index,
): Promise<Map<string, { vectors: number[][]; text: string; metadata: unknown }>> {
  const { allTokens } = await import('../../lib/indexing/cluster.js')
  const found = new Map()
  for await (const { ids, kept, embeddings } of index.stream()) {
    const all = allTokens(embeddings)
    for (const [i, id] of ids.entries()) {
      const [first, last] = [embeddings.offsets[i]!, embeddings.offsets[i + 1]!]
      const vectors = Array.from({ length: last - first }, (_, t) => [
        ...all.subarray((first + t) * dim, (first + t + 1) * dim),
      ])
      if (last > first) found.set(id, { vectors, text: kept[i]!.text ?? '', metadata: kept[i]!.metadata ?? {} })
    }
  }
  return found
}
