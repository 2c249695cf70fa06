/** The log of a run on a disk that fills up: training goes on, and no line is lost or half there. */
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import path from 'node:path'
import t from 'tap'
import { EventLog } from '../../lib/train/loop/log.js'
import { train } from '../../lib/train/loop/run.js'
import { folder, tinyModel, tinyRun, writeData } from './tiny.js'

type Write = (file: number, bytes: Uint8Array, from: number, length: number, at: number) => number

/** Puts `make(the real one)` in the place of positional writes, of the log alone. */
function replaceWrites(make: (write: Write) => Write): () => void {
  const real = fs.writeSync
  const other = make(real as Write)
  fs.writeSync = ((...args: Parameters<Write>) => (args.length === 5 ? other : (real as Write))(...args)) as never
  syncBuiltinESMExports()
  return () => {
    fs.writeSync = real
    syncBuiltinESMExports()
  }
}

const full = () =>
  Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC', syscall: 'write' })
const event = (n: number) => ({ type: 'warning', code: 'memory', message: `é${n}`, details: {} }) as const
const messages = (text: string) =>
  text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line).message) // each is whole

t.test('short writes and a full disk', async (t) => {
  const dir = folder(t)
  const file = path.join(dir, 'events.ndjson')
  const told: string[] = []
  let free = 330
  const restore = replaceWrites((write) => (fd, bytes, from, length, at) => {
    if (free === 0) throw full()
    const part = Math.min(7, length, free)
    free -= part
    return write(fd, bytes, from, part, at)
  })
  t.teardown(restore)
  const log = new EventLog(dir, 0, (message) => told.push(message))
  for (let n = 0; n < 8; n++) {
    log.write(event(n))
    const text = fs.readFileSync(file, 'utf8')
    t.equal(Buffer.byteLength(text), log.bytes)
    t.same(
      messages(text),
      Array.from({ length: messages(text).length }, (_, i) => `é${i}`),
      'whole lines, in order',
    )
  }
  t.ok(messages(fs.readFileSync(file, 'utf8')).length < 5)
  t.match(told, [/events\.ndjson is not written: ENOSPC.*Training goes on/])
  free = 1e6
  log.write(event(8))
  t.same(
    messages(fs.readFileSync(file, 'utf8')),
    Array.from({ length: 9 }, (_, i) => `é${i}`),
    'and none is lost',
  )
  free = 0
  log.write(event(9))
  log.close()
  t.same([told.length, /lacks the last 1 events: ENOSPC/.test(told[1]!)], [2, true])
})

t.test('a run is trained though its log cannot be written, and says so once', async (t) => {
  const dir = folder(t)
  const { pairs } = writeData(dir)
  let fails = 4
  const restore = replaceWrites((write) => (...args) => {
    if (fails-- > 0) throw full()
    return write(...args)
  })
  t.teardown(restore)
  const model = await tinyModel()
  t.teardown(() => model.dispose())
  const phase = { name: 'one', loss: 'contrastive', data: pairs, batch: 8, steps: 3, learningRate: 1e-3 } as const
  const run = train(tinyRun(dir, model, 'out', [phase]))
  const seen: string[] = []
  for await (const event of run)
    if (event.type !== 'snapshot' && event.type !== 'progress')
      seen.push(event.type === 'warning' ? event.code : event.type)
  await run.result
  const lines = fs.readFileSync(path.join(dir, 'out/events.ndjson'), 'utf8').trim().split('\n')
  const logged = lines.map((line) => JSON.parse(line)).map(({ type, code }) => (type === 'warning' ? code : type))
  t.same(
    seen.filter((type) => type === 'log'),
    ['log', 'log'],
    'one for each file',
  )
  t.same(logged.toSorted(), seen.toSorted(), 'all of it is in the log')
})
