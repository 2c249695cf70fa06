import { existsSync, statSync } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { ArgumentError, DataError } from '../errors.js'
import {
  beirFolders,
  bm25Run,
  type Collection,
  type Comparison,
  checkRunIds,
  compareRuns,
  formatText,
  loadBeir,
  type Metric,
  type MtebResult,
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
import { nanoBeirFolder, nanoBeirOf } from '../eval/nanobeir.js'
import { colour, interruptible, joinRanks, outliveReaders, print, printJson } from './common.js'
import { loadModel, type ModelOptions } from './model.js'
import { showingTransfer } from './transfer.js'

interface Options extends ModelOptions {
  split: string
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
  const { split } = options
  const signal = interruptible()
  const group = joinRanks()
  if (options.run || group) outliveReaders() // other ranks wait for this one
  const isRank0 = !group || group.rank === 0 // who speaks for all
  if (options.rerank && group && group.size > 1)
    throw new ArgumentError('ERR_ARGUMENT', '--rerank runs on one rank; start it without mpirun', { option: 'rerank' })
  const folders = (await Promise.all(paths.map((path) => foldersOf(path, signal)))).flat()
  const names = namesOf(folders)
  // All are read before the first is scored: a fault in the last one would cost the work on the others.
  let collection: Collection | undefined
  for (const folder of folders) collection = await open(folder, options)
  const firstStages = options.rerank ? await runsOf(options.rerank, names) : []
  if (options.run && isRank0) await mkdir(options.run, { recursive: true })
  const model = await loadModel(modelPath, options, { signal, aloud: isRank0 })
  const reports: Comparison[] = []
  const results: MtebResult[] = []
  try {
    for (const [i, folder] of folders.entries()) {
      const name = names[i]!
      if (folders.length > 1) collection = await open(folder, options)
      const { counts, qrels } = collection!
      const size = `${counts.documents} documents, ${qrels.size} queries`
      if (isRank0) process.stderr.write(`${colour('dim', `${name}: ${size}`)}\n`)
      const runs: ({ name: string } & SystemRun)[] = []
      if (options.bm25 && isRank0) runs.push({ name: 'BM25', ...(await bm25Run(collection!, { topK, signal })) })
      const started = performance.now()
      const given = firstStages[i]
      const found = given
        ? await rerankRun(model, collection!, given.run, { depth: topK, signal })
        : await modelRun(model, collection!, { topK, signal, ...(group && { group }) })
      const evaluationTime = (performance.now() - started) / 1000
      if (given) runs.push({ name: 'run', run: given.run, depth: 'all', counts: {} })
      if (given?.reordered)
        process.stderr.write(
          `warn  ${name}: the ranks of ${given.reordered} queries of the run differ from its scores, which count\n`,
        )
      runs.push({ name: 'model', ...found })
      if (!isRank0) continue
      const against = given ? 'run' : options.bm25 ? 'BM25' : undefined
      const baseline = against ? { baseline: against, primary: 'model' } : {}
      const report = compareRuns(runs, qrels, { metrics, collection: { name, counts }, ...baseline })
      reports.push(report)
      if (!options.json) print(formatText(report))
      if (options.run)
        for (const row of runs)
          await writeRun(join(options.run, `${name}.${row.name}.trec`), row.run, { tag: row.name })
      const { run, depth } = found
      if (options.mteb)
        results.push(
          mtebResult(run, qrels, {
            ...{ task: basename(folder), split, depth: given ? 'all' : depth, evaluationTime },
          }),
        )
    }
    if (options.mteb && isRank0) await writeMteb(options.mteb, { name: mtebName(modelPath) }, results)
  } finally {
    model.dispose()
    if (isRank0 && options.json && reports.length > 0)
      printJson({ model: modelPath, recipeNotes: model.recipeNotes, split, topK, collections: reports })
  }
  if (isRank0 && !options.json && reports.length > 1) print(averages(reports, metrics))
}

/** The collections of a folder, or of a name of NanoBEIR. */
async function foldersOf(path: string, signal: AbortSignal): Promise<string[]> {
  const names = nanoBeirOf(path)
  if (!names) return beirFolders(path)
  const folders: string[] = []
  for (const name of names)
    folders.push(await showingTransfer((onProgress) => nanoBeirFolder(name, { onProgress, signal })))
  return folders
}

/** MTEB's deepest cut. */
const mtebDepth = 1000

/** A model's name with its organisation, as MTEB wants it; a folder has none. */
function mtebName(model: string): string {
  return /^[\w.-]+\/[\w.-]+$/.test(model) && !existsSync(model) ? model : `local/${basename(resolve(model))}`
}

/** The run to rerank on each collection: a file for the only one, or NAME.trec or NAME.….trec in a folder. */
async function runsOf(path: string, names: readonly string[]): Promise<RunFile[]> {
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
async function open(folder: string, { split, run }: Options): Promise<Collection> {
  const collection = await loadBeir(folder, { split, stream: true })
  if (run) {
    checkRunIds('query', collection.queries.ids)
    checkRunIds('document', collection.documents.ids)
  }
  return collection
}

/** The last part of each path, and as many before it as tell folders apart: x/nq and y/nq, but hotpotqa. */
function namesOf(folders: readonly string[]): string[] {
  const paths = folders.map((folder) => resolve(folder))
  const twice = paths.find((path, i) => paths.indexOf(path) < i)
  if (twice !== undefined) throw new ArgumentError('ERR_ARGUMENT', `${twice} is given twice`, { folder: twice })
  const names = paths.map((path) => basename(path))
  const parents = paths.map((path) => dirname(path))
  for (;;) {
    const shared = names.map((name, i) => names.some((other, j) => j !== i && other === name))
    if (!shared.includes(true)) return names
    for (const i of names.keys())
      if (shared[i]) {
        names[i] = join(basename(parents[i]!), names[i]!)
        parents[i] = dirname(parents[i]!)
      }
  }
}

function averages(reports: readonly Comparison[], metrics: readonly Metric[]): string {
  const rows = reports[0]!.rows.map(({ name }, r) => {
    const means = metrics.map((metric) => {
      const sum = reports.reduce((total, { rows }) => total + rows[r]!.scores[metric]!.mean, 0)
      return `${metric} ${(sum / reports.length).toFixed(4)}`
    })
    return `${name}  ${means.join('  ')}`
  })
  return [`Mean over ${reports.length} collections`, ...rows].join('\n')
}
