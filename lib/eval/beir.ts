/**
 * BEIR (Thakur et al. 2021): the collections that its authors have put on the Hub, corpus and queries in `BeIR/NAME`,
 * judgments in `BeIR/NAME-qrels`. They are laid out as BEIR folders in the cache, once.
 */
import { existsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { defaultCacheDir } from '../data/cache.js'
import { DataError } from '../errors.js'
import { resolveDataFiles } from '../hub/data-files.js'
import { Repository } from '../hub/repository.js'
import type { Qrels } from '../retrieval/metrics.js'
import { type BeirDocument, writeBeir } from './collections.js'
import { type FetchOptions, laidOut } from './nanobeir.js'
import { judgmentsOf, textsOf } from './tables.js'

/** The collections, as BEIR calls them. CQADupStack is the mean of its forums. */
export const beirNames = [
  ...['msmarco', 'trec-covid', 'nfcorpus', 'nq', 'hotpotqa', 'fiqa', 'arguana', 'webis-touche2020', 'cqadupstack'],
  ...['quora', 'dbpedia-entity', 'scidocs', 'fever', 'climate-fever', 'scifact'],
] as const

/** Collections of BEIR that may not be handed on; BEIR says how to make them. */
export const privateBeirNames = ['bioasq', 'signal1m', 'trec-news', 'robust04'] as const

const CQADUPSTACK = 'cqadupstack'
const forums = [
  ...['android', 'english', 'gaming', 'gis', 'mathematica', 'physics'],
  ...['programmers', 'stats', 'tex', 'unix', 'webmasters', 'wordpress'],
]

/** The parts that a collection consists of: `cqadupstack/android` and so on, for any other itself. */
export const beirParts = (name: string): string[] =>
  name === CQADUPSTACK ? forums.map((forum) => `${CQADUPSTACK}/${forum}`) : [name]

/** The split by which BEIR compares systems: that of MS MARCO has 6,980 queries, its `test` 43. */
export const beirSplit = (name: string): string => (name === 'msmarco' ? 'dev' : 'test')

/**
 * A collection, or a part of one, as a BEIR folder with all its splits.
 * @param name as `scifact` or `cqadupstack/android`
 * @throws HubError ERR_HUB and others as `Repository`; DataError ERR_DATA for files of another kind
 */
export async function beirFolder(name: string, options: FetchOptions = {}): Promise<string> {
  const { cacheDir = defaultCacheDir(), ...hub } = options
  const forum = dirname(name) === '.' ? '' : `${basename(name)}/`
  const id = `BeIR/${forum ? dirname(name) : name}`
  const texts = await Repository.open({ type: 'dataset', name: id }, hub)
  const judged = await Repository.open({ type: 'dataset', name: `${id}-qrels` }, hub)
  const revision = [texts, judged].map(({ commit }) => commit.slice(0, 12)).join('-')
  const folder = join(cacheDir, 'collections', `beir-${revision}`, ...name.split('/'))
  const main = beirSplit(name)
  if (existsSync(join(folder, 'qrels', `${main}.tsv`))) return folder // which is written last
  const own = [...judged.files.keys()].filter(
    (path) => path.startsWith(forum) && /^[^/]+\.tsv$/.test(path.slice(forum.length)),
  )
  const splits = own.map((path) => basename(path, '.tsv')).sort((a, b) => Number(a === main) - Number(b === main))
  if (!splits.includes(main))
    throw new DataError(
      'ERR_DATA',
      `data set ${id}-qrels has no ${forum}${main}.tsv. It has ${own.join(', ') || 'no judgments'}`,
      { name: `${id}-qrels`, found: own },
    )
  const at = await judged.fetch(own)
  const qrels: Record<string, Qrels> = {}
  for (const split of splits) qrels[split] = await judgmentsOf([join(at, `${forum}${split}.tsv`)])
  const of = async (table: string): Promise<string[]> =>
    (await resolveDataFiles(`hf://datasets/${id}@${texts.commit}/${forum}**/${table}*`, hub)).files
  const queries: BeirDocument[] = []
  for await (const query of textsOf(await of('queries'))) queries.push(query)
  const documents = laidOut(`beir/${name}`, textsOf(await of('corpus')), hub.onProgress)
  await writeBeir(folder, { documents, queries, qrels }, { gzip: true }) // the largest has gigabytes
  return folder
}
