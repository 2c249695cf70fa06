import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import {
  beirFolders,
  bm25Run,
  type Comparison,
  compareRuns,
  formatText,
  loadBeir,
  type Metric,
  modelRun,
  parseMetric,
  writeRun,
} from '../eval/index.js'
import { Colbert } from '../models/colbert.js'
import { Device } from '../tensor/device.js'
import { colour, interruptible, joinRanks, print, printJson } from './common.js'

interface Options {
  split: string
  metrics: string
  topK: number
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
  for (const metric of metrics) parseMetric(metric)
  const { topK, split, queryLength, documentLength } = options
  const signal = interruptible()
  const group = joinRanks()
  const chief = !group || group.rank === 0 // who speaks for all
  const folders = (await Promise.all(paths.map(beirFolders))).flat()
  const model = await Colbert.load(modelPath, {
    device: Device.open(options.device),
    recipe: { ...(queryLength && { queryLength }), ...(documentLength && { documentLength }) },
  })
  const reports: Comparison[] = []
  for (const folder of folders) {
    const collection = await loadBeir(folder, { split })
    const size = `${collection.documents.ids.length} documents, ${collection.queries.ids.length} queries`
    if (chief) process.stderr.write(`${colour('dim', `${collection.name}: ${size}`)}\n`)
    const runs = options.bm25 && chief ? [{ name: 'BM25', run: await bm25Run(collection, { topK, signal }) }] : []
    runs.push({ name: 'model', run: await modelRun(model, collection, { topK, signal, ...(group && { group }) }) })
    if (!chief) continue
    const baseline = options.bm25 ? { baseline: 'BM25', primary: 'model' } : {}
    const report = compareRuns(runs, collection.qrels, { metrics, collection: collection.name, ...baseline })
    reports.push(report)
    if (options.run) {
      await mkdir(options.run, { recursive: true })
      for (const { name, run } of runs)
        await writeRun(join(options.run, `${collection.name}.${name}.trec`), run, { tag: name })
    }
    if (!options.json) print(formatText(report))
  }
  model.dispose()
  if (!chief) return
  if (options.json) printJson({ model: modelPath, split, collections: reports })
  else if (reports.length > 1) print(averages(reports, metrics))
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
