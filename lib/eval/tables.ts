/** Collections that are tables, as those of the Hub: laid out as BEIR folders. */
import { jsonLines } from '../data/jsonl.js'
import { ParquetFile } from '../data/parquet.js'
import { tableEntries } from '../data/table-files.js'
import { DataError } from '../errors.js'
import { lineBatches } from '../io/lines.js'
import type { Qrels } from '../retrieval/metrics.js'
import type { BeirDocument } from './collections.js'

/** The texts of files of `_id`, `text` and perhaps `title`, which comes before the text. */
export async function* textsOf(files: readonly string[]): AsyncGenerator<BeirDocument> {
  for (const file of files)
    for await (const { id, text } of tableEntries(file, { titles: true }, new Set())) yield { id, text }
}

/**
 * The judgments of files with rows `query-id`, `corpus-id` (an id or a list of them) and perhaps `score`, whose default
 * is 1. Of a pair that is judged twice the last one counts, as to BEIR's own loader.
 * @throws DataError ERR_DATA for other rows
 */
export async function judgmentsOf(files: readonly string[]): Promise<Qrels> {
  const qrels = new Map<string, Map<string, number>>()
  for (const file of files)
    for await (const row of rows(file)) {
      const { 'query-id': query, 'corpus-id': documents, score = 1 } = row
      const list = Array.isArray(documents) ? documents : [documents]
      if (!isId(query) || !list.every(isId) || !Number.isInteger(Number(score)))
        throw new DataError('ERR_DATA', `${file}: a judgment needs query-id, corpus-id and a whole score`, {
          file,
          row,
        })
      const own = qrels.get(String(query)) ?? new Map<string, number>()
      qrels.set(String(query), own)
      for (const document of list) own.set(String(document), Number(score))
    }
  return qrels
}

const isId = (value: unknown): boolean => ['string', 'number', 'bigint'].includes(typeof value)

async function* rows(file: string): AsyncGenerator<Record<string, unknown>> {
  if (file.endsWith('.tsv')) {
    yield* tsvRows(file)
    return
  }
  if (!file.endsWith('.parquet')) {
    for await (const { value } of jsonLines(file)) yield value as Record<string, unknown>
    return
  }
  const parquet = await ParquetFile.open(file)
  try {
    for await (const group of parquet.rows(parquet.names)) yield* group
  } finally {
    await parquet.close()
  }
}

/** The first line has the names of the columns. */
async function* tsvRows(file: string): AsyncGenerator<Record<string, string>> {
  let names: string[] | undefined
  for await (const lines of lineBatches(file))
    for (const line of lines.filter((line) => line !== '')) {
      const cells = line.split('\t')
      names ??= cells
      if (cells.length !== names.length)
        throw new DataError('ERR_DATA', `${file}: ${JSON.stringify(line)}; expected ${names.join(', ')} between tabs`, {
          file,
        })
      if (cells !== names) yield Object.fromEntries(cells.map((cell, i) => [names![i]!, cell]))
    }
}
