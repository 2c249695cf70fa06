import type { Test } from 'tap'
import { seed } from '../seed.js'
import { mpirun, type RankRun } from './launch.js'

/** Runs a script that checks itself: every rank reports no problem, and the same digest. @returns the reports */
export function checkOnRanks(t: Test, ranks: number, script: string, env: NodeJS.ProcessEnv = {}): RankRun['reports'] {
  const { status, reports, stderr } = mpirun(ranks, script, [`${seed}`], 240, env)
  t.equal(status, 0, 'exit')
  if (status !== 0) t.comment(stderr)
  t.equal(reports.length, ranks, 'every rank reported')
  for (const { problems } of reports) t.same(problems, [], 'no rank found a difference')
  t.equal(new Set(reports.map((r) => r.digest)).size, 1, 'the same bits on every rank')
  return reports
}
