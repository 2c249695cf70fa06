import { createInterface } from 'node:readline'
import { DataError } from '../errors.js'
import { collectionNotes, listed, textsAt } from '../eval/collections.js'
import { EncodedDocuments, isEncoded } from '../indexing/encoded.js'
import type { Colbert } from '../models/colbert.js'
import type { OnProgress, Progress } from '../progress.js'
import type { EmbeddingData, Embeddings } from '../retrieval/embeddings.js'
import type { Hit } from '../retrieval/search.js'
import { colour, interruptible, print, printJson } from './common.js'
import { openCorpus } from './corpus.js'
import { loadModel, type ModelOptions } from './model.js'
import { showing } from './progress.js'

/** `lateforge search <model> <corpus> [queries…]`: documents pass through memory once, and those found a second time. */
export async function search(
  modelPath: string,
  corpusPath: string,
  given: readonly string[],
  options: ModelOptions & { topK: number; json?: boolean },
): Promise<void> {
  const signal = interruptible('stopping')
  const open = isEncoded(corpusPath) ? openEncoded : openTexts
  const { encodedBy, named, counts, total } = await showing((onProgress) => open(corpusPath, signal, onProgress))
  const queries = given.length > 0 ? [...given] : await readQueries()
  const model = await loadModel(modelPath, options, { signal })
  const { recipeNotes } = model
  const [truncatedQueries, hits] = await showing(async (onProgress) => {
    const encoded = await model.encodeQueries(queries, { signal, onProgress })
    const told = ({ done }: Progress) => onProgress({ stage: 'searching', done, total, unit: 'documents' })
    const found = await model.search(encoded, encodedBy(model), { topK: options.topK, signal, onProgress: told })
    return [encoded.truncated!, found] as const
  })
  model.dispose()
  const names = await named(hits.flat())
  let next = 0
  const results = queries.map((query, q) => ({
    query,
    hits: hits[q]!.map(({ score }) => {
      const { id, text } = names[next++]!
      return { id, score, ...(text !== undefined && { text }) }
    }),
  }))
  const all = { ...counts(), truncatedQueries }
  if (options.json) return printJson({ model: modelPath, recipeNotes, counts: all, results })
  for (const { query, hits } of results) {
    print(query)
    for (const [i, { id, score, text = '' }] of hits.entries())
      print(
        `${String(i + 1).padStart(4)}  ${score.toFixed(3)}  ${id}  ${text.length > 120 ? `${text.slice(0, 117)}…` : text}`,
      )
  }
  const cut = listed([
    ['queries longer than the model takes (cut)', truncatedQueries],
    ['documents longer than the model takes (cut)', all.truncatedDocuments],
  ])
  for (const note of [...collectionNotes(all), ...cut]) process.stderr.write(`${colour('dim', note)}\n`)
}

/** A collection that is searched. */
interface Searched {
  /** Documents. */
  total: number
  encodedBy(model: Colbert): AsyncIterable<Embeddings<'document', EmbeddingData>>
  /** Id and text of hits; no text where none is kept. */
  named(hits: readonly Hit[]): Promise<{ id: string; text?: string }[]>
  /** Once it was searched. */
  counts(): { documents: number; emptyDocuments?: number; truncatedDocuments: number; unusedFields?: readonly string[] }
}

async function openTexts(path: string, signal: AbortSignal, onProgress: OnProgress): Promise<Searched> {
  const { documents, emptyDocuments, unusedFields } = await openCorpus(path, { onProgress })
  let truncatedDocuments = 0
  async function* encodedBy(model: Colbert): AsyncGenerator<Embeddings<'document'>> {
    for await (const part of model.streamDocuments(documents.texts, { signal })) {
      truncatedDocuments += part.truncated!
      yield part
    }
  }
  const named = async (hits: readonly Hit[]) => {
    const textOf = await textsAt(documents, new Set(hits.map(({ index }) => index)))
    return hits.map(({ index }) => ({ id: documents.ids[index]!, text: textOf.get(index)! }))
  }
  const counts = () => ({ documents: documents.ids.length, emptyDocuments, truncatedDocuments, unusedFields })
  return { total: documents.ids.length, encodedBy, named, counts }
}

async function openEncoded(path: string, signal: AbortSignal): Promise<Searched> {
  const encoded = await EncodedDocuments.open(path)
  const { documents, truncated } = encoded.info
  const named = async (hits: readonly Hit[]) => {
    const ids = hits.map(({ id }) => id!)
    const kept = await encoded.kept(ids)
    return ids.map((id, i) => ({ id, ...(kept[i]!.text !== undefined && { text: kept[i]!.text }) }))
  }
  return {
    total: documents,
    encodedBy: () => encoded.parts({ signal }),
    named,
    counts: () => ({ documents, truncatedDocuments: truncated }),
  }
}

/** One a line from standard input. @throws DataError ERR_DATA when there is none */
export async function readQueries(): Promise<string[]> {
  const queries: string[] = []
  for await (const line of createInterface({ input: process.stdin })) if (line.trim()) queries.push(line.trim())
  if (queries.length === 0)
    throw new DataError(
      'ERR_DATA',
      'no query was given: name them in the command, or write one per line to standard input',
    )
  return queries
}
