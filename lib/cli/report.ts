import { writeAtomic } from '../io/atomic.js'
import { type QueryMaps, queryMaps } from '../report/query-maps.js'
import { reportContent, reportPage } from '../report/report.js'
import { distinctLabels, type RunRecord, readRun } from '../report/run-record.js'
import { interruptible, print, printJson } from './common.js'
import { showing } from './progress.js'

interface ReportOptions {
  out: string
  queries: number
  device: string
  json?: boolean
}

/** `lateforge report <run...> --out FILE` */
export async function report(folders: readonly string[], options: ReportOptions): Promise<void> {
  const { out, queries, device } = options
  const signal = interruptible('stopping; nothing is written')
  const runs: RunRecord[] = []
  const maps: QueryMaps[] = []
  await showing(async (onProgress) => {
    for (const folder of folders) runs.push(await readRun(folder, onProgress))
    distinctLabels(runs)
    for (const [n, run] of runs.entries()) maps.push(await queryMaps(run, n, { queries, device, signal, onProgress }))
  })
  await writeAtomic(out, [reportPage(runs, reportContent(runs, maps))])
  if (options.json)
    printJson({
      out,
      runs: runs.map(({ folder, log }) => ({ folder, steps: log.steps.length, done: log.done !== null })),
    })
  else print(out)
}
