/** Documents encoded some at a time: a group depends on its own documents alone, so whoever goes on from one has the same bits. */
import type { Colbert } from '../models/colbert.js'
import type { Embeddings } from '../retrieval/embeddings.js'
import { poolTokens } from '../retrieval/pool.js'
import { abortIf } from '../turns.js'
import type { Pooling } from './manifest.js'
import { checkDocument, type IndexDocument } from './options.js'

/** Documents of a group, and UTF-16 units of their texts: about 128 MiB of token vectors at most. */
const most = { documents: 256, units: 1 << 20 }

export interface Group {
  documents: IndexDocument[]
  embeddings: Embeddings<'document'>
}

/**
 * Groups in order. While one is encoded the documents of the next are read and become tokens, and no more than that. Documents
 * that `skips` names are left out.
 * @throws ArgumentError ERR_ARGUMENT for what is no document; AbortedError ERR_ABORTED
 */
export async function* encodedGroups(
  model: Colbert,
  documents: Iterable<IndexDocument> | AsyncIterable<IndexDocument>,
  {
    pooling,
    skips = () => false,
    signal,
  }: { pooling: Pooling | null; skips?: (document: IndexDocument) => boolean; signal: AbortSignal | undefined },
): AsyncGenerator<Group> {
  const encoded = async (group: IndexDocument[]): Promise<Group> => {
    const texts = group.map(({ text }) => text)
    const embeddings = await model.encodeDocuments(texts, signal && { signal })
    return { documents: group, embeddings: pooling ? await poolTokens(embeddings, pooling) : embeddings }
  }
  let ahead: Promise<Group> | null = null
  const begun = (group: IndexDocument[]) => {
    const made = encoded(group)
    made.catch(() => {}) // awaited later, unless the group before it failed
    return made
  }
  let waiting: IndexDocument[] = []
  let units = 0
  for await (const document of documents) {
    abortIf(signal)
    if (skips(checkDocument(document))) continue
    waiting.push(document)
    units += document.text.length
    if (waiting.length < most.documents && units < most.units) continue
    const next = begun(waiting)
    waiting = []
    units = 0
    if (ahead) yield await ahead
    ahead = next
  }
  const last = waiting.length > 0 ? begun(waiting) : null
  if (ahead) yield await ahead
  if (last) yield await last
}
