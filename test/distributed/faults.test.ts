/**
 * Ranks that are killed, stopped or cut off in the middle of a training, at random points: everything ends within 15 s,
 * every living rank says who is missing, no checkpoint is torn, and the training goes on, also on fewer ranks (faults.ts).
 * What is done to a rank and how many go on are each other's strangers: all pairs of them are for the long suite.
 * `node bench/faults.mjs` does the same more often.
 */
import t from 'tap'
import { long } from '../long.js'
import { Lab } from './faults.js'
import { withoutHosts } from './job.js'
import { withoutRanks } from './launch.js'

const lab = await Lab.open()
t.teardown(() => lab.close())
t.setTimeout(600_000)

const skips = { kill: withoutRanks, stop: withoutRanks, cut: withoutRanks || withoutHosts }

for (const kind of ['kill', 'stop', 'cut'] as const)
  for (const fewer of long ? [false, true] : [kind === 'stop'])
    t.test(`${kind}, resumed on ${fewer ? 'fewer' : 'as many'} ranks`, { skip: skips[kind] }, async (t) => {
      const { problems, ...trial } = await lab.trial(kind, fewer)
      t.comment(JSON.stringify(trial))
      t.same(problems, [])
    })
