import { statSync } from 'node:fs'
import { defaultCacheDir } from '../data/cache.js'
import { expandPattern } from '../data/glob.js'
import { jsonLines } from '../data/jsonl.js'
import { ParquetFile } from '../data/parquet.js'
import { hasQuery } from '../data/rows.js'
import { fileSource } from '../data/sources.js'
import { tableEntries } from '../data/table-files.js'
import { isBeirFolder, openDocuments } from '../eval/collections.js'

/**
 * The texts of documents: of a BEIR folder; of files of ids and texts (.jsonl, .jsonl.gz, .parquet; .tsv without a header);
 * or all those of rows with queries and documents. Read anew each time they are iterated.
 * @param path a folder, a file or a pattern
 * @throws DataError ERR_DATA
 */
export async function corpusTexts(path: string): Promise<AsyncIterable<string> | Iterable<string>> {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() && isBeirFolder(path))
    return (await openDocuments(path)).documents.texts
  const files = expandPattern(path)
  return {
    async *[Symbol.asyncIterator]() {
      for (const file of files)
        if (await isRows(file))
          for await (const { documents } of fileSource(file, { cacheDir: defaultCacheDir() })) yield* documents
        else for await (const { text } of tableEntries(file, { titles: true }, new Set())) yield text
    },
  }
}

/** Whether a file has queries, and so rows of training. */
async function isRows(path: string): Promise<boolean> {
  if (path.endsWith('.parquet')) {
    const file = await ParquetFile.open(path)
    try {
      return hasQuery(file.names)
    } finally {
      await file.close()
    }
  }
  if (/\.tsv(\.gz)?$/.test(path)) return false
  for await (const { value } of jsonLines(path))
    return Array.isArray(value) || (typeof value === 'object' && value !== null && hasQuery(Object.keys(value)))
  return false
}
