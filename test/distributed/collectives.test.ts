/** Collectives over MPI on 1 to 4 ranks: uneven counts, ranks with nothing, fixed bits, what is counted, disagreement. */
import t from 'tap'
import { checkOnRanks } from './check-on-ranks.js'
import { withoutRanks } from './launch.js'

for (const ranks of [1, 2, 3, 4])
  t.test(`collectives on ${ranks} ranks`, { skip: withoutRanks }, async (t) => {
    // On three ranks a part of more than 999 bytes takes several messages, as one of more than a gibibyte does.
    const env = ranks === 3 ? { LATEFORGE_MPI_MESSAGE: '999' } : {}
    checkOnRanks(t, ranks, 'collectives', env)
  })
