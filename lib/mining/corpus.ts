import { jsonLines } from '../data/jsonl.js'
import { ParquetFile } from '../data/parquet.js'
import { hasQuery } from '../data/rows.js'
import { expandFiles, fileSource, type SourceOptions } from '../data/sources.js'
import { tableEntries } from '../data/table-files.js'
import { openDocuments } from '../eval/collections.js'
import { findCollections, isCollection } from '../eval/find.js'
import { checkOptions, func, signal, text } from '../options.js'

/** Documents to choose negatives from. */
export interface MiningCorpus {
  /** Their texts, read anew each time they are iterated. */
  texts: Iterable<string> | AsyncIterable<string>
  /** Columns of the files that no text comes from, once they were read. */
  unusedColumns: ReadonlySet<string>
}

/**
 * The documents of a BEIR folder, or of BEIR by name (`beir/scifact`); of files of ids and texts (.jsonl, .jsonl.gz, .parquet, .tsv); or all
 * those of rows of training.
 * @param path a folder, a name, a file, a pattern, or a data set of the Hub (`hf://datasets/…`)
 * @throws DataError ERR_DATA; HubError ERR_HUB for a data set that cannot be had
 */
export async function miningCorpus(path: string, options: SourceOptions = {}): Promise<MiningCorpus> {
  checkOptions('miningCorpus', options, { cacheDir: text, onProgress: func, signal })
  if (isCollection(path)) {
    const { collections } = await findCollections([path], options)
    const opened = await Promise.all(collections.map(({ folder }) => openDocuments(folder, options)))
    const texts = opened.map(({ documents }) => documents.texts)
    return { texts: chained(texts), unusedColumns: new Set(opened.flatMap(({ unusedFields }) => unusedFields)) }
  }
  const files = await expandFiles(path, options)
  const unusedColumns = new Set<string>()
  return { texts: { [Symbol.asyncIterator]: () => textsOf(files, unusedColumns, options) }, unusedColumns }
}

function chained(parts: readonly (Iterable<string> | AsyncIterable<string>)[]): AsyncIterable<string> {
  return {
    async *[Symbol.asyncIterator]() {
      for (const part of parts) yield* part
    },
  }
}

async function* textsOf(
  files: readonly string[],
  unusedColumns: Set<string>,
  { cacheDir }: SourceOptions,
): AsyncGenerator<string> {
  for (const file of files)
    if (await isRows(file))
      for await (const { documents, unused = [] } of fileSource(file, { cacheDir })) {
        for (const name of unused) unusedColumns.add(name)
        yield* documents
      }
    else for await (const entry of tableEntries(file, { titles: true }, unusedColumns)) yield entry.text
}

/** Whether a file has rows of training, and not ids and texts: there is a query. */
async function isRows(path: string): Promise<boolean> {
  if (/\.tsv(\.gz)?$/.test(path)) return false
  if (path.endsWith('.parquet')) {
    const file = await ParquetFile.open(path)
    try {
      return hasQuery(file.names)
    } finally {
      await file.close()
    }
  }
  for await (const { value } of jsonLines(path))
    return Array.isArray(value) || (typeof value === 'object' && value !== null && hasQuery(Object.keys(value)))
  return false
}
