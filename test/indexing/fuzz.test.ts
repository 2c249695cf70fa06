/**
 * Damaged files of an index: every change of bytes ends in hits or in an error of lateforge's, never in a crash. Under
 * AddressSanitizer too (`npm run test:sanitized`). `LATEFORGE_TEST_FUZZ` is how many files are damaged.
 */
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { LateforgeError } from '../../lib/errors.js'
import { Index, type IndexType } from '../../lib/indexing/index.js'
import { Random } from '../../lib/io/random.js'
import { Colbert } from '../../lib/models/colbert.js'
import { tokenizer } from '../models/words.js'
import { seed } from '../seed.js'

const temporary = t.testdir()
const draws = new Random(seed)
const below = (n: number) => Math.floor(draws.next() * n)
const dim = 16
const shape = { architecture: 'bert', layers: 1, width: 32, heads: 2, intermediate: 32, dim, tokenizer } as const
const model = await Colbert.create(shape, { seed })
t.teardown(() => model.dispose())

function vectors(lengths: readonly number[]) {
  const offsets = [0]
  for (const length of lengths) offsets.push(offsets.at(-1)! + length)
  return { data: Float32Array.from({ length: offsets.at(-1)! * dim }, () => draws.next() - 0.5), offsets, dim }
}

/** Two segments, the first with lists, deleted documents, texts metadata and words. */
async function made(dir: string, type: IndexType) {
  const index = await Index.create(dir, { model, type, listsFrom: 100 })
  for (const count of [40, 6]) {
    const ids = Array.from({ length: count }, (_, i) => `${count}-${i}`)
    const kept = ids.map((id) => ({ text: `text ${id}`, metadata: { id } }))
    await index.addEmbeddings({ ...vectors(ids.map(() => below(7))), ids }, { kept })
  }
  await index.delete(['40-3', '40-17'])
  await index.close()
}

/**
 * A copy with other bytes: flipped bits, a run of one value, another number of eight bytes, a part moved, a part of text; cut
 * short, or doubled; or another file in its place.
 */
function damaged(whole: Buffer, others: readonly Buffer[]): Buffer {
  if (draws.next() < 0.05) return others[below(others.length)]!
  const bytes = Buffer.from(whole)
  for (let changes = 1 + below(4); changes > 0; changes--) {
    // Headers and small tables are where most can go wrong.
    const at = below(draws.next() < 0.5 ? Math.min(bytes.length, 600) : bytes.length)
    const length = Math.min(1 + below(24), bytes.length - at)
    switch (below(5)) {
      case 0:
        bytes[at]! ^= 1 << below(8)
        break
      case 1:
        bytes.fill([0, 0xff, 0x7f, 0x80, 0x30][below(5)]!, at, at + length)
        break
      case 2:
        if (at + 8 <= bytes.length)
          bytes.writeDoubleLE([-1, 0.5, 1e300, Number.NaN, 2 ** 53, below(1000)][below(6)]!, at)
        break
      case 3:
        bytes.copyWithin(at, below(bytes.length), below(bytes.length))
        break
      default:
        bytes.write(['9', '-', '1e9', 'null', '"', '[', '{}', 'F64', 'I64'][below(9)]!, at, 'latin1')
    }
  }
  const cut = draws.next()
  return cut < 0.1 ? bytes.subarray(0, below(bytes.length)) : cut < 0.15 ? Buffer.concat([bytes, bytes]) : bytes
}

/** Whether `verify` finds the damage, where nothing is changed. */
async function used(dir: string, changes: boolean): Promise<boolean> {
  const index = await Index.open(dir, { model })
  try {
    const queries = vectors([3, 0, 1]) as never
    await index.search(queries, { topK: 5, probes: 2, candidates: 4, withTexts: true, explain: true })
    await index.search(queries, { exact: true, filter: { where: ({ id }) => id !== '40-1' } })
    await index.search(queries, { probes: 1, candidates: 30, filter: { where: { id: { $gt: '40-2' } } } })
    await index.search(queries, { among: [['40-1', '6-2'], [], ['40-3']] })
    await index.search(['text 40-5', ''], { firstStage: 'bm25', candidates: 5 })
    await index.get('40-5')
    if (changes) {
      await index.add([]).catch(() => {})
      if (below(2) === 0) await index.delete(['40-7'])
      if (below(2) === 0) await index.compact()
      return true
    }
    return await index.verify().then(
      () => false,
      (error) => {
        if (error.code === 'ERR_FORMAT') return true
        throw error
      },
    )
  } finally {
    await index.close()
  }
}

const types = ['int8', 'float16', 'float32', 'residual4', 'residual2'] as const
const rounds = Number(process.env.LATEFORGE_TEST_FUZZ ?? 300)
t.test(`${rounds} damaged files`, { timeout: 24 * 3600 * 1000 }, async (t) => {
  const outcomes = new Map<string, number>()
  const [sound, dir] = [path.join(temporary, 'sound'), path.join(temporary, 'damaged')]
  for (const type of types) {
    rmSync(sound, { recursive: true, force: true })
    await made(sound, type)
    const files = new Map<string, Buffer>()
    for (const name of readdirSync(sound)) if (name !== 'lock') files.set(name, readFileSync(path.join(sound, name)))
    const names = [...files.keys()]
    const put = (name: string, bytes: Buffer | string) => writeFileSync(path.join(dir, name), bytes)
    const manifest = files.get('index.json')!.toString()
    let isWhole = false
    for (let round = 0; round < rounds / types.length; round++) {
      if (!isWhole) {
        rmSync(dir, { recursive: true, force: true })
        cpSync(sound, dir, { recursive: true })
      }
      const name = names[below(names.length)]!
      const bytes = damaged(files.get(name)!, [...files.values()])
      put(name, bytes)
      // The manifest knows the size, or nothing but the size would ever be seen.
      const size = new RegExp(`("name": "${name}",\\s*"bytes": )\\d+`)
      if (name !== 'index.json') put('index.json', manifest.replace(size, `$1${bytes.length}`))
      const changes = below(16) === 0
      const outcome = await used(dir, changes).then(
        (isFound) => {
          if (!isFound && name !== 'index.json' && !bytes.equals(files.get(name)!))
            t.fail(`${type}, ${name}, round ${round}: verify finds nothing`)
          return 'used'
        },
        (error) => {
          if (!(error instanceof LateforgeError)) t.fail(`${type}, ${name}, round ${round}: ${(error as Error).stack}`)
          return error.code
        },
      )
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      isWhole = !changes
      for (const file of isWhole ? [name, 'index.json'] : []) put(file, files.get(file)!)
    }
  }
  t.comment(JSON.stringify(Object.fromEntries(outcomes)))
  t.ok((outcomes.get('ERR_FORMAT') ?? 0) > rounds / 20, 'damage was found')
  t.ok((outcomes.get('used') ?? 0) > rounds / 20, 'and some was harmless')
})
