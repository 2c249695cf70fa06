/** Collectives over MPI on 1 to 4 ranks: uneven counts, ranks with nothing, fixed bits, what is counted, disagreement. */
import t from 'tap'
import { seed } from '../seed.js'
import { mpirun, withoutRanks } from './launch.js'

for (const ranks of [1, 2, 3, 4])
  t.test(`collectives on ${ranks} ranks`, { skip: withoutRanks }, async (t) => {
    // On three ranks a part of more than 999 bytes takes several messages, as one of more than a gibibyte does.
    const env = ranks === 3 ? { LATEFORGE_MPI_MESSAGE: '999' } : {}
    const { status, reports, stderr } = mpirun(ranks, 'collectives', [`${seed}`], 240, env)
    t.equal(status, 0, 'exit')
    if (status !== 0) t.comment(stderr)
    t.equal(reports.length, ranks, 'every rank reported')
    for (const { problems } of reports) t.same(problems, [], 'no rank found a difference')
    t.equal(new Set(reports.map((r) => r.digest)).size, 1, 'sums have the same bits on every rank')
  })
