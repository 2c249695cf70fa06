import { statSync } from 'node:fs'
import { DataError } from '../errors.js'
import { openDocuments, textsOfFile } from '../eval/collections.js'
import { eachLine } from '../io/lines.js'

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
