/**
 * Readers in processes and workers beside one writer: every search finds one state, none an error, and none goes back.
 * `LATEFORGE_TEST_SECONDS` is how long, `LATEFORGE_TEST_READERS` how many.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, rmSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { Index } from '../../lib/indexing/index.js'
import { Device } from '../../lib/tensor/device.js'
import { Tensor } from '../../lib/tensor/tensor.js'
import type { Told } from './reader.js'

const seconds = Number(process.env.LATEFORGE_TEST_SECONDS ?? 3)
const readers = Number(process.env.LATEFORGE_TEST_READERS ?? 3)
const documents = 40

t.test('a segment that a writer removes while it is opened', async (t) => {
  const dir = path.join(t.testdir(), 'index')
  const later = `${dir}-later`
  const one = (id: string) => ({ data: new Float32Array(8).fill(1), offsets: [0, 1], dim: 8, ids: [id] })
  const index = await Index.create(dir, { dim: 8, type: 'float32' })
  await index.addEmbeddings(one('a'))
  await index.addEmbeddings(one('b'))
  await index.close()
  cpSync(dir, later, { recursive: true })
  const writer = await Index.open(later)
  await writer.delete(['a'])
  await writer.compact()
  await writer.close()
  // Just before the first file is mapped, which was open already, all of it becomes what the writer has made.
  const { map } = Tensor
  t.teardown(() => {
    Tensor.map = map
  })
  Tensor.map = (...operands) => {
    Tensor.map = map
    rmSync(dir, { recursive: true })
    cpSync(later, dir, { recursive: true })
    return map(...operands)
  }
  const device = Device.open()
  const { tensors } = device.memory()
  const reader = await Index.open(dir)
  t.match(await reader.info(), { documents: 1, deleted: 0 })
  await reader.close()
  t.equal(Tensor.map, map)
  t.equal(device.memory().tensors, tensors, 'what was made before the file was gone is freed')
})

t.test(`${readers} readers and a writer for ${seconds} s`, { timeout: (seconds + 120) * 1000 }, async (t) => {
  const dir = path.join(t.testdir(), 'index')
  const index = await Index.create(dir, { dim: 8, type: 'float32' })
  const ids = Array.from({ length: documents }, (_, i) => `d${i}`)
  // Two vectors a document; the score of the query (1, 0, …) is the version.
  const write = (version: number) =>
    index.addEmbeddings(
      {
        data: Float32Array.from({ length: documents * 16 }, (_, i) => (i % 16 === 0 ? version : 0)),
        ...{ offsets: Array.from({ length: documents + 1 }, (_, i) => 2 * i), dim: 8, ids },
      },
      { existing: 'replace', kept: ids.map(() => ({ text: `${version}` })) },
    )
  await write(1)
  const program = path.join(import.meta.dirname, 'reader.js')
  const running = Array.from({ length: readers }, (_, i) =>
    i % 2 === 0 ? fork(program, [dir, `${documents}`]) : new Worker(program, { workerData: { dir, documents } }),
  )
  const answers = running.map((reader) => once(reader, 'message') as Promise<[Told]>)
  const exits = running.map((reader) => once(reader, 'exit'))
  let version = 1
  for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
    await write(++version)
    if (version % 4 === 0) await index.compact()
    if (version % 9 === 0) await wait(20)
  }
  for (const reader of running) 'postMessage' in reader ? reader.postMessage('stop') : reader.send('stop')
  let [searches, versions, late] = [0, 0, 0]
  for (const [i, answer] of answers.entries()) {
    const [told] = await answer
    t.same(
      told.wrong,
      [],
      `reader ${i}: ${told.searches} searches, ${told.versions} versions, latest timer ${told.late} ms`,
    )
    t.ok(told.searches > 0)
    searches += told.searches
    versions += told.versions
    late = Math.max(late, told.late)
  }
  for (const reader of running) if ('terminate' in reader) await reader.terminate()
  await Promise.all(exits)
  t.comment(
    `${version} versions written, ${searches} searches, ${versions} versions seen, latest timer ${late.toFixed(1)} ms`,
  )
  await index.verify()
  await index.close()
})
