/**
 * NanoBEIR by name: thirteen collections of BEIR with some 50 queries and a few thousand documents each, as
 * sentence-transformers' evaluators take them from the Hub. They are laid out as BEIR folders in the cache, once.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { defaultCacheDir } from '../data/cache.js'
import { jsonLines } from '../data/jsonl.js'
import { ParquetFile } from '../data/parquet.js'
import { tableEntries } from '../data/table-files.js'
import { DataError } from '../errors.js'
import { type DataFilesOptions, resolveDataFiles } from '../hub/data-files.js'
import { type BeirDocument, writeBeir } from './collections.js'

/** With the configurations `corpus`, `queries` and `qrels`, each with a split for every collection. */
const DATA_SET = 'hf://datasets/sentence-transformers/NanoBEIR-en'

/** The collections, as the data set calls them. */
export const nanoBeirNames = [
  ...['NanoArguAna', 'NanoClimateFEVER', 'NanoDBPedia', 'NanoFEVER', 'NanoFiQA2018', 'NanoHotpotQA', 'NanoMSMARCO'],
  ...['NanoNFCorpus', 'NanoNQ', 'NanoQuoraRetrieval', 'NanoSCIDOCS', 'NanoSciFact', 'NanoTouche2020'],
] as const

/** The collections that a name stands for, `nanobeir` for all of them; null for any other text, or a folder of that name. */
export function nanoBeirOf(name: string): readonly string[] | null {
  if (existsSync(name)) return null
  const wanted = name.toLowerCase()
  if (wanted === 'nanobeir') return nanoBeirNames
  const one = nanoBeirNames.find((known) => known.toLowerCase() === wanted)
  return one ? [one] : null
}

/** What of a data set is fetched, and where to. */
export interface NanoBeirOptions extends Pick<DataFilesOptions, 'onProgress' | 'signal'> {
  /** Default: the cache of tokenized data. */
  cacheDir?: string | undefined
}

/**
 * A collection as a BEIR folder, whose judgments are its split `test`. A document or query without text is left out, as
 * sentence-transformers does; a judgment without a grade has the grade 1.
 * @throws HubError ERR_HUB and others as `resolveDataFiles`; DataError ERR_DATA for files of another kind
 */
export async function nanoBeirFolder(name: string, options: NanoBeirOptions = {}): Promise<string> {
  const { cacheDir = defaultCacheDir(), ...hub } = options
  const of = (config: string) => resolveDataFiles(DATA_SET, { config, split: name, ...hub })
  const { files: judged, revision } = await of('qrels')
  const folder = join(cacheDir, 'collections', `${name}-${revision.slice(0, 12)}`, name)
  if (existsSync(join(folder, 'qrels/test.tsv'))) return folder // which is written last
  const [corpus, asked] = [(await of('corpus')).files, (await of('queries')).files]
  const queries: BeirDocument[] = []
  for await (const query of texts(asked)) queries.push(query)
  const known = new Set(queries.map(({ id }) => id))
  const qrels = new Map<string, Map<string, number>>()
  for await (const { query, document, grade } of judgments(judged)) {
    if (!known.has(query)) continue
    const own = qrels.get(query)
    if (own) own.set(document, grade)
    else qrels.set(query, new Map([[document, grade]]))
  }
  await writeBeir(folder, { documents: texts(corpus), queries, qrels: { test: qrels } })
  return folder
}

async function* texts(files: readonly string[]): AsyncGenerator<BeirDocument> {
  for (const file of files)
    for await (const { id, text } of tableEntries(file, { titles: true }, new Set()))
      if (text.length > 0) yield { id, text }
}

/** Rows `query-id`, `corpus-id` (an id or a list of them) and perhaps `score`. */
async function* judgments(
  files: readonly string[],
): AsyncGenerator<{ query: string; document: string; grade: number }> {
  for (const file of files)
    for await (const row of rows(file)) {
      const { 'query-id': query, 'corpus-id': documents, score = 1 } = row
      const list = Array.isArray(documents) ? documents : [documents]
      if (!isId(query) || !list.every(isId) || !Number.isInteger(Number(score)))
        throw new DataError('ERR_DATA', `${file}: a judgment needs query-id, corpus-id and a whole score`, {
          file,
          row,
        })
      for (const document of list) yield { query: String(query), document: String(document), grade: Number(score) }
    }
}

const isId = (value: unknown): boolean => ['string', 'number', 'bigint'].includes(typeof value)

async function* rows(file: string): AsyncGenerator<Record<string, unknown>> {
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
