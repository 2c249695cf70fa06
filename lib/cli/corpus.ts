import { statSync } from 'node:fs'
import { ArgumentError, DataError } from '../errors.js'
import {
  type CollectionCounts,
  collectionNotes,
  type OpenDocuments,
  openDocuments,
  valuesOfFile,
} from '../eval/collections.js'
import { eachLine } from '../io/lines.js'
import { type OnProgress, seldom } from '../progress.js'

/**
 * Documents of a BEIR folder, of a file of its kind, or of a text file with one a line, whose ids are the numbers of lines.
 * @param options.metadata fields that become metadata of `rows`, as of `openDocuments`
 * @throws DataError ERR_DATA; ArgumentError ERR_ARGUMENT for fields of a text file
 */
export async function openCorpus(
  path: string,
  options: { onProgress?: OnProgress; metadata?: readonly string[] } = {},
): Promise<OpenDocuments> {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() || /\.jsonl(\.gz)?$/.test(path))
    return openDocuments(path, options)
  if (options.metadata?.length)
    throw new ArgumentError('ERR_ARGUMENT', `--metadata has no effect: ${path} has a text on each line, and no fields`)
  const ids: string[] = []
  const textOf = (line: string) => line.trim() || undefined
  const tell = seldom(options.onProgress)
  await eachLine(path, (line, number) => {
    if (textOf(line)) ids.push(String(number))
    tell(() => ({ stage: 'reading', name: path, done: ids.length, unit: 'documents' }))
  })
  if (ids.length === 0) throw new DataError('ERR_DATA', `${path} has no text. Expected a document per line`, { path })
  const rowOf = (line: string, number: number) => {
    const text = textOf(line)
    return text === undefined ? undefined : { id: String(number), text }
  }
  return {
    documents: { ids, texts: valuesOfFile(path, textOf, ids.length) },
    rows: valuesOfFile(path, rowOf, ids.length),
    ...{ emptyDocuments: 0, unusedFields: [] },
  }
}

/** What of documents is not used, in words, and how fields are kept. */
export function corpusNotes(counts: Partial<CollectionCounts>): string[] {
  const unused = counts.unusedFields ?? []
  return [
    ...collectionNotes(counts),
    ...(unused.length > 0 ? [`--metadata ${unused.join(',')} keeps them beside the documents`] : []),
  ]
}
