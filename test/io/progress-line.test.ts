/** The line of progress: on a terminal, elsewhere, and what stays of it. The clock is the test's own. */
import { Writable } from 'node:stream'
import t, { type Test } from 'tap'
import { size } from '../../lib/io/amounts.js'
import { ProgressLine } from '../../lib/io/progress-line.js'
import type { Progress } from '../../lib/progress.js'

/** A line into a text, at times that `at` sets. */
function lineOf(t: Test, isTTY: boolean): { line: ProgressLine; at(ms: number): void; said(): string } {
  let [now, text] = [0, '']
  const stream = new Writable({
    write(chunk, _, done) {
      text += chunk
      done()
    },
  })
  const clock = performance.now
  performance.now = () => now
  t.teardown(() => {
    performance.now = clock
  })
  const line = new ProgressLine(Object.assign(stream, { isTTY, columns: 100 }))
  t.teardown(() => line.close())
  return {
    line,
    at: (ms) => {
      now = ms
    },
    said: () => {
      const all = text
      text = ''
      return all
    },
  }
}

const encoding = (done: number, total = 1000): Progress => ({ stage: 'encoding', done, total, unit: 'documents' })

t.test('on a terminal: nothing for two seconds, then one line that is drawn anew', async (t) => {
  const { line, at, said } = lineOf(t, true)
  line.show(encoding(0))
  for (const ms of [500, 1000, 1900]) {
    at(ms)
    line.show(encoding(ms / 10))
  }
  t.equal(said(), '')
  at(2000)
  line.show({ ...encoding(200), name: 'books', part: '2 of 3' })
  t.equal(said(), '\r\x1b[2Kbooks  encoding 2 of 3  200 of 1,000 documents  20.0 %')
  at(4000)
  line.show({ ...encoding(400), name: 'books', part: '2 of 3' })
  t.equal(said(), '\r\x1b[2Kbooks  encoding 2 of 3  400 of 1,000 documents  40.0 %  100/s  eta 6s')
  line.say('a line that stays')
  t.equal(said(), '\r\x1b[2Ka line that stays\n')
  at(4050)
  line.show({ ...encoding(450), name: 'books', part: '2 of 3' })
  t.equal(said(), '', 'no more than ten times a second')
})

t.test('elsewhere: a line every 30 s, also where nobody tells anything', async (t) => {
  const { line, at, said } = lineOf(t, false)
  for (let ms = 0; ms < 95_000; ms += 1000) {
    at(ms)
    line.show(encoding(ms, 100_000))
  }
  t.same(
    said()
      .trimEnd()
      .split('\n')
      .map((text) => text.split('  ')[1]),
    ['30,000 of 100,000 documents', '60,000 of 100,000 documents', '90,000 of 100,000 documents'],
  )
  at(125_000)
  await new Promise((resolve) => setTimeout(resolve, 1500))
  t.match(said(), /^encoding {2}94,000 of 100,000 documents {2}94\.0 %.*\n$/)
})

t.test('the rate is of the last ten seconds, and begins anew with a stage', async (t) => {
  const { line, at, said } = lineOf(t, true)
  for (let s = 0; s <= 30; s++) {
    at(1000 * s)
    line.show(encoding(s < 20 ? 10 * s : 200 + 30 * (s - 20)))
  }
  t.match(said(), / {2}500 of 1,000 documents {2}50\.0 % {2}30\.0\/s {2}eta 17s$/)
  at(31_000)
  line.show({ stage: 'searching', done: 5, unit: 'queries' })
  t.match(said(), /searching {2}5 queries$/)
  at(61_000)
  line.show({ stage: 'searching', done: 20, unit: 'queries' })
  t.match(said(), /searching {2}20 queries {2}0\.500\/s$/, 'what is told more seldom has a rate too')
})

t.test('transfers: bytes, why nothing goes on, and what stays', async (t) => {
  const { line, at, said } = lineOf(t, false)
  const fetching = (done: number): Progress => ({
    ...{ stage: 'downloading', name: 'org/name', part: '1/2 a.bin', unit: 'bytes', done, total: 5_000_000 },
  })
  line.show(fetching(1_000_000))
  at(31_000)
  line.show(fetching(2_000_000))
  t.equal(said(), 'org/name  downloading 1/2 a.bin  2.00 MB of 5.00 MB  40.0 %\n')
  at(62_000)
  line.show({ ...fetching(2_000_000), waiting: 'once more in 5 s' })
  t.equal(said(), 'org/name  downloading 1/2 a.bin  waiting: once more in 5 s\n')
  line.show(fetching(5_000_000))
  t.equal(said(), 'org/name: 4.00 MB of 5.00 MB fetched in 1m 2s\n')
  at(80_000)
  line.show({ ...fetching(0), name: 'org/other' })
  line.show({ ...fetching(5_000_000), name: 'org/other' })
  t.equal(said(), '', 'a short one is not worth a word')
  t.equal(size(436_000_000), '436 MB')
})

t.test('what takes long before it is told of is shown at once; whoever read it may leave', async (t) => {
  const { line, at, said } = lineOf(t, true)
  at(5000)
  line.show({ stage: 'training', name: 'one', part: 'first pass', done: 3, total: 9, unit: 'micro-batches' }, 2000)
  t.match(said(), /one {2}training first pass {2}3 of 9 micro-batches {2}33\.3 %/)
  const broken = new Writable({
    write(_, __, done) {
      done(Object.assign(new Error('gone'), { code: 'EPIPE' }))
    },
  })
  const other = new ProgressLine(broken)
  other.say('a')
  await new Promise((resolve) => setImmediate(resolve))
  other.say('b')
  other.close()
  t.pass('no error was thrown')
})
