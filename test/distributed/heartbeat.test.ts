/** What ranks notice of each other without being killed: errors, silence, a deadline; and an end in good order. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { folder } from '../train/tiny.js'
import { mpirun, withoutRanks } from './launch.js'

interface Outcome {
  status: number | null
  stderr: string
  /** Records by file name. */
  records: Record<string, { reason: string; missing: number | null; place: string; collective: object }>
}

function pulse(
  t: { teardown(fn: () => void): unknown; notOk(value: unknown, text: string): unknown },
  plan: string,
): Outcome {
  const faults = path.join(folder(t), 'faults')
  const { status, stderr } = mpirun(3, 'pulse', [plan, faults], 60)
  const names = existsSync(faults) ? readdirSync(faults) : []
  const records = names.map((name) => [name, JSON.parse(readFileSync(path.join(faults, name), 'utf8'))])
  t.notOk(
    names.some((name) => name.endsWith('.part')),
    'no half record',
  )
  return { status, stderr, records: Object.fromEntries(records) }
}

t.test('an end in good order', { skip: withoutRanks }, async (t) => {
  const { status, records, stderr } = pulse(t, 'end')
  t.equal(status, 0, stderr)
  t.same(records, {}, 'no records')
})

t.test('an error on one rank: the others are told which and write it down', { skip: withoutRanks }, async (t) => {
  const { status, records } = pulse(t, 'error')
  t.equal(status, 1, 'the exit code of that rank')
  t.same(Object.keys(records).sort(), ['rank-0.json', 'rank-2.json'])
  for (const record of Object.values(records))
    t.match(record, { missing: 1, place: 'step 20', reason: /^rank 1 ended: exit code 1, at step \d+$/ })
})

t.test('the same error on every rank: its own exit code, no blame', { skip: withoutRanks }, async (t) => {
  const { status, records } = pulse(t, 'shared-error')
  t.equal(status, 7)
  t.same(records, {})
})

t.test('an event loop that stands still: its silence is noticed', { skip: withoutRanks }, async (t) => {
  const { status, records } = pulse(t, 'silence')
  t.equal(status, 9)
  for (const rank of [0, 2])
    t.match(records[`rank-${rank}.json`], {
      missing: 1,
      place: 'step 20',
      reason: /^rank 1 was last heard 2\.\d s ago, at step \d+$/,
      collective: { kind: 'allReduceMax', begun: true, waitingFor: [1] },
    })
})

t.test('the same without a heartbeat: the deadline of the collective fires', { skip: withoutRanks }, async (t) => {
  const { status, records } = pulse(t, 'blocked')
  t.equal(status, 9)
  for (const rank of [0, 2])
    t.match(records[`rank-${rank}.json`], {
      missing: 1,
      reason: /^collective 21 \(allReduceMax\) did not finish within 1.5 s; it waited for rank 1$/,
      collective: { sequence: 21, waitingFor: [1] },
    })
})
