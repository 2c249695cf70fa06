/** A run's folder has one owner: runs at once, runs that were killed, process numbers that come again, other machines. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { LockedError } from '../../lib/errors.js'
import { lockFolder } from '../../lib/train/checkpoint/lock.js'
import { folder, saveGuide, saveTinyModel } from './tiny.js'

/** The claim that a lock in `dir` has written, changed and put back under another name. */
async function foreign(dir: string, change: object): Promise<string> {
  const lock = await lockFolder(dir)
  const [name] = readdirSync(path.join(dir, 'lock'))
  const claim = JSON.parse(readFileSync(path.join(dir, 'lock', name!), 'utf8'))
  await lock.release()
  mkdirSync(path.join(dir, 'lock'))
  const file = path.join(dir, 'lock', 'other.json')
  writeFileSync(file, JSON.stringify({ ...claim, ...change }))
  return file
}

t.setTimeout(600_000)

t.test('one at a time', async (t) => {
  const dir = folder(t)
  const lock = await lockFolder(dir)
  const error = await lockFolder(dir).catch((error) => error)
  t.type(error, LockedError)
  t.match(error, { code: 'ERR_LOCKED', details: { host: hostname(), pid: process.pid, started: /^20\d\d-/ } })
  t.match(error.message, `process ${process.pid} on ${hostname()}`)
  await lock.release()
  t.notOk(existsSync(path.join(dir, 'lock')), 'nothing is left')
  for (let round = 0; round < 5; round++) {
    const tried = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(dir)))
    const owners = tried.filter((outcome) => outcome.status === 'fulfilled')
    t.equal(owners.length, 1, 'of many at once')
    for (const { value } of owners) await value.release()
  }
})

t.test('what dead owners leave', async (t) => {
  const dir = folder(t)
  await foreign(dir, { ticks: '1' })
  await (await lockFolder(dir)).release()
  t.pass('a process number that another process has now')
  await foreign(dir, { pid: 2 ** 22 + 1 })
  await (await lockFolder(dir)).release()
  t.pass('a process that is gone')
  const file = await foreign(dir, { namespace: 'elsewhere', host: 'other', pid: 7 })
  const refused = await lockFolder(dir).catch((error) => error)
  t.match(refused, {
    code: 'ERR_LOCKED',
    message: /process 7 on other, started .* last sign of life \d+ s ago.* remove .*lock/,
  })
  t.same(readdirSync(path.join(dir, 'lock')), ['other.json'], 'it is left alone')
  const before = Date.now() / 1000 - 600
  utimesSync(file, before, before)
  await (await lockFolder(dir)).release()
  t.pass('of another machine, silent for ten minutes')
})

interface Child {
  process: ChildProcess
  lines: string[]
  stderr: string
  /** Settles at the first step. */
  trains: Promise<void>
  ended: Promise<unknown[]>
}

function startTraining(dir: string): Child {
  const script = fileURLToPath(new URL('./child.js', import.meta.url))
  const process_ = spawn(process.execPath, [script, dir, '8'], { stdio: ['ignore', 'pipe', 'pipe'] })
  const child: Child = {
    process: process_,
    lines: [],
    stderr: '',
    trains: Promise.resolve(),
    ended: once(process_, 'close'),
  }
  process_.stderr!.setEncoding('utf8').on('data', (text: string) => (child.stderr += text))
  child.trains = new Promise((resolve) =>
    createInterface({ input: process_.stdout! }).on('line', (line) => {
      child.lines.push(line)
      if (line.includes('"type":"step"')) resolve()
    }),
  )
  return child
}

t.test('two trainings in one folder: the second is refused and touches nothing; a killed one is resumed', async (t) => {
  const dir = folder(t)
  await saveTinyModel(path.join(dir, 'base'))
  await saveGuide(dir)
  const first = startTraining(dir)
  await first.trains
  first.process.kill('SIGSTOP') // so that what is in the folder stays as it is
  const contents = (): string => readdirSync(path.join(dir, 'run'), { recursive: true }).sort().join()
  const [before, log] = [contents(), readFileSync(path.join(dir, 'run/events.ndjson'), 'utf8')]
  const second = startTraining(dir)
  t.not((await second.ended)[0], 0)
  t.match(second.stderr, new RegExp(`LockedError.* belongs to a run of process ${first.process.pid} on `))
  t.equal(contents(), before)
  t.equal(readFileSync(path.join(dir, 'run/events.ndjson'), 'utf8'), log)
  first.process.kill('SIGKILL')
  await first.ended
  const third = startTraining(dir)
  t.same(await third.ended, [0, null], third.stderr)
  t.match(third.lines.at(-1), /"type":"done"/)
  t.notOk(existsSync(path.join(dir, 'run/lock')))
})
