/**
 * NanoBEIR: thirteen collections of BEIR with some 50 queries and a few thousand documents each, as
 * sentence-transformers' evaluators take them from the Hub. They are laid out as BEIR folders in the cache, once.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { defaultCacheDir } from '../data/cache.js'
import { type DataFilesOptions, resolveDataFiles } from '../hub/data-files.js'
import { counted, type OnProgress } from '../progress.js'
import { type BeirDocument, writeBeir } from './collections.js'
import { judgmentsOf, textsOf } from './tables.js'

/** With the configurations `corpus`, `queries` and `qrels`, each with a split for every collection. */
const DATA_SET = 'hf://datasets/sentence-transformers/NanoBEIR-en'

/** The collections, as the data set calls them. */
export const nanoBeirNames = [
  ...['NanoArguAna', 'NanoClimateFEVER', 'NanoDBPedia', 'NanoFEVER', 'NanoFiQA2018', 'NanoHotpotQA', 'NanoMSMARCO'],
  ...['NanoNFCorpus', 'NanoNQ', 'NanoQuoraRetrieval', 'NanoSCIDOCS', 'NanoSciFact', 'NanoTouche2020'],
] as const

/** How collections are fetched from the Hub, and where to. */
export interface FetchOptions extends Pick<DataFilesOptions, 'signal'> {
  /** Told how downloads stand, and how many documents are laid out. */
  onProgress?: OnProgress | undefined
  /** Default: the cache of tokenized data. */
  cacheDir?: string | undefined
}

/**
 * A collection as a BEIR folder, whose judgments are its split `test`. A document or query without text is left out, as
 * sentence-transformers does; a judgment without a grade has the grade 1.
 * @throws HubError ERR_HUB and others as `resolveDataFiles`; DataError ERR_DATA for files of another kind
 */
export async function nanoBeirFolder(name: string, options: FetchOptions = {}): Promise<string> {
  const { cacheDir = defaultCacheDir(), ...hub } = options
  const of = (config: string) => resolveDataFiles(DATA_SET, { config, split: name, ...hub })
  const { files: judged, revision } = await of('qrels')
  const folder = join(cacheDir, 'collections', `${name}-${revision.slice(0, 12)}`, name)
  if (existsSync(join(folder, 'qrels/test.tsv'))) return folder // which is written last
  const [corpus, asked] = [(await of('corpus')).files, (await of('queries')).files]
  const queries: BeirDocument[] = []
  for await (const query of withText(asked)) queries.push(query)
  const known = new Set(queries.map(({ id }) => id))
  const test = new Map([...(await judgmentsOf(judged))].filter(([query]) => known.has(query)))
  await writeBeir(folder, { documents: laidOut(name, withText(corpus), hub.onProgress), queries, qrels: { test } })
  return folder
}

/** Documents of a collection that is written as a folder. */
export const laidOut = (
  name: string,
  documents: AsyncIterable<BeirDocument>,
  onProgress: OnProgress | undefined,
): AsyncIterable<BeirDocument> => counted(documents, { stage: 'writing', name, unit: 'documents' }, onProgress)

async function* withText(files: readonly string[]): AsyncGenerator<BeirDocument> {
  for await (const entry of textsOf(files)) if (entry.text.length > 0) yield entry
}
