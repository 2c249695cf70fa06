import { existsSync, statSync } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { ArgumentError, DataError } from '../errors.js'
import {
  bm25Run,
  type Collection,
  type Comparison,
  checkRunIds,
  compareRuns,
  type FoundCollection,
  findCollections,
  formatText,
  loadBeir,
  type MacroComparison,
  type Metric,
  type MtebResult,
  macroMean,
  modelRun,
  mtebResult,
  type RunFile,
  readRun,
  rerankRun,
  writeMteb,
  writeRun,
} from '../eval/index.js'
import { ofSeveral } from '../eval/model.js'
import type { OnProgress } from '../progress.js'
import { depthOf } from '../retrieval/metrics.js'
import { colour, interruptible, joinRanks, outliveReaders, print, printJson } from './common.js'
import { loadModel, type ModelOptions } from './model.js'
import { showing } from './progress.js'

interface Options extends ModelOptions {
  split?: string
  metrics: string
  topK?: number
  bm25: boolean
  run?: string
  rerank?: string
  against?: string
  mteb?: string
  json?: boolean
}

/** `lateforge eval <model> <collections…>` */
export async function evaluate(modelPath: string, paths: readonly string[], options: Options): Promise<void> {
  const metrics = options.metrics.split(',').map((metric) => metric.trim()) as Metric[]
  const topK = options.topK ?? Math.max(options.mteb ? mtebDepth : 100, depthOf(metrics))
  if (options.mteb && !options.rerank && topK < mtebDepth)
    throw new ArgumentError('ERR_ARGUMENT', `--top-k ${topK}: MTEB's results look at ${mtebDepth} documents`, { topK })
  const signal = interruptible('stopping')
  const group = joinRanks()
  if (options.run || group) outliveReaders() // other ranks wait for this one
  const isRank0 = !group || group.rank === 0 // who speaks for all
  if (options.rerank && group && group.size > 1)
    throw new ArgumentError('ERR_ARGUMENT', '--rerank runs on one rank; start it without mpirun', { option: 'rerank' })
  const { collections, missing } = await showing(
    (onProgress) => findCollections(paths, { split: options.split, onProgress, signal }),
    isRank0,
  )
  const firstStages = options.rerank ? await runsOf('rerank', options.rerank, collections) : []
  const others = options.against ? await runsOf('against', options.against, collections) : []
  // All are read before the first is scored: a fault in the last one would cost the work on the others.
  let collection: Collection | undefined
  for (const [i, found] of collections.entries()) {
    collection = await open(found, options, isRank0)
    if (others[i] && !collection.queries.ids.some((id) => others[i]!.run.has(id)))
      throw new DataError('ERR_DATA', `--against: the run has no judged query of ${found.name}`, { name: found.name })
  }
  if (options.run && isRank0) await mkdir(options.run, { recursive: true })
  if (isRank0) for (const { name, reason } of missing) process.stderr.write(`warn  ${name} is missing: ${reason}\n`)
  const model = await loadModel(modelPath, options, { signal, aloud: isRank0 })
  const reports: Comparison[] = []
  const results: MtebResult[] = []
  // Of what an interrupted evaluation has there is no mean.
  const meanOf = (): MacroComparison | undefined =>
    reports.length > 1 && reports.length === collections.length ? macroMean(reports, { missing }) : undefined
  try {
    for (const [i, found] of collections.entries()) {
      const { name, split, set } = found
      if (collections.length > 1) collection = await open(found, options, isRank0)
      const { counts, qrels } = collection!
      const size = `${counts.documents} documents, ${qrels.size} queries`
      if (isRank0) process.stderr.write(`${colour('dim', `${name}: ${size}`)}\n`)
      const work = <T>(run: (onProgress: OnProgress) => Promise<T>): Promise<T> =>
        showing((onProgress) => run(ofSeveral(onProgress, i, collections.length)), isRank0)
      const runs: Parameters<typeof compareRuns>[0][number][] = []
      if (options.bm25 && isRank0)
        runs.push({ name: 'BM25', ...(await work((onProgress) => bm25Run(collection!, { topK, signal, onProgress }))) })
      const started = performance.now()
      const given = firstStages[i]
      const own = await work((onProgress) =>
        given
          ? rerankRun(model, collection!, given.run, { depth: topK, signal, onProgress })
          : modelRun(model, collection!, { topK, signal, onProgress, ...(group && { group }) }),
      )
      const evaluationTime = (performance.now() - started) / 1000
      if (given) runs.push({ name: 'run', run: given.run, depth: 'all', counts: {} })
      const other = others[i]
      if (other) runs.push({ name: 'against', run: other.run })
      for (const reordered of [given?.reordered, other?.reordered])
        if (reordered && isRank0)
          process.stderr.write(
            `warn  ${name}: the ranks of ${reordered} queries of the run differ from its scores, which count\n`,
          )
      runs.push({ name: 'model', ...own })
      if (!isRank0) continue
      const against = other ? 'against' : given ? 'run' : options.bm25 ? 'BM25' : undefined
      const baseline = against ? { baseline: against, primary: 'model' } : {}
      const about = { name, counts, split, ...(set !== undefined && { set }) }
      const report = compareRuns(runs, qrels, { metrics, collection: about, ...baseline })
      reports.push(report)
      if (!options.json) print(formatText(report))
      if (options.run)
        for (const row of runs.filter((row) => row.name !== 'against'))
          await writeRun(join(options.run, `${name}.${row.name}.trec`), row.run, { tag: row.name })
      const depth = given ? 'all' : own.depth
      if (options.mteb)
        results.push(mtebResult(own.run, qrels, { task: name.replaceAll('/', '-'), split, depth, evaluationTime }))
    }
    if (options.mteb && isRank0) await writeMteb(options.mteb, { name: mtebName(modelPath) }, results)
  } finally {
    model.dispose()
    if (isRank0 && options.json && reports.length > 0)
      printJson({ model: modelPath, recipeNotes: model.recipeNotes, topK, collections: reports, mean: meanOf() })
  }
  const mean = isRank0 && !options.json && meanOf()
  if (mean) print(formatText(mean))
}

/** MTEB's deepest cut. */
const mtebDepth = 1000

/** A model's name with its organisation, as MTEB wants it; a folder has none. */
function mtebName(model: string): string {
  return /^[\w.-]+\/[\w.-]+$/.test(model) && !existsSync(model) ? model : `local/${basename(resolve(model))}`
}

/**
 * A run for each collection: a file for the only one, or NAME.trec or NAME.….trec in a folder. Of what `--run` wrote,
 * which has BM25's run too, the one to compare with is the model's.
 */
async function runsOf(
  option: 'rerank' | 'against',
  path: string,
  collections: readonly FoundCollection[],
): Promise<RunFile[]> {
  if (!existsSync(path)) throw new DataError('ERR_DATA', `${path} does not exist, expected TREC runs.`, { path })
  const isFolder = statSync(path).isDirectory()
  if (!isFolder && collections.length > 1)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `--${option} ${path} is one run for ${collections.length} collections; give a folder with one for each`,
      { option },
    )
  const runs: RunFile[] = []
  for (const { name } of collections) runs.push(await readRun(isFolder ? await runIn(option, path, name) : path))
  return runs
}

async function runIn(option: 'rerank' | 'against', path: string, name: string): Promise<string> {
  const folder = dirname(join(path, name))
  const start = `${basename(name)}.`
  const files = existsSync(folder) ? await readdir(folder) : []
  const found = files.filter((file) => file.startsWith(start) && /\.trec(\.gz)?$/.test(file))
  const own = option === 'against' ? found.filter((file) => file === `${start}model.trec`) : []
  const [file, ...more] = own.length > 0 ? own : found
  if (file === undefined || more.length > 0)
    throw new DataError(
      'ERR_DATA',
      `${folder} holds ${found.join(', ') || 'no run'} for ${name}; expected one ${start}trec`,
      { folder, found },
    )
  return join(folder, file)
}

/** A collection whose documents stay in their file. */
async function open({ folder, split }: FoundCollection, { run }: Options, aloud: boolean): Promise<Collection> {
  const collection = await showing((onProgress) => loadBeir(folder, { split, stream: true, onProgress }), aloud)
  if (run) {
    checkRunIds('query', collection.queries.ids)
    checkRunIds('document', collection.documents.ids)
  }
  return collection
}
