/** What ranks send each other in a step: calls, bytes, 16 bits, NaN, PyLate's factors, on 1 to 4 ranks. */
import t from 'tap'
import { checkOnRanks } from './check-on-ranks.js'
import { withoutRanks } from './launch.js'

t.setTimeout(600_000) // on a busy machine; a launch has its own limit

for (const ranks of [1, 2, 3, 4])
  t.test(`a step on ${ranks} ranks`, { skip: withoutRanks }, async (t) => {
    const reports = checkOnRanks(t, ranks, 'traffic')
    t.comment(JSON.stringify(reports.map((r) => r.numbers)))
  })
