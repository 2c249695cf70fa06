/** Collections by where they are: folders, patterns of folders, and names of NanoBEIR and BEIR. */
import { existsSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { ArgumentError, DataError, didYouMean, HubError, nearest } from '../errors.js'
import { checkOptions, func, type Kinds, required, signal, strings, text } from '../options.js'
import { beirFolder, beirNames, beirParts, beirSplit, privateBeirNames } from './beir.js'
import { beirFolders, isBeirFolder } from './collections.js'
import { type FetchOptions, nanoBeirFolder, nanoBeirNames } from './nanobeir.js'
import type { MissingCollection } from './report.js'

/** A collection that was found. */
export interface FoundCollection {
  /** Unique among those found together: the last part of its path, and as many before it as tell it from the others. */
  readonly name: string
  /** Its BEIR folder. */
  readonly folder: string
  /** Which of its splits is meant. */
  readonly split: string
  /** The set that it belongs to, which counts as one in a mean: `cqadupstack`, for a forum of it. */
  readonly set?: string
}

/** What `findCollections` finds. */
export interface FoundCollections {
  /** In the order of the places. */
  readonly collections: readonly FoundCollection[]
  /** What of `beir` cannot be had. */
  readonly missing: readonly MissingCollection[]
}

/** Options of `findCollections`. */
export interface FindOptions extends FetchOptions {
  /** The split of all. Default: that of `folderSplit`, or by which BEIR and NanoBEIR compare systems. */
  split?: string | undefined
  /** Default `test`. */
  folderSplit?: string | undefined
}

const findOptions: Kinds<FindOptions> = {
  split: text,
  folderSplit: text,
  cacheDir: text,
  onProgress: func,
  signal,
}

/**
 * The collections at places, each of which is a BEIR folder, a folder of them, a pattern of folders, or a name: `nanobeir`
 * or one of its collections (`NanoSciFact`), `beir` or one of its (`beir/scifact`), which are fetched from the Hub unless
 * there is a folder of that name.
 * @throws DataError ERR_DATA for a place without a collection; ArgumentError ERR_ARGUMENT for one that is given twice, and
 *   for a split where all have but one; HubError ERR_HUB and others as `nanoBeirFolder` and `beirFolder`
 */
export async function findCollections(places: readonly string[], options: FindOptions = {}): Promise<FoundCollections> {
  checkOptions('findCollections', options, findOptions)
  required('findCollections', 'places', places, strings)
  const { split, folderSplit = 'test', ...fetching } = options
  const names = places.map((place) => ({ place, nano: nanoBeirOf(place), beir: beirOf(place) }))
  if (split !== undefined && names.length > 0 && names.every(({ nano }) => nano))
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `split has no effect on ${places.join(', ')}, which has one split; leave it out`,
      {
        option: 'split',
      },
    )
  const found: Omit<FoundCollection, 'name'>[] = []
  const missing: MissingCollection[] = []
  for (const { place, nano, beir } of names)
    if (nano) for (const name of nano) found.push({ folder: await nanoBeirFolder(name, fetching), split: 'test' })
    else if (beir)
      for (const name of beir)
        for (const folder of await fetched(name, fetching, beir.length > 1 ? missing : undefined))
          found.push({ folder, split: split ?? splitOf(folder, 'test'), ...setOf(folder) })
    else
      for (const folder of await foldersOf(place))
        found.push({ folder, split: split ?? splitOf(folder, folderSplit), ...setOf(folder) })
  if (found.length === 0)
    throw new DataError('ERR_DATA', `no collection of ${places.join(', ') || 'no places'} can be had`, { missing })
  if (names.some(({ place }) => place.toLowerCase() === BEIR && !existsSync(place)))
    missing.push(...privateBeirNames.map((name) => ({ name, reason: 'not public' })))
  const unique = namesOf(found)
  // The parts of one set alone are collections like any others.
  const isOneSet = found.every(({ set }) => set !== undefined && set === found[0]!.set)
  const collections = found.map(({ folder, split, set }, i) => ({
    ...{ name: unique[i]!, folder, split },
    ...(set !== undefined && !isOneSet && { set }),
  }))
  return { collections, missing }
}

const BEIR = 'beir'

/** Whether a place is a BEIR folder, or a name of BEIR, whose documents and judgments are of use beside evaluation. */
export function isCollection(place: string): boolean {
  return isBeirFolder(place) || beirOf(place) !== null
}

/** The collections that a name stands for, `nanobeir` for all of them; null for any other text, or a folder of that name. */
function nanoBeirOf(place: string): readonly string[] | null {
  if (existsSync(place)) return null
  const wanted = place.toLowerCase()
  if (wanted === 'nanobeir') return nanoBeirNames
  const one = nanoBeirNames.find((known) => known.toLowerCase() === wanted)
  return one ? [one] : null
}

/** The same of `beir`, and `beir/scifact` or `beir/cqadupstack/android` for one. @throws DataError ERR_DATA for another one */
function beirOf(place: string): readonly string[] | null {
  if (existsSync(place) || /[*?]|\/$/.test(place)) return null
  const [first, ...rest] = place.toLowerCase().split('/')
  if (first !== BEIR) return null
  const name = rest.join('/')
  const all = beirNames.flatMap((each) => [each, ...beirParts(each)])
  if (name === '') return beirNames
  if (all.includes(name)) return [name]
  const isPrivate = (privateBeirNames as readonly string[]).includes(name)
  throw new DataError(
    'ERR_DATA',
    isPrivate
      ? `${place} is not public. BEIR says how to make it; give the folder then`
      : `${place} is no folder, and BEIR has no collection "${name}"; ${didYouMean(name, beirNames)}`,
    { name },
  )
}

/** The folders of a collection of BEIR. What may not be read is put into `missing`, if there is one. */
async function fetched(
  name: string,
  options: FetchOptions,
  missing: MissingCollection[] | undefined,
): Promise<string[]> {
  const folders: string[] = []
  try {
    for (const part of beirParts(name)) folders.push(await beirFolder(part, options))
    return folders
  } catch (error) {
    const reason = error instanceof HubError ? reasons[String(error.details.reason)] : undefined
    if (!missing || reason === undefined) throw error
    missing.push({ name, reason })
    return []
  }
}

const reasons: Readonly<Record<string, string>> = {
  gated: 'access has to be granted on its page at the Hub',
  repository: 'the Hub has none, or it is private',
  forbidden: 'the Hub does not allow it',
}

async function foldersOf(place: string): Promise<string[]> {
  try {
    return await beirFolders(place)
  } catch (error) {
    const names = ['nanobeir', BEIR, ...nanoBeirNames]
    const near = existsSync(place) ? undefined : nearest(place, names)
    if (near === undefined || !(error instanceof DataError)) throw error
    throw new DataError('ERR_DATA', `${error.message} Did you mean "${near}"?`, { ...error.details })
  }
}

/** The forums of CQADupStack are one collection of BEIR. */
function setOf(folder: string): { set?: string } {
  const above = basename(dirname(resolve(folder)))
  return (beirNames as readonly string[]).includes(above) && beirParts(above).length > 1 ? { set: above } : {}
}

/** What BEIR compares by, where the folder is one of its collections that has that split. */
function splitOf(folder: string, fallback: string): string {
  const own = beirSplit(basename(resolve(folder)))
  return own !== 'test' && existsSync(join(folder, 'qrels', `${own}.tsv`)) ? own : fallback
}

/** The last part of each path, with the set before it, and as many before as tell folders apart: x/nq and y/nq, but hotpotqa. */
function namesOf(found: readonly Omit<FoundCollection, 'name'>[]): string[] {
  const paths = found.map(({ folder }) => resolve(folder))
  const twice = paths.find((path, i) => paths.indexOf(path) < i)
  if (twice !== undefined) throw new ArgumentError('ERR_ARGUMENT', `${twice} is given twice`, { folder: twice })
  const depths = found.map(({ set }) => (set === undefined ? 1 : 2))
  const nameAt = (i: number): string => paths[i]!.split(/[\\/]/).slice(-depths[i]!).join('/')
  for (;;) {
    const names = paths.map((_, i) => nameAt(i))
    const shared = names.flatMap((name, i) => (names.some((other, j) => j !== i && other === name) ? [i] : []))
    if (shared.length === 0) return names
    for (const i of shared) depths[i]!++
  }
}
