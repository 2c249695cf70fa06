import { createInterface } from 'node:readline'
import { DataError } from '../errors.js'
import { collectionNotes, listed, textsAt } from '../eval/collections.js'
import type { Embeddings } from '../retrieval/embeddings.js'
import { colour, interruptible, print, printJson } from './common.js'
import { openCorpus } from './corpus.js'
import { loadModel, type ModelOptions } from './model.js'

/** `lateforge search <model> <corpus> [queries…]`: documents pass through memory once, and those found a second time. */
export async function search(
  modelPath: string,
  corpusPath: string,
  given: readonly string[],
  options: ModelOptions & { topK: number; json?: boolean },
): Promise<void> {
  const signal = interruptible('stopping')
  const { documents, emptyDocuments, unusedFields } = await openCorpus(corpusPath)
  const queries = given.length > 0 ? [...given] : await readQueries()
  const model = await loadModel(modelPath, options, { signal })
  const { recipeNotes } = model
  const encodedQueries = await model.encodeQueries(queries, { signal })
  const truncatedQueries = encodedQueries.truncated!
  let truncatedDocuments = 0
  async function* encoded(): AsyncGenerator<Embeddings<'document'>> {
    for await (const part of model.streamDocuments(documents.texts, { signal })) {
      truncatedDocuments += part.truncated!
      yield part
    }
  }
  const hits = await model.search(encodedQueries, encoded(), { topK: options.topK, signal })
  model.dispose()
  const textOf = await textsAt(documents, new Set(hits.flat().map(({ index }) => index)))
  const results = queries.map((query, q) => ({
    query,
    hits: hits[q]!.map(({ index, score }) => ({ id: documents.ids[index]!, score, text: textOf.get(index)! })),
  }))
  const counts = { documents: documents.ids.length, emptyDocuments, truncatedQueries, truncatedDocuments, unusedFields }
  if (options.json) return printJson({ model: modelPath, recipeNotes, counts, results })
  for (const { query, hits } of results) {
    print(query)
    for (const [i, { id, score, text }] of hits.entries())
      print(
        `${String(i + 1).padStart(4)}  ${score.toFixed(3)}  ${id}  ${text.length > 120 ? `${text.slice(0, 117)}…` : text}`,
      )
  }
  const cut = listed([
    ['queries longer than the model takes (cut)', truncatedQueries],
    ['documents longer than the model takes (cut)', truncatedDocuments],
  ])
  for (const note of [...collectionNotes(counts), ...cut]) process.stderr.write(`${colour('dim', note)}\n`)
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
