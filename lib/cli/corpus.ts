import { statSync } from 'node:fs'
import { DataError } from '../errors.js'
import { openDocuments, textsOfFile } from '../eval/collections.js'
import type { IndexDocument } from '../indexing/index.js'
import { eachLine } from '../io/lines.js'
import { duration, type ProgressLine } from '../io/progress-line.js'

/**
 * Documents of a BEIR folder, of a file of its kind, or of a text file with one a line, whose ids are the numbers of lines.
 * @throws DataError ERR_DATA
 */
export async function openCorpus(path: string): ReturnType<typeof openDocuments> {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() || /\.jsonl(\.gz)?$/.test(path))
    return openDocuments(path)
  const ids: string[] = []
  const textOf = (line: string) => line.trim() || undefined
  await eachLine(path, (line, number) => {
    if (textOf(line)) ids.push(String(number))
  })
  if (ids.length === 0) throw new DataError('ERR_DATA', `${path} has no text. Expected a document per line`, { path })
  return { documents: { ids, texts: textsOfFile(path, textOf, ids.length) }, emptyDocuments: 0, unusedFields: [] }
}

type Documents = Awaited<ReturnType<typeof openCorpus>>['documents']

/** Documents with their ids, as what encodes them takes them. @param onRead told how many were taken so far */
export async function* withIds(
  { ids, texts }: Documents,
  onRead?: (count: number) => void,
): AsyncGenerator<IndexDocument> {
  let number = 0
  for await (const text of texts) {
    onRead?.(number)
    yield { id: ids[number++]!, text }
  }
}

/** Draws how many of all documents are done, and how long the rest takes at the pace since the first call. */
export function paced(line: ProgressLine, total: number): (done: number) => void {
  let first: { done: number; at: number } | null = null
  return (done) => {
    first ??= { done, at: performance.now() }
    const left = ((performance.now() - first.at) / 1000 / (done - first.done)) * (total - done)
    line.draw(`${done} of ${total} documents${done > first.done ? `, ${duration(left)} to go` : ''}`)
  }
}
