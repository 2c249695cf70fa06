/**
 * What an index consists of: one JSON file, replaced as a whole, that names files which never change. Whoever reads it has a
 * consistent state; what it does not name is a leftover of a writer that was cut off.
 */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { FormatError, typed } from '../errors.js'
import { writeAtomic } from '../io/atomic.js'
import { nearby } from '../io/nearby.js'
import { defaultRecipe, type Recipe, recipeHash } from '../text/recipe.js'
import { isProbe, type Probe } from './probe.js'
import { isResidual, type ResidualType } from './residual.js'

/** What token embeddings are stored as. */
export const storedTypes: readonly StoredEmbeddings[] = ['int8', 'float16', 'float32']
/** int8 with a scale for each token, float16 or float32. */
export type StoredEmbeddings = 'int8' | 'float16' | 'float32'

/** What an index stores token embeddings as. */
export const indexTypes: readonly IndexType[] = [...storedTypes, 'residual4', 'residual2']
/** `residual4` and `residual2`: int8 in segments without lists, in those with lists residual codes of so many bits a number. */
export type IndexType = StoredEmbeddings | ResidualType

/** What segments without lists hold, and what documents become before they are anything else. */
export const rowsOfType = (type: IndexType): StoredEmbeddings => (isResidual(type) ? 'int8' : type)

/** A file that never changes, as it was when it was written. */
export interface StoredFile {
  name: string
  bytes: number
  sha256: string
}

/** Documents that were added together. */
export interface SegmentEntry {
  /** Token embeddings, offsets and ids: a safetensors file. */
  vectors: StoredFile
  /** Texts and metadata, a line of JSON each; null where none was given. */
  texts: StoredFile | null
  /** Documents by centroid; null: the segment is small enough to be searched as a whole. */
  lists: StoredFile | null
  /** Which terms documents have, for BM25; null where some were added without a text. */
  words: StoredFile | null
  documents: number
  tokens: number
  /** Of residual codes: what they find of the best documents by the vectors that they were made of; null: they are none. */
  recall: number | null
  /** A bit for each deleted document, and how many there are; null: none. */
  deleted: (StoredFile & { count: number }) | null
}

/** How token vectors of a document become fewer, as `poolTokens` takes it. */
export interface Pooling {
  /** About one in so many is kept. */
  factor: number
  /** So many at the beginning of a document are kept as they are. */
  protectedTokens: number
}

/** How segments with lists are searched, and what of the exact hits that found when it was measured. */
export interface SearchSetting {
  /** Centroids that each query token looks behind; null: every document is scored. */
  probes: number | null
  /** Documents that are scored exactly; null as `probes`. */
  candidates: number | null
  /** Share of the exact hits that was found. */
  recall: number
  /** The share that was asked for. */
  target: number
  /** Hits of a query that were compared. */
  topK: number
  /** That were tried. */
  queries: number
  /** That the index had then. */
  documents: number
}

/** 2: centroids are int8 and lie in cells; segments say how well residual codes do. */
export const indexLayout = 2

export interface Manifest {
  /** Of this file's layout. */
  lateforgeIndex: typeof indexLayout
  /** Rises with every change. */
  generation: number
  /** Number of the next file: none is ever used again. */
  nextFile: number
  dim: number
  type: IndexType
  /** How texts became tokens; null for vectors from elsewhere. */
  recipe: Recipe | null
  /** How tokens of encoded documents are pooled; null: not at all. */
  pooling: Pooling | null
  /** Segments of so many tokens or more have lists. */
  listsFrom: number
  /** What `check` found out; null: nobody asked. */
  search: SearchSetting | null
  /** The model that was given when it was made, as a folder or a name; null where none was. */
  model: string | null
  /** Of that model; null where none was given. */
  probe: Probe | null
  segments: SegmentEntry[]
}

export const manifestFile = (dir: string): string => path.join(dir, 'index.json')

export const isCount = (n: unknown): boolean => Number.isSafeInteger(n) && (n as number) >= 0
export const isFile = (file: StoredFile | null): boolean =>
  typeof file?.name === 'string' &&
  /^\w[\w.-]*$/.test(file.name) &&
  isCount(file.bytes) &&
  /^[0-9a-f]{64}$/.test(file.sha256)

/**
 * The JSON of `dir`/`name`, whose `version` field says which layout it has.
 * @param what it is of, for messages
 * @throws FormatError ERR_FORMAT where there is none, or one that this version does not read
 */
export async function readLayout<M extends object>(
  dir: string,
  {
    name,
    what,
    version,
    layout,
    isSound,
  }: { name: string; what: string; version: keyof M; layout: number; isSound(manifest: M): boolean },
): Promise<M> {
  const file = path.join(dir, name)
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw typed(cause)
    throw new FormatError('ERR_FORMAT', `${dir} holds no ${what}${nearby(dir)}: it has no ${name}`, { dir }, { cause })
  }
  const bad = (problem: string, cause?: unknown) =>
    new FormatError('ERR_FORMAT', `${file} ${problem}`, { file }, { cause })
  let manifest: M
  try {
    manifest = JSON.parse(text)
  } catch (cause) {
    throw bad('is damaged: it holds no JSON', cause)
  }
  if (typeof manifest !== 'object' || manifest === null || !(version in manifest)) throw bad(`is of no ${what}`)
  if (manifest[version] !== layout)
    throw bad(
      `has layout ${JSON.stringify(manifest[version])}; this version of lateforge reads layout ${layout}. Make it again from its texts`,
    )
  if (!isSound(manifest)) throw bad('is damaged: a field has a value that it cannot have')
  return manifest
}

/** @throws FormatError ERR_FORMAT where there is no index, or one that this version does not read */
export function readManifest(dir: string): Promise<Manifest> {
  return readLayout<Manifest>(dir, {
    name: 'index.json',
    what: 'index',
    version: 'lateforgeIndex',
    layout: indexLayout,
    isSound,
  })
}

function isRecipe(recipe: Recipe): boolean {
  try {
    return typeof recipe === 'object' && recipeHash(defaultRecipe(recipe)) === recipeHash(recipe)
  } catch {
    return false
  }
}

const isShare = (n: unknown): boolean => typeof n === 'number' && n >= 0 && n <= 1

function isSetting(setting: SearchSetting): boolean {
  if (typeof setting !== 'object') return false
  const { probes, candidates, recall, target, topK, queries, documents } = setting
  const isFound = (probes === null && candidates === null) || [probes, candidates].every((n) => isCount(n) && n! > 0)
  return isFound && [recall, target].every(isShare) && [topK, queries, documents].every(isCount)
}

function isSound(manifest: Manifest): boolean {
  return (
    [manifest.generation, manifest.nextFile, manifest.dim, manifest.listsFrom].every(isCount) &&
    indexTypes.includes(manifest.type) &&
    (manifest.model === null || typeof manifest.model === 'string') &&
    (manifest.recipe === null || isRecipe(manifest.recipe)) &&
    (manifest.probe === null || (isProbe(manifest.probe) && manifest.probe.mean.length === manifest.dim)) &&
    (manifest.search === null || isSetting(manifest.search)) &&
    (manifest.pooling === null || (manifest.pooling?.factor >= 1 && isCount(manifest.pooling.protectedTokens))) &&
    Array.isArray(manifest.segments) &&
    manifest.segments.every(
      ({ vectors, texts, lists, words, documents, tokens, recall, deleted }) =>
        isFile(vectors) &&
        (texts === null || isFile(texts)) &&
        (lists === null || isFile(lists)) &&
        (words === null || isFile(words)) &&
        isCount(documents) &&
        isCount(tokens) &&
        (recall === null
          ? lists === null || !isResidual(manifest.type)
          : lists !== null && isResidual(manifest.type)) &&
        (recall === null || isShare(recall)) &&
        (deleted === null || (isFile(deleted) && isCount(deleted.count))),
    )
  )
}

export function writeManifest(dir: string, manifest: Manifest): Promise<void> {
  return writeAtomic(manifestFile(dir), [`${JSON.stringify(manifest, null, 1)}\n`])
}

/** The files that a state needs. */
export function filesOf({ segments }: Manifest): StoredFile[] {
  return segments.flatMap(({ vectors, texts, lists, words, deleted }) =>
    [vectors, texts, lists, words, deleted].filter((file) => file !== null),
  )
}
