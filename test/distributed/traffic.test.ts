/** What ranks send each other in a step: calls, bytes, 16 bits, NaN, PyLate's factors, on 1 to 4 ranks. */
import t from 'tap'
import { seed } from '../seed.js'
import { mpirun, withoutRanks } from './launch.js'

t.setTimeout(600_000) // on a busy machine; a launch has its own limit

for (const ranks of [1, 2, 3, 4])
  t.test(`a step on ${ranks} ranks`, { skip: withoutRanks }, async (t) => {
    const { status, reports, stderr } = mpirun(ranks, 'traffic', [`${seed}`])
    t.equal(status, 0, 'exit')
    if (status !== 0) t.comment(stderr)
    t.equal(reports.length, ranks, 'every rank reported')
    for (const { problems } of reports) t.same(problems, [])
    t.equal(new Set(reports.map((r) => r.digest)).size, 1, 'the same on every rank')
    t.comment(JSON.stringify(reports.map((r) => r.numbers)))
  })
