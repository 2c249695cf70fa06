/**
 * Documents encoded once, for whatever comes after: shards of token embeddings in a folder, each one file that other tools read,
 * and one JSON file that says what they are.
 */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { ArgumentError, FormatError, typed } from '../errors.js'
import { writeAtomic } from '../io/atomic.js'
import { checkOptions, checkPath, flag, type Kinds, object, signal as signalKind } from '../options.js'
import { offsetsOf, rangesOf } from '../ragged.js'
import type { EmbeddingData, Embeddings } from '../retrieval/embeddings.js'
import { Device } from '../tensor/device.js'
import type { Recipe } from '../text/recipe.js'
import { abortIf, Turns } from '../turns.js'
import {
  isCount,
  isFile,
  type Pooling,
  readLayout,
  type SegmentEntry,
  type StoredEmbeddings,
  storedTypes,
} from './manifest.js'
import { verifyOptions } from './options.js'
import { isProbe, type Probe } from './probe.js'
import { type EncodedPart, type Kept, Segment, type VerifyOptions, verifyFiles } from './segment.js'

/** A shard: the vectors, offsets and ids of its documents, and what is kept beside them. */
export interface ShardEntry extends Pick<SegmentEntry, 'vectors' | 'texts' | 'documents' | 'tokens'> {
  /** Texts that were longer than the recipe takes. */
  truncated: number
  /** SHA-256 of what was encoded. */
  source: string
}

/** What decides the bytes of the shards: whoever goes on has to say the same. */
export interface EncodedSettings {
  /** Of a token vector. */
  dim: number
  /** What token vectors are stored as. */
  type: StoredEmbeddings
  /** How texts became tokens. */
  recipe: Recipe
  /** How token vectors of a document were made fewer; null: not at all. */
  pooling: Pooling | null
  /** Whether texts are kept. */
  keepTexts: boolean
  /** A shard is closed by the documents that reach so many tokens. */
  shardTokens: number
}

export interface EncodedManifest extends EncodedSettings {
  /** Of this file's layout. */
  lateforgeEncoded: 1
  /** Whether all documents are there. */
  complete: boolean
  /** As the model was called; null where nobody said. */
  model: string | null
  /** Of the model: other weights, or another precision, have another. */
  probe: Probe
  shards: ShardEntry[]
}

const name = 'encoded.json'

/** @throws FormatError ERR_FORMAT where there are no encoded documents, or of a layout that this version does not read */
export function readEncoded(dir: string): Promise<EncodedManifest> {
  return readLayout<EncodedManifest>(dir, {
    name,
    what: 'encoded documents',
    version: 'lateforgeEncoded',
    layout: 1,
    isSound,
  })
}

function isSound(manifest: EncodedManifest): boolean {
  const { dim, shardTokens, type, complete, keepTexts, recipe, probe, shards } = manifest
  return (
    [dim, shardTokens].every(isCount) &&
    storedTypes.includes(type) &&
    [complete, keepTexts].every((value) => typeof value === 'boolean') &&
    object.is(recipe) &&
    isProbe(probe) &&
    Array.isArray(shards) &&
    shards.every(
      ({ vectors, texts, documents, tokens, truncated, source }) =>
        isFile(vectors) &&
        (texts === null || isFile(texts)) &&
        [documents, tokens, truncated].every(isCount) &&
        typeof source === 'string',
    )
  )
}

/** Whether a folder holds encoded documents, complete or not. */
export const isEncoded = (dir: string): boolean => existsSync(path.join(dir, name))

export function writeEncoded(dir: string, manifest: EncodedManifest): Promise<void> {
  return writeAtomic(path.join(dir, name), [`${JSON.stringify(manifest, null, 1)}\n`])
}

/** What encoded documents are. */
export interface EncodedInfo extends EncodedSettings {
  /** Number of documents. */
  documents: number
  /** Their token vectors. */
  tokens: number
  /** Texts that were longer than the recipe takes; their ends were cut off. */
  truncated: number
  /** Number of files of vectors. */
  shards: number
  /** Of all files. */
  bytes: number
  /** As the model was called; null where nobody said. */
  model: string | null
}

export function infoOf({
  shards,
  dim,
  type,
  recipe,
  pooling,
  keepTexts,
  shardTokens,
  model,
}: EncodedManifest): EncodedInfo {
  const sum = (of: (shard: ShardEntry) => number) => shards.reduce((total, shard) => total + of(shard), 0)
  return {
    documents: sum(({ documents }) => documents),
    tokens: sum(({ tokens }) => tokens),
    truncated: sum(({ truncated }) => truncated),
    shards: shards.length,
    bytes: sum(({ vectors, texts }) => vectors.bytes + (texts?.bytes ?? 0)),
    ...{ dim, type, recipe, pooling, keepTexts, shardTokens, model },
  }
}

/** Options of `EncodedDocuments.parts`. */
export interface PartsOptions {
  /** Gives each part what was kept of its documents: texts, where they were, and metadata. Default false. */
  withTexts?: boolean
  /** Ends it, with ERR_ABORTED. */
  signal?: AbortSignal
}

const partsOptions: Kinds<PartsOptions> = { withTexts: flag, signal: signalKind }

/** Token rows of a part: 8 MiB as float16 of 128 dimensions. */
const partRows = 1 << 15

/** Where a document lies: which shard, and its number there. */
type Place = readonly [shard: number, document: number]

/**
 * Encoded documents in a folder, which nothing is read of before it is asked for. As a stream (`for await`) it gives parts of some
 * thousand token vectors, in order: what `model.search` and `Index.addEmbeddings` take. It holds no files open between calls.
 */
export class EncodedDocuments implements AsyncIterable<Embeddings<'document', EmbeddingData>> {
  /** Its folder. */
  readonly dir: string
  private readonly manifest: EncodedManifest
  /** Where each document lies, once somebody has asked for one. */
  private places: Promise<ReadonlyMap<string, Place>> | null = null

  private constructor(dir: string, manifest: EncodedManifest) {
    this.dir = dir
    this.manifest = manifest
  }

  /**
   * Opens what `encodeCorpus` has written.
   * @throws FormatError ERR_FORMAT where there is none, a damaged one, or one that is not complete
   */
  static async open(dir: string): Promise<EncodedDocuments> {
    checkPath('EncodedDocuments.open', dir)
    const manifest = await readEncoded(dir)
    if (manifest.complete) return new EncodedDocuments(dir, manifest)
    const { documents } = infoOf(manifest)
    throw new FormatError(
      'ERR_FORMAT',
      `${dir} is not complete: it has ${documents} documents so far. Encode the same documents into it again, and it goes on`,
      { dir, documents },
    )
  }

  /** What it holds. */
  get info(): EncodedInfo {
    return infoOf(this.manifest)
  }

  /** As `parts()`. */
  [Symbol.asyncIterator](): AsyncGenerator<EncodedPart> {
    return this.parts()
  }

  /**
   * All documents in order, some at a time, with their ids.
   * @throws FormatError ERR_FORMAT for a damaged file; AbortedError ERR_ABORTED
   */
  parts(options: PartsOptions = {}): AsyncGenerator<EncodedPart> {
    checkOptions('parts', options, partsOptions)
    return this.read(options)
  }

  private async *read({ withTexts = false, signal }: PartsOptions): AsyncGenerator<EncodedPart> {
    for (const shard of this.manifest.shards.keys()) {
      const segment = await this.open(shard)
      try {
        for (const range of rangesOf(segment.embeddings.offsets, { rows: partRows })) {
          abortIf(signal)
          const embeddings = await segment.embeddings.download(range)
          const numbers = Array.from({ length: range.last - range.first }, (_, i) => range.first + i)
          const ids = numbers.map((document) => segment.id(document))
          if (!withTexts) yield { ...embeddings, ids }
          else {
            const kept: Kept[] = []
            for (const document of numbers) kept.push(await segment.kept(document))
            yield { ...embeddings, ids, kept }
          }
        }
      } finally {
        await segment.close()
      }
    }
  }

  /**
   * Embeddings of some documents, in the order of `ids`, to rerank what something else has found. Reads all ids the first time.
   * @throws ArgumentError ERR_ARGUMENT for an id that is not there
   */
  async embeddings(ids: readonly string[]): Promise<Embeddings<'document', EmbeddingData>> {
    const found: Embeddings<'document', EmbeddingData>[] = []
    await this.visit(ids, async (segment, document, at) => {
      found[at] = await segment.embeddings.download({ first: document, last: document + 1 })
    })
    const { dim, recipe, type } = this.manifest
    const lengths = found.map(({ offsets }) => offsets[1]!)
    const offsets = offsetsOf(lengths)
    const rows = offsets.at(-1)!
    const data = new { float32: Float32Array, float16: Uint16Array, int8: Int8Array }[type](rows * dim)
    const scales = type === 'int8' ? new Float32Array(rows) : undefined
    for (const [i, part] of found.entries()) {
      data.set(part.data, offsets[i]! * dim)
      scales?.set(part.scales!, offsets[i])
    }
    return { data, ...(scales && { scales }), offsets, dim, role: 'document', recipe, ids }
  }

  /**
   * What was kept of some documents, in the order of `ids`. Reads all ids the first time.
   * @throws ArgumentError ERR_ARGUMENT for an id that is not there
   */
  async kept(ids: readonly string[]): Promise<Kept[]> {
    const found: Kept[] = []
    await this.visit(ids, async (segment, document, at) => {
      found[at] = await segment.kept(document)
    })
    return found
  }

  /**
   * Reads every file and compares it with what was written.
   * @throws FormatError ERR_FORMAT that names the first file that differs
   */
  async verify(options: VerifyOptions = {}): Promise<void> {
    checkOptions('verify', options, verifyOptions)
    const files = this.manifest.shards.flatMap(({ vectors, texts }) => (texts ? [vectors, texts] : [vectors]))
    await verifyFiles(this.dir, files, options).catch((error) => {
      throw typed(error)
    })
  }

  private async open(shard: number): Promise<Segment> {
    const entry = { ...this.manifest.shards[shard]!, lists: null, words: null, recall: null, deleted: null }
    try {
      return await Segment.open(Device.open('cpu'), this.dir, entry, this.manifest)
    } catch (error) {
      throw typed(error)
    }
  }

  /** Calls `each` with every document of a list, shard by shard; `at` is its place in the list. */
  private async visit(
    ids: readonly string[],
    each: (segment: Segment, document: number, at: number) => Promise<void>,
  ): Promise<void> {
    this.places ??= this.placesOfAll()
    const places = await this.places
    const wanted = ids.map((id, at) => {
      const place = places.get(id)
      if (!place) throw new ArgumentError('ERR_ARGUMENT', `${this.dir} has no document "${id}"`, { id })
      return { shard: place[0], document: place[1], at }
    })
    for (const number of new Set(wanted.map(({ shard }) => shard))) {
      const segment = await this.open(number)
      try {
        for (const { shard, document, at } of wanted) if (shard === number) await each(segment, document, at)
      } finally {
        await segment.close()
      }
    }
  }

  private async placesOfAll(): Promise<ReadonlyMap<string, Place>> {
    const places = new Map<string, Place>()
    const turns = new Turns()
    for (const shard of this.manifest.shards.keys()) {
      const segment = await this.open(shard)
      try {
        for (let document = 0; document < segment.documents; document++) {
          places.set(segment.id(document), [shard, document])
          if (turns.due) await turns.take()
        }
      } finally {
        await segment.close()
      }
    }
    return places
  }
}
