import { mkdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { ArgumentError } from '../errors.js'
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
  modelRun,
  type SystemRun,
  writeRun,
} from '../eval/index.js'
import { depthOf } from '../eval/metrics.js'
import { Colbert } from '../models/colbert.js'
import type { LoadOptions } from '../models/options.js'
import { colour, interruptible, joinRanks, outliveReaders, print, printJson } from './common.js'
import { showingTransfer } from './transfer.js'

interface Options {
  split: string
  metrics: string
  topK?: number
  queryLength?: number
  documentLength?: number
  bm25: boolean
  device: string
  run?: string
  json?: boolean
}

/** `lateforge eval <model> <collections…>` */
export async function evaluate(modelPath: string, paths: readonly string[], options: Options): Promise<void> {
  const metrics = options.metrics.split(',').map((metric) => metric.trim()) as Metric[]
  const topK = options.topK ?? Math.max(100, depthOf(metrics))
  const { split, queryLength, documentLength } = options
  const signal = interruptible()
  const group = joinRanks()
  if (options.run || group) outliveReaders() // other ranks wait for this one
  const isRank0 = !group || group.rank === 0 // who speaks for all
  const folders = (await Promise.all(paths.map(beirFolders))).flat()
  const names = namesOf(folders)
  // All are read before the first is scored: a fault in the last one would cost the work on the others.
  let collection: Collection | undefined
  for (const folder of folders) collection = await open(folder, options)
  if (options.run && isRank0) await mkdir(options.run, { recursive: true })
  const recipe = { ...(queryLength && { queryLength }), ...(documentLength && { documentLength }) }
  const load = (onProgress?: LoadOptions['onProgress']): Promise<Colbert> =>
    Colbert.load(modelPath, { device: options.device, signal, onProgress, recipe })
  const model = await (isRank0 ? showingTransfer(load) : load())
  const reports: Comparison[] = []
  try {
    for (const [i, folder] of folders.entries()) {
      const name = names[i]!
      if (folders.length > 1) collection = await open(folder, options)
      const { counts, qrels } = collection!
      const size = `${counts.documents} documents, ${qrels.size} queries`
      if (isRank0) process.stderr.write(`${colour('dim', `${name}: ${size}`)}\n`)
      const runs: ({ name: string } & SystemRun)[] = []
      if (options.bm25 && isRank0) runs.push({ name: 'BM25', ...(await bm25Run(collection!, { topK, signal })) })
      const found = await modelRun(model, collection!, { topK, signal, ...(group && { group }) })
      runs.push({ name: 'model', ...found })
      if (!isRank0) continue
      const baseline = options.bm25 ? { baseline: 'BM25', primary: 'model' } : {}
      const report = compareRuns(runs, qrels, { metrics, collection: { name, counts }, ...baseline })
      reports.push(report)
      if (!options.json) print(formatText(report))
      if (options.run)
        for (const row of runs)
          await writeRun(join(options.run, `${name}.${row.name}.trec`), row.run, { tag: row.name })
    }
  } finally {
    model.dispose()
    if (isRank0 && options.json && reports.length > 0)
      printJson({ model: modelPath, split, topK, collections: reports })
  }
  if (isRank0 && !options.json && reports.length > 1) print(averages(reports, metrics))
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
