import { writeAtomic } from '../io/atomic.js'
import { ProgressLine } from '../io/progress-line.js'
import { type QueryMaps, queryMaps } from '../report/query-maps.js'
import { reportContent, reportPage } from '../report/report.js'
import { distinctLabels, type RunRecord, readRun } from '../report/run-record.js'
import { interruptible, print, printJson } from './common.js'

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
  const line = new ProgressLine()
  const runs: RunRecord[] = []
  const maps: QueryMaps[] = []
  try {
    for (const folder of folders) {
      line.draw(`reading ${folder}`)
      runs.push(await readRun(folder))
    }
    distinctLabels(runs)
    for (const [n, run] of runs.entries()) {
      line.draw(`${run.label}: mapping its best and worst queries`)
      maps.push(await queryMaps(run, n, { queries, device, signal }))
    }
  } finally {
    line.close()
  }
  await writeAtomic(out, [reportPage(runs, reportContent(runs, maps))])
  if (options.json)
    printJson({
      out,
      runs: runs.map(({ folder, log }) => ({ folder, steps: log.steps.length, done: log.done !== null })),
    })
  else print(out)
}
