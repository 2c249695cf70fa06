import { statSync } from 'node:fs'
import { DataError } from '../errors.js'
import { openDocuments, textsOfFile } from '../eval/collections.js'
import type { IndexDocument } from '../indexing/index.js'
import { eachLine } from '../io/lines.js'
import { type OnProgress, seldom } from '../progress.js'

/**
 * Documents of a BEIR folder, of a file of its kind, or of a text file with one a line, whose ids are the numbers of lines.
 * @throws DataError ERR_DATA
 */
export async function openCorpus(path: string, onProgress?: OnProgress): ReturnType<typeof openDocuments> {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() || /\.jsonl(\.gz)?$/.test(path))
    return openDocuments(path, { onProgress })
  const ids: string[] = []
  const textOf = (line: string) => line.trim() || undefined
  const tell = seldom(onProgress)
  await eachLine(path, (line, number) => {
    if (textOf(line)) ids.push(String(number))
    tell(() => ({ stage: 'reading', name: path, done: ids.length, unit: 'documents' }))
  })
  if (ids.length === 0) throw new DataError('ERR_DATA', `${path} has no text. Expected a document per line`, { path })
  return { documents: { ids, texts: textsOfFile(path, textOf, ids.length) }, emptyDocuments: 0, unusedFields: [] }
}

type Documents = Awaited<ReturnType<typeof openCorpus>>['documents']

/** Documents with their ids, as what encodes them takes them. */
export async function* withIds({ ids, texts }: Documents): AsyncGenerator<IndexDocument> {
  let number = 0
  for await (const text of texts) yield { id: ids[number++]!, text }
}
