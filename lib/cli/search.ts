import { statSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { DataError } from '../errors.js'
import { readDocuments, type Texts } from '../eval/collections.js'
import { eachLine } from '../lines.js'
import { Colbert } from '../models/colbert.js'
import { Device } from '../tensor/device.js'
import { interruptible, print, printJson } from './common.js'

/** `lateforge search <model> <corpus> [queries…]` */
export async function search(
  modelPath: string,
  corpusPath: string,
  given: readonly string[],
  options: { topK: number; device: string; json?: boolean },
): Promise<void> {
  const signal = interruptible()
  const corpus = await readCorpus(corpusPath)
  const queries = given.length > 0 ? [...given] : await readQueries()
  const model = await Colbert.load(modelPath, { device: Device.open(options.device) })
  const documents = await model.encodeDocuments(corpus.texts, { signal, ids: corpus.ids })
  const hits = await model.search(await model.encodeQueries(queries, { signal }), documents, {
    topK: options.topK,
    signal,
  })
  model.dispose()
  const results = queries.map((query, q) => ({
    query,
    hits: hits[q]!.map(({ index, score }) => ({ id: corpus.ids[index]!, score, text: corpus.texts[index]! })),
  }))
  if (options.json) return printJson({ model: modelPath, results })
  for (const { query, hits } of results) {
    print(query)
    for (const [i, { id, score, text }] of hits.entries())
      print(
        `${String(i + 1).padStart(4)}  ${score.toFixed(3)}  ${id}  ${text.length > 120 ? `${text.slice(0, 117)}…` : text}`,
      )
  }
}

async function readCorpus(path: string): Promise<Texts> {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() || /\.jsonl(\.gz)?$/.test(path))
    return readDocuments(path)
  const texts: string[] = []
  await eachLine(path, (line) => {
    if (line.trim()) texts.push(line.trim())
  })
  if (texts.length === 0) throw new DataError('ERR_DATA', `${path} has no text. Expected a document per line`, { path })
  return { ids: texts.map((_, i) => String(i + 1)), texts }
}

async function readQueries(): Promise<string[]> {
  const queries: string[] = []
  for await (const line of createInterface({ input: process.stdin })) if (line.trim()) queries.push(line.trim())
  if (queries.length === 0)
    throw new DataError(
      'ERR_DATA',
      'no query was given: name them after the corpus, or write one per line to standard input',
    )
  return queries
}
