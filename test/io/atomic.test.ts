/** Files and folders are whole or not at all, wherever the process dies or the disk fills up. */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, utimesSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { recoverFolder, writeAtomic, writeFolder } from '../../lib/io/atomic.js'
import { Colbert } from '../../lib/models/colbert.js'
import { native } from '../../lib/native.js'
import { seed } from '../seed.js'
import { tinyModel } from '../train/tiny.js'
import { withFailure } from './failing.js'

t.setTimeout(300_000)

const big = 'x'.repeat(100_000)
const contents = (version: string) => ({ a: version, 'deep/b': version + big })

async function fill(folder: string, version: string): Promise<void> {
  await mkdir(join(folder, 'deep'))
  for (const [name, text] of Object.entries(contents(version))) await writeAtomic(join(folder, name), [text])
}

/** The version that a folder has in all its files; null where there is no folder. */
function versionOf(folder: string): string | null {
  let names: string[]
  try {
    names = readdirSync(folder).sort()
  } catch {
    return null
  }
  if (names.join() !== 'a,deep') return `incomplete: ${names}`
  const version = readFileSync(join(folder, 'a'), 'utf8')
  const whole =
    readFileSync(join(folder, 'deep/b'), 'utf8') === version + big && readdirSync(join(folder, 'deep')).length === 1
  return whole ? version : 'torn'
}

/** Temporary names become those of a process that died two days ago. */
function age(folder: string): void {
  const old = Date.now() / 1000 - 2 * 86400
  for (const entry of readdirSync(folder, { recursive: true }) as string[])
    if (entry.includes('.tmp')) utimesSync(join(folder, entry), old, old)
}

for (const exchanges of [true, false])
  for (const before of [null, 'old'])
    t.test(
      `a folder ${before ?? 'new'}, on a file system that ${exchanges ? 'exchanges' : 'cannot exchange'} names`,
      async (t) => {
        const addon = native()
        const { exchangePaths } = addon
        if (!exchanges) addon.exchangePaths = () => false
        t.teardown(() => {
          addon.exchangePaths = exchangePaths
        })
        const root = t.testdir()
        const target = join(root, 'model')
        const save = (version: string) => writeFolder(target, (folder) => fill(folder, version), { replaces: true })
        let reached = true
        let at = 1
        const seen = new Set<string | null>()
        for (; reached; at++)
          for (const how of ['dies', 'full'] as const) {
            rmSync(root, { recursive: true, force: true })
            mkdirSync(root)
            if (before) await save(before)
            const result = await withFailure({ at, how }, () => save('new'))
            reached = result.reached
            const left = versionOf(target)
            if (exchanges) t.ok(left === before || left === 'new', `${how} at call ${at}: ${left}`)
            await recoverFolder(target)
            const found = versionOf(target)
            seen.add(found)
            t.ok(found === before || found === 'new', `${how} at call ${at}: ${found}`)
            if (how === 'full' && result.error) {
              t.match(result.error, { code: 'ERR_FILE', message: /model was not written: .*ENOSPC/ })
              const left = readdirSync(root).filter((name) => name !== '.model.replaced')
              t.same(left, found ? ['model'] : [], 'nothing is left over')
            } else if (!reached) t.equal(found, 'new')
            age(root)
            await save('newer')
            t.equal(versionOf(target), 'newer')
            t.same(readdirSync(root), ['model'], 'what the dead left behind is gone')
          }
        t.same(seen, new Set([before, 'new']))
        t.ok(at > 20, `${at} calls`)
      },
    )

for (const name of ['file.txt', 'file.txt.gz'])
  t.test(`${name}, old or new, wherever it ends`, async (t) => {
    const dir = t.testdir()
    const file = join(dir, 'deep', name)
    const read = () => {
      const bytes = readFileSync(file)
      return (name.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString().slice(0, 3)
    }
    const whole = (text: string): string[] => [text, big, 'é', big]
    let reached = true
    for (let at = 1; reached; at++)
      for (const how of ['dies', 'full'] as const) {
        await writeAtomic(file, whole('old'))
        const result = await withFailure({ at, how }, () => writeAtomic(file, whole('new')))
        reached = result.reached
        t.ok(['old', 'new'].includes(read()), `${how} at call ${at}`)
        if (how === 'full' && reached && result.error) {
          t.match(result.error, { code: 'ERR_FILE', details: { code: 'ENOSPC', path: file } })
          t.same(readdirSync(dirname(file)), [name], 'no temporary file')
        } else if (!reached) t.equal(read(), 'new')
        rmSync(dirname(file), { recursive: true })
      }
  })

t.test('memory of any kind is written as it is, and what the source throws passes through', async (t) => {
  const dir = t.testdir()
  const numbers = Float64Array.from({ length: 1000 }, (_, i) => i / 3)
  await writeAtomic(join(dir, 'f'), ['héllo', numbers.subarray(1), '', new Uint16Array([7, 8])])
  const bytes = readFileSync(join(dir, 'f'))
  t.equal(bytes.subarray(0, 6).toString(), 'héllo')
  t.ok(bytes.subarray(6, -4).equals(Buffer.from(numbers.buffer, 8)))
  t.same([...bytes.subarray(-4)], [7, 0, 8, 0])
  async function* broken(): AsyncGenerator<string> {
    yield big
    throw new RangeError('no more')
  }
  for (const name of ['f', 'f.gz']) await t.rejects(writeAtomic(join(dir, name), broken()), { name: 'RangeError' })
  t.same(readdirSync(dir), ['f'])
})

t.test('a link to a folder stays one, and the folder it leads to is replaced', async (t) => {
  const dir = t.testdir({ disk: {} })
  symlinkSync(join(dir, 'disk', 'model'), join(dir, 'model'))
  mkdirSync(join(dir, 'disk', 'model'))
  for (const version of ['old', 'new'])
    await writeFolder(join(dir, 'model'), (folder) => fill(folder, version), { replaces: true })
  t.equal(versionOf(join(dir, 'disk', 'model')), 'new')
  t.same(readdirSync(dir), ['disk', 'model'])
})

t.test('threads of one process write one file at the same time', async (t) => {
  const dir = t.testdir()
  const script = `
    import { workerData } from 'node:worker_threads'
    import { writeAtomic } from ${JSON.stringify(new URL('../../lib/io/atomic.js', import.meta.url).href)}
    for (let i = 0; i < 20; i++) await writeAtomic(workerData.file, Array(50).fill(workerData.text))`
  const workerDatas = ['a', 'b', 'c'].map((letter) => ({ file: join(dir, 'file'), text: letter.repeat(5000) }))
  await Promise.all(
    workerDatas.map(
      (workerData) =>
        new Promise((resolve, reject) => {
          const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(script)}`), { workerData })
          worker.on('error', reject)
          worker.on('exit', resolve)
        }),
    ),
  )
  t.match(readFileSync(join(dir, 'file'), 'utf8'), /^(a{250000}|b{250000}|c{250000})$/)
  t.same(readdirSync(dir), ['file'])
})

t.test('a saved model is the old or the new one at every moment of a save', async (t) => {
  const root = t.testdir()
  const target = join(root, 'model')
  const models = await Promise.all([tinyModel(1), tinyModel(2)])
  const bytesOf = async (model: Colbert) => Buffer.from((await model.parameters.values.values()).buffer).toString('hex')
  const [old, young] = await Promise.all(models.map(bytesOf))
  const seen = new Set<string>()
  let reached = true
  await models[0]!.save(target)
  for (let at = 1 + (seed % 3); reached; at += 3) {
    reached = (await withFailure({ at, how: 'dies' }, () => models[1]!.save(target))).reached
    const found = await Colbert.load(target)
    const bytes = await bytesOf(found)
    found.dispose()
    seen.add(bytes)
    t.ok(bytes === old || bytes === young, `died at call ${at}`)
    if (bytes !== old) await models[0]!.save(target)
  }
  t.same(seen, new Set([old, young]))
  for (const model of models) model.dispose()
})

t.test('a model whose save was cut off between two names is found again', async (t) => {
  const root = t.testdir()
  const target = join(root, 'model')
  const model = await tinyModel()
  await model.save(target)
  renameSync(target, join(root, '.model.replaced'))
  ;(await Colbert.load(target)).dispose()
  t.same(readdirSync(root), ['model'])
  renameSync(target, join(root, '.model.replaced'))
  await model.save(target)
  t.same(readdirSync(root), ['model'])
  model.dispose()
})
