/** Collections that verbs are given by folder or name. What reads them is loaded when there are some. */
import type { Collection } from '../eval/collections.js'
import type { FindOptions, FoundCollection } from '../eval/find.js'
import { colour } from './common.js'
import { showing } from './progress.js'

interface Opening {
  /** Documents stay in their file. */
  stream?: boolean
  /** Shows how the work stands, and says what is missing and not used. Default true. */
  aloud?: boolean
}

const say = (text: string, aloud: boolean): void => {
  if (aloud) process.stderr.write(`${colour('dim', text)}\n`)
}

/** The collections at places; what cannot be had is named on standard error. Errors as `findCollections`. */
export async function foundAt(
  places: readonly string[],
  { aloud = true, ...options }: Omit<FindOptions, 'onProgress'> & Pick<Opening, 'aloud'>,
): Promise<readonly FoundCollection[]> {
  const { findCollections } = await import('../eval/find.js')
  const { collections, missing } = await showing(
    (onProgress) => findCollections(places, { ...options, onProgress }),
    aloud,
  )
  for (const { name, reason } of missing) say(`${name} is missing: ${reason}`, aloud)
  return collections
}

/** A collection by the name that it was found by; what of it is not used is said on standard error. Errors as `loadBeir`. */
export async function opened(
  { name, folder, split }: FoundCollection,
  { stream = false, aloud = true }: Opening = {},
): Promise<Collection> {
  const { collectionNotes, loadBeir } = await import('../eval/collections.js')
  const loaded = await showing((onProgress) => loadBeir(folder, { split, stream, onProgress }), aloud)
  for (const note of collectionNotes(loaded.counts)) say(`${name}: ${note}`, aloud)
  return { ...loaded, name } as Collection
}
