import { encodeCorpus, type StoredEmbeddings } from '../indexing/index.js'
import { duration, size } from '../io/amounts.js'
import { colour, interruptible, outliveReaders, print, printJson } from './common.js'
import { corpusNotes, openCorpus } from './corpus.js'
import { loadModel, type ModelOptions } from './model.js'
import { showing } from './progress.js'

/** `lateforge encode <model> <corpus> <out>` */
export async function encode(
  modelPath: string,
  corpus: string,
  out: string,
  {
    type,
    poolFactor,
    keepTexts,
    shardTokens,
    metadata = [],
    json,
    ...using
  }: ModelOptions & {
    type?: StoredEmbeddings
    poolFactor?: number
    keepTexts?: boolean
    shardTokens?: number
    metadata?: string[]
    json?: boolean
  },
): Promise<void> {
  outliveReaders()
  const signal = interruptible('stopping; the shards so far stay, and the same command goes on behind them')
  const { documents, rows, ...counts } = await showing((onProgress) => openCorpus(corpus, { onProgress, metadata }))
  const model = await loadModel(modelPath, using, { signal })
  const started = performance.now()
  const total = documents.ids.length
  const result = await showing((onProgress) =>
    encodeCorpus(out, rows, {
      ...{ model, modelName: modelPath, signal, onProgress: (progress) => onProgress({ ...progress, total }) },
      ...(type && { type }),
      ...(poolFactor && { pooling: { factor: poolFactor } }),
      ...(keepTexts && { keepTexts }),
      ...(shardTokens && { shardTokens }),
    }),
  ).finally(() => model.dispose())
  const seconds = (performance.now() - started) / 1000
  if (json) return printJson({ ...result, ...counts, seconds })
  const { tokens, shards, bytes, truncated, resumed } = result
  print(`${out}: ${result.documents} documents, ${tokens} tokens as ${result.type} of ${result.dim} dimensions`)
  print(`${size(bytes)} in ${shards} shards, in ${duration(seconds)}`)
  if (resumed > 0) print(`  ${resumed} documents were there`)
  if (truncated > 0) print(`  ${truncated} were longer than the model takes, and cut`)
  for (const note of corpusNotes(counts)) process.stderr.write(`${colour('dim', note)}\n`)
}
