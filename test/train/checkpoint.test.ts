import { randomBytes, randomInt } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import {
  clearUnfinished,
  latestCheckpoint,
  listCheckpoints,
  removeCheckpoint,
  verifyCheckpoint,
  writeCheckpoint,
} from '../../lib/train/checkpoint/checkpoint.js'
import { folder } from './tiny.js'

const contents = { 'state.json': '{"step":1}', 'model/model.safetensors': randomBytes(5000), 'model/1_Dense/a': 'a' }

async function fill(into: string): Promise<void> {
  await mkdir(path.join(into, 'model/1_Dense'), { recursive: true })
  for (const [name, data] of Object.entries(contents)) await writeFile(path.join(into, name), data)
}

t.test('writes whole folders and finds the newest', async (t) => {
  const root = path.join(folder(t), 'checkpoints')
  t.equal(await latestCheckpoint(root), null, 'there is not even a folder')
  for (const step of [9, 100]) t.equal(await writeCheckpoint(root, step, fill), path.join(root, `step-${step}`))
  t.same(
    (await listCheckpoints(root)).map(({ step }) => step),
    [9, 100],
    'by number, not by name',
  )
  t.same(await latestCheckpoint(root), { path: path.join(root, 'step-100'), step: 100 })
  await t.rejects(writeCheckpoint(root, 9, fill), { code: 'ERR_CHECKPOINT', message: /exists already/ })
  await removeCheckpoint(path.join(root, 'step-100'))
  t.same(readdirSync(root), ['step-9'])
})

t.test('what is unfinished is never taken for a checkpoint', async (t) => {
  const root = folder(t)
  await writeCheckpoint(root, 1, fill)
  let during: string[] = []
  await t.rejects(
    writeCheckpoint(root, 2, async (into) => {
      await fill(into)
      during = (await listCheckpoints(root)).map(({ path }) => path)
      throw new Error('disk full')
    }),
    { message: 'disk full' },
  )
  t.same(during, [path.join(root, 'step-1')])
  t.same(readdirSync(root), ['step-1'], 'a failed one leaves nothing')
  mkdirSync(path.join(root, '.step-3.1.abcd/model'), { recursive: true }) // what kill -9 leaves
  mkdirSync(path.join(root, 'step-4')) // a folder that someone made
  t.match(await latestCheckpoint(root, () => {}), { step: 1 })
  await clearUnfinished(root)
  t.same(readdirSync(root).sort(), ['step-1', 'step-4'])
})

t.test('damage of any kind is found', async (t) => {
  const names = [...Object.keys(contents), 'manifest.json']
  for (const name of names)
    for (const damage of ['flip', 'cut', 'remove', 'grow', 'rename', 'add'] as const) {
      const root = folder(t)
      await writeCheckpoint(root, 1, fill)
      const newest = await writeCheckpoint(root, 2, fill)
      await verifyCheckpoint(newest)
      const file = path.join(newest, name)
      const bytes = readFileSync(file)
      const at = randomInt(bytes.length)
      if (damage === 'flip') {
        bytes[at]! ^= 1 << randomInt(8)
        writeFileSync(file, bytes)
      } else if (damage === 'cut') truncateSync(file, at)
      else if (damage === 'remove') rmSync(file)
      else if (damage === 'grow') writeFileSync(file, Buffer.concat([bytes, Buffer.from(['x'][0]!)]))
      else if (damage === 'rename') renameSync(file, `${file}2`)
      else writeFileSync(`${file}.new`, '')
      const hint = `${damage} ${name}, byte ${at}`
      await t.rejects(verifyCheckpoint(newest), { code: 'ERR_CHECKPOINT' }, hint)
      await t.rejects(latestCheckpoint(root), { code: 'ERR_CHECKPOINT' }, `${hint}: strict`)
      const skipped: string[] = []
      t.match(await latestCheckpoint(root, (p) => skipped.push(p)), { step: 1 }, `${hint}: the one before`)
      t.same(skipped, [newest])
    }
})
