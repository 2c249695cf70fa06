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
  type SystemRun,
  writeMteb,
  writeRun,
} from '../eval/index.js'
import { depthOf } from '../eval/metrics.js'
import { colour, interruptible, joinRanks, outliveReaders, print, printJson } from './common.js'
import { loadModel, type ModelOptions } from './model.js'
import { showingTransfer } from './transfer.js'

interface Options extends ModelOptions {
  split?: string
  metrics: string
  topK?: number
  bm25: boolean
  run?: string
  rerank?: string
  mteb?: string
  json?: boolean
}

/** `lateforge eval <model> <collections…>` */
export async function evaluate(modelPath: string, paths: readonly string[], options: Options): Promise<void> {
  const metrics = options.metrics.split(',').map((metric) => metric.trim()) as Metric[]
  const topK = options.topK ?? Math.max(options.mteb ? mtebDepth : 100, depthOf(metrics))
  if (options.mteb && !options.rerank && topK < mtebDepth)
    throw new ArgumentError('ERR_ARGUMENT', `--top-k ${topK}: MTEB's results look at ${mtebDepth} documents`, { topK })
  const signal = interruptible()
  const group = joinRanks()
  if (options.run || group) outliveReaders() // other ranks wait for this one
  const isRank0 = !group || group.rank === 0 // who speaks for all
  if (options.rerank && group && group.size > 1)
    throw new ArgumentError('ERR_ARGUMENT', '--rerank runs on one rank; start it without mpirun', { option: 'rerank' })
  const { collections, missing } = await showingTransfer((onProgress) =>
    findCollections(paths, { split: options.split, onProgress, signal }),
  )
  // All are read before the first is scored: a fault in the last one would cost the work on the others.
  let collection: Collection | undefined
  for (const found of collections) collection = await open(found, options)
  const firstStages = options.rerank ? await runsOf(options.rerank, collections) : []
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
      if (collections.length > 1) collection = await open(found, options)
      const { counts, qrels } = collection!
      const size = `${counts.documents} documents, ${qrels.size} queries`
      if (isRank0) process.stderr.write(`${colour('dim', `${name}: ${size}`)}\n`)
      const runs: ({ name: string } & SystemRun)[] = []
      if (options.bm25 && isRank0) runs.push({ name: 'BM25', ...(await bm25Run(collection!, { topK, signal })) })
      const started = performance.now()
      const given = firstStages[i]
      const own = given
        ? await rerankRun(model, collection!, given.run, { depth: topK, signal })
        : await modelRun(model, collection!, { topK, signal, ...(group && { group }) })
      const evaluationTime = (performance.now() - started) / 1000
      if (given) runs.push({ name: 'run', run: given.run, depth: 'all', counts: {} })
      if (given?.reordered)
        process.stderr.write(
          `warn  ${name}: the ranks of ${given.reordered} queries of the run differ from its scores, which count\n`,
        )
      runs.push({ name: 'model', ...own })
      if (!isRank0) continue
      const against = given ? 'run' : options.bm25 ? 'BM25' : undefined
      const baseline = against ? { baseline: against, primary: 'model' } : {}
      const about = { name, counts, split, ...(set !== undefined && { set }) }
      const report = compareRuns(runs, qrels, { metrics, collection: about, ...baseline })
      reports.push(report)
      if (!options.json) print(formatText(report))
      if (options.run)
        for (const row of runs)
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

/** The run to rerank on each collection: a file for the only one, or NAME.trec or NAME.….trec in a folder. */
async function runsOf(path: string, collections: readonly FoundCollection[]): Promise<RunFile[]> {
  const names = collections.map(({ name }) => name)
  if (!existsSync(path)) throw new DataError('ERR_DATA', `${path} does not exist, expected TREC runs.`, { path })
  if (!statSync(path).isDirectory()) {
    if (names.length === 1) return [await readRun(path)]
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `--rerank ${path} is one run for ${names.length} collections; give a folder with one for each`,
      { option: 'rerank' },
    )
  }
  const runs: RunFile[] = []
  for (const name of names) {
    const folder = dirname(join(path, name))
    const start = `${basename(name)}.`
    const files = existsSync(folder) ? await readdir(folder) : []
    const found = files.filter((file) => file.startsWith(start) && /\.trec(\.gz)?$/.test(file))
    if (found.length !== 1)
      throw new DataError(
        'ERR_DATA',
        `${folder} holds ${found.length === 0 ? 'no run' : found.join(', ')} for ${name}; expected one ${start}trec`,
        { folder, found },
      )
    runs.push(await readRun(join(folder, found[0]!)))
  }
  return runs
}

/** A collection whose documents stay in their file. */
async function open({ folder, split }: FoundCollection, { run }: Options): Promise<Collection> {
  const collection = await loadBeir(folder, { split, stream: true })
  if (run) {
    checkRunIds('query', collection.queries.ids)
    checkRunIds('document', collection.documents.ids)
  }
  return collection
}
