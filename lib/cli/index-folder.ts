/** `lateforge index …`: a collection encoded once and kept in a folder. */
import { existsSync } from 'node:fs'
import { ArgumentError, DataError } from '../errors.js'
import { loadBeir } from '../eval/collections.js'
import { isEncoded } from '../indexing/encoded.js'
import {
  type AddOptions,
  type AddResult,
  type CheckedFirstStage,
  type CheckedSetting,
  EncodedDocuments,
  Index,
  type IndexInfo,
  type IndexSearchOptions,
  type IndexType,
  type Where,
} from '../indexing/index.js'
import { manifestFile } from '../indexing/manifest.js'
import { isResidual } from '../indexing/residual.js'
import { count, countOf, duration, size } from '../io/amounts.js'
import { eachLine } from '../io/lines.js'
import type { Colbert } from '../models/colbert.js'
import type { OnProgress } from '../progress.js'
import { colour, interruptible, print, printCounts, printJson } from './common.js'
import { corpusNotes, openCorpus } from './corpus.js'
import { loadModel, type ModelOptions } from './model.js'
import { showing } from './progress.js'
import { readQueries } from './search.js'

/** Whether a folder is an index, and not of a model. */
export const isIndex = (folder: string): boolean => existsSync(manifestFile(folder))

interface Json {
  json?: boolean
}

/** `lateforge index create <index> <model>` */
export async function create(
  dir: string,
  model: string,
  { type, poolFactor, json, ...options }: ModelOptions & Json & { type?: IndexType; poolFactor?: number },
): Promise<void> {
  const signal = interruptible('stopping')
  const loaded = await loadModel(model, options, { signal })
  const index = await Index.create(dir, {
    model: loaded,
    modelName: model,
    ...(type && { type }),
    ...(poolFactor && { pooling: { factor: poolFactor } }),
  })
  const info = await index.info()
  await index.close()
  loaded.dispose()
  if (json) return printJson(info)
  print(`${dir}: an empty index of ${info.type} vectors of ${info.dim} dimensions, encoded by ${model}`)
  if (isResidual(info.type)) print('residual codes find less than vectors; once there are some, info says what')
}

/** The index with its model: the one it was made with, or the one that is asked for. */
export async function opened(
  dir: string,
  { model: asked, ...options }: ModelOptions & { model?: string },
  signal: AbortSignal,
): Promise<{ index: Index; model: Colbert }> {
  const before = await Index.open(dir)
  const { model: own } = await before.info()
  await before.close()
  const name = asked ?? own
  if (name === null)
    throw new ArgumentError('ERR_ARGUMENT', `${dir} does not say which model it was made with; name it: --model MODEL`)
  const model = await loadModel(name, options, { signal })
  try {
    return { index: await Index.open(dir, { model }), model }
  } catch (error) {
    model.dispose()
    throw error
  }
}

/** `lateforge index add <index> <documents>`: texts, which are encoded, or what `lateforge encode` has written. */
export async function add(
  dir: string,
  corpus: string,
  {
    existing = 'refuse',
    json,
    ...using
  }: ModelOptions & Json & { model?: string; existing?: AddOptions['existing']; metadata?: string[] },
): Promise<void> {
  const signal = interruptible('stopping; what is kept so far stays')
  const started = performance.now()
  const { result, counts } = await (isEncoded(corpus) ? addEncoded : addTexts)(dir, corpus, using, { existing, signal })
  if (json) return printJson({ ...result, ...counts, seconds: (performance.now() - started) / 1000 })
  const { documents: added, tokens, replaced, skipped, truncated } = result
  print(`${added} documents added, ${tokens} tokens, in ${duration((performance.now() - started) / 1000)}`)
  printCounts([
    [replaced, 'took the place of others'],
    [skipped, 'were there and left out'],
    [truncated, 'were longer than the model takes, and cut'],
  ])
  if (result.codesRecall !== null) print(codesText(result.codesRecall))
  for (const note of corpusNotes(counts)) process.stderr.write(`${colour('dim', note)}\n`)
}

interface Added {
  result: AddResult
  counts: { emptyDocuments?: number; unusedFields?: string[] }
}
type Adding = { existing: NonNullable<AddOptions['existing']>; signal: AbortSignal }

async function addTexts(
  dir: string,
  corpus: string,
  { metadata = [], ...using }: ModelOptions & { model?: string; metadata?: string[] },
  adding: Adding,
): Promise<Added> {
  const { documents, rows, ...counts } = await showing((onProgress) => openCorpus(corpus, { onProgress, metadata }))
  const { index, model } = await opened(dir, using, adding.signal)
  const result = await showing((onProgress) =>
    index.add(rows, { ...adding, onProgress: ofAll(onProgress, documents.ids.length) }),
  ).finally(() => index.close())
  model.dispose()
  return { result, counts: { ...counts, unusedFields: [...counts.unusedFields] } }
}

async function addEncoded(
  dir: string,
  folder: string,
  { model, metadata }: { model?: string; metadata?: string[] },
  adding: Adding,
): Promise<Added> {
  const idle = model ? '--model' : metadata && '--metadata'
  if (idle)
    throw new ArgumentError('ERR_ARGUMENT', `${idle} has no effect: the documents of ${folder} are encoded already`)
  const encoded = await EncodedDocuments.open(folder)
  const index = await Index.open(dir)
  const result = await showing((onProgress) =>
    index.addEmbeddings(encoded.parts({ withTexts: true, signal: adding.signal }), {
      ...adding,
      onProgress: ofAll(onProgress, encoded.info.documents),
    }),
  ).finally(() => index.close())
  return { result, counts: {} }
}

/** What an index is told in a stream, which does not say how many documents come. */
const ofAll =
  (onProgress: OnProgress, total: number): OnProgress =>
  (progress) =>
    onProgress(progress.stage === 'indexing' ? { ...progress, total } : progress)

/** `lateforge index search <index> [queries…]` */
export async function search(
  dir: string,
  given: readonly string[],
  options: ModelOptions &
    Json & { model?: string; topK: number; where?: Where; ids?: string } & Pick<
      IndexSearchOptions,
      'firstStage' | 'probes' | 'candidates' | 'exact'
    >,
): Promise<void> {
  const { topK, firstStage, probes, candidates, exact, where, ids, json, ...using } = options
  const signal = interruptible('stopping')
  const queries = given.length > 0 ? [...given] : await readQueries()
  const { index, model } = await opened(dir, using, signal)
  const way = {
    ...{ ...(firstStage && { firstStage }), ...(probes && { probes }), ...(candidates && { candidates }) },
    ...(exact && { exact }),
  }
  const { found, passed } = await showing(async (onProgress) => {
    const wanted = ids === undefined ? undefined : await idsOf(ids)
    const filter =
      where || wanted
        ? await index.select({ ...(where && { where }), ...(wanted && { ids: wanted }) }, { signal })
        : null
    const asked = { topK, withTexts: true, signal, onProgress, ...way, ...(filter && { filter }) }
    return { found: await index.search(queries, asked), passed: filter?.documents }
  }).finally(() => index.close())
  model.dispose()
  const results = queries.map((query, q) => ({ query, hits: found[q] }))
  if (json) return printJson({ index: dir, ...(passed !== undefined && { passed }), results })
  if (passed !== undefined) process.stderr.write(`${colour('dim', `${countOf(passed, 'document')} pass the filter`)}\n`)
  for (const [q, query] of queries.entries()) {
    print(query)
    for (const [i, { id, score, text = '' }] of found[q]!.entries())
      print(
        `${String(i + 1).padStart(4)}  ${score.toFixed(3)}  ${id}  ${text.length > 120 ? `${text.slice(0, 117)}…` : text}`,
      )
  }
}

/** The ids of a file, one a line. */
async function idsOf(file: string): Promise<string[]> {
  const ids: string[] = []
  await eachLine(file, (line) => {
    if (line !== '') ids.push(line)
  })
  if (ids.length === 0) throw new DataError('ERR_DATA', `${file} has no ids. Expected one a line`, { file })
  return ids
}

/** `lateforge index delete <index> <ids…>` */
export async function remove(dir: string, ids: readonly string[], { json }: Json): Promise<void> {
  const index = await Index.open(dir)
  const result = await index.delete(ids).finally(() => index.close())
  if (json) return printJson(result)
  print(`${result.deleted} documents deleted`)
  if (result.missing.length > 0) print(`not in the index: ${result.missing.join(', ')}`)
}

/** `lateforge index compact <index>` */
export async function compact(dir: string, { json }: Json): Promise<void> {
  const signal = interruptible('stopping; what is written anew stays so')
  const index = await Index.open(dir)
  const result = await showing((onProgress) => index.compact({ onProgress, signal })).finally(() => index.close())
  if (json) return printJson(result)
  print(`${size(result.before)} before, ${size(result.after)} now`)
}

/** `lateforge index check <index> [queries…]` */
export async function check(
  dir: string,
  given: readonly string[],
  options: ModelOptions &
    Json & { model?: string; queries?: number; collection?: string; split?: string; topK: number; target: number },
): Promise<void> {
  const { queries, collection, split, topK, target, json, ...using } = options
  const idle = queries ? '--queries' : collection && '--collection'
  if (given.length > 0 && idle) throw new ArgumentError('ERR_ARGUMENT', `${idle} has no effect beside queries`)
  if (split && collection === undefined)
    throw new ArgumentError('ERR_ARGUMENT', '--split has no effect without --collection')
  const signal = interruptible('stopping; nothing is changed')
  const judged = collection === undefined ? null : await readCollection(collection, split)
  const { index, model } = await opened(dir, using, signal)
  const asked = given.length > 0 ? { queries: given } : (judged ?? (queries ? { queries } : {}))
  const result = await showing((onProgress) => index.check({ topK, target, signal, onProgress, ...asked })).finally(
    () => index.close(),
  )
  model.dispose()
  if (json) return printJson(result)
  const row = (way: string, { recall, ndcg, milliseconds }: CheckedSetting | CheckedFirstStage) =>
    print(
      `${way.padEnd(17)}       ${recall.toFixed(4)}${ndcg === null ? '' : `   ${ndcg.toFixed(4)}`}  ${milliseconds.toFixed(1)}`,
    )
  print(`probes candidates  recall@${topK}${result.ndcg === null ? '' : `  nDCG@${topK}`}  ms a query`)
  for (const setting of result.settings) {
    const { probes, candidates } = setting
    row(
      probes === null ? 'every document' : `${String(probes).padStart(6)} ${String(candidates).padStart(10)}`,
      setting,
    )
  }
  for (const setting of result.bm25) row(`  bm25 ${String(setting.candidates).padStart(10)}`, setting)
  if (result.ndcg !== null && result.approximate)
    print(`nDCG@${topK} where every document is scored: ${result.ndcg.toFixed(4)}`)
  printCounts([[result.missingJudged, 'judged documents are not in the index']])
  if (result.codesRecall !== null) print(codesText(result.codesRecall))
  print(
    result.approximate
      ? `searches go by ${result.settings.at(-1)!.probes} probes: ${target} was asked for, on ${result.queries} queries`
      : `every document is scored from now on${result.settings.length > 1 ? `: nothing else reached ${target}` : ''}`,
  )
}

/** Judged queries of a BEIR folder. */
async function readCollection(dir: string, split = 'test') {
  const { queries, qrels } = await showing((onProgress) => loadBeir(dir, { split, stream: true, onProgress }))
  return { queries: queries.texts, judgments: queries.ids.map((id) => qrels.get(id)!) }
}

/** `lateforge index info <index>` */
export async function info(dir: string, { verify, json }: Json & { verify?: boolean }): Promise<void> {
  const signal = interruptible('stopping')
  const index = await Index.open(dir)
  const found = await index.info()
  if (verify) await showing((onProgress) => index.verify({ onProgress, signal }))
  await index.close()
  if (json) return printJson({ ...found, ...(verify && { verified: true }) })
  print(indexText(found).join('\n'))
  if (verify) print('every file is as it was written')
}

const codesText = (recall: number): string =>
  `residual codes find ${recall.toFixed(4)} of the ten best documents by their vectors, before any way to search; int8 finds more`

/** What an index holds, in lines. */
export function indexText(found: IndexInfo): string[] {
  const { listed, search, deleted, pooling } = found
  return [
    `${countOf(found.documents, 'document')}, ${countOf(found.tokens, 'token')} as ${found.type} of ${found.dim} dimensions`,
    ...(found.codesRecall !== null ? [codesText(found.codesRecall)] : []),
    ...(deleted > 0 ? [`${deleted} deleted ones are still in the files; lateforge index compact removes them`] : []),
    `${size(found.bytes)} in ${countOf(found.segments, 'segment')}, ${count(listed)} of them searched by candidates`,
    ...(search
      ? [
          `checked with ${search.queries} queries and ${search.documents} documents: recall@${search.topK} ${search.recall.toFixed(4)}`,
        ]
      : listed > 0
        ? ['recall not measured; lateforge index check does that']
        : []),
    `model ${found.model ?? 'not known'}`,
    ...(pooling ? [`about 1 in ${pooling.factor} token vectors kept`] : []),
  ]
}
