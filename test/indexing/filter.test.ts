/** Filters: what tests of metadata let through, selections that stay right while an index changes, and hits for all of topK. */
import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Index, type Metadata, type Where } from '../../lib/indexing/index.js'
import { Random } from '../../lib/io/random.js'
import { seed } from '../seed.js'

const temporary = t.testdir()
const draws = new Random(seed)
const below = (n: number) => Math.floor(draws.next() * n)
const one = <T>(of: readonly T[]): T => of[below(of.length)]!
const dim = 8

/** A vector for each document. */
const vectors = (count: number, around?: readonly number[]) => ({
  ...{ dim, offsets: Array.from({ length: count + 1 }, (_, i) => i) },
  data: Float32Array.from({ length: count * dim }, (_, i) => (around?.[i % dim] ?? 0) + draws.next() - 0.5),
})
const query = (around?: readonly number[]) => ({ ...vectors(1, around), role: 'query' as const })

const languages = ['de', 'en', 'ünï', null] as const
function metadata(): Metadata | undefined {
  if (below(8) === 0) return undefined
  return {
    ...(below(4) > 0 && { year: 1990 + below(8) }),
    ...(below(4) > 0 && { language: one(languages) }),
    ...(below(3) > 0 && { tags: Array.from({ length: below(4) }, () => one(['a', 'b', 'c'])) }),
    ...(below(3) > 0 && { source: { kind: one(['web', 'book']), good: below(2) === 0 } }),
  }
}

/** Tests, and a function that decides alike. */
const pairs = ((): [Where, (m: Metadata) => boolean | undefined][] => {
  const year = (m: Metadata) => m.year as number | undefined
  const kind = (m: Metadata) => (m.source as { kind?: string } | undefined)?.kind
  const tags = (m: Metadata) => (m.tags ?? []) as string[]
  return [
    [{ year: 1993 }, (m) => year(m) === 1993],
    [{ year: { $gte: 1993 } }, (m) => year(m)! >= 1993],
    [{ year: { $gt: 1991, $lte: 1995 } }, (m) => year(m)! > 1991 && year(m)! <= 1995],
    [{ year: { $lt: 1992 }, language: 'de' }, (m) => year(m)! < 1992 && m.language === 'de'],
    [{ year: { $gt: '1990' } }, () => false],
    [{ language: { $ne: 'de' } }, (m) => m.language !== 'de'],
    [{ language: { $in: ['ünï', 'en'] } }, (m) => m.language === 'ünï' || m.language === 'en'],
    [{ language: { $nin: ['ünï', 'en'] } }, (m) => m.language !== 'ünï' && m.language !== 'en'],
    [{ year: { $exists: false } }, (m) => year(m) === undefined],
    [{ tags: 'b' }, (m) => tags(m).includes('b')],
    [{ tags: { $in: ['a', 'c'] } }, (m) => tags(m).includes('a') || tags(m).includes('c')],
    [{ 'source.kind': 'web', 'source.good': true }, (m) => kind(m) === 'web' && (m.source as { good: boolean }).good],
    [{ $or: [{ year: 1990 }, { language: 'en' }] }, (m) => year(m) === 1990 || m.language === 'en'],
    [
      { $and: [{ year: { $exists: true } }, { $nor: [{ language: 'en' }, { tags: 'a' }] }] },
      (m) => year(m) !== undefined && m.language !== 'en' && !tags(m).includes('a'),
    ],
  ]
})()

t.test('tests of metadata, as data and as functions', async (t) => {
  const index = await Index.create(path.join(temporary, 'where'), { dim })
  const kept = Array.from({ length: 300 }, (_, i) => ({ text: `t${i}`, metadata: metadata() }))
  const ids = kept.map((_, i) => `d${i}`)
  await index.addEmbeddings(
    { ...vectors(300), ids },
    { kept: kept.map(({ text, metadata }) => ({ text, ...(metadata && { metadata }) })) },
  )
  const found = async (filter: object) =>
    (await index.search(query(), { filter, topK: 300 }))[0]!.map(({ id }) => id).sort()
  for (const [where, passes] of pairs) {
    const wanted = ids.filter((_, i) => passes(kept[i]!.metadata ?? {})).sort()
    t.same(await found({ where }), wanted, JSON.stringify(where))
    t.same(await found({ where: passes }), wanted)
    t.same(
      await found({ where, ids: ids.slice(0, 20) }),
      wanted.filter((id) => Number(id.slice(1)) < 20),
    )
    t.equal((await index.select({ where })).documents, wanted.length)
  }
  const refused: [object, RegExp][] = [
    [{}, /expected fields with values or tests/],
    [{ year: { gte: 1990 } }, /"year" has no option "gte"; did you mean "\$gte"/],
    [{ year: { $regex: 'x' } }, /"year" has no option "\$regex"; expected one of \$eq/],
    [{ $where: 'true' }, /no "\$where", expected one of \$and/],
    [{ $or: [] }, /\$or has no list/],
    [{ $or: [{ a: 1 }, { $an: [] }] }, /no "\$an", did you mean "\$and"/],
    [{ year: [1990, 1991] }, /"year" has neither a text, .*nor tests/],
    [{ year: 5n }, /"year" has neither a text/],
    [{ year: { $gt: undefined } }, /\$gt is undefined/],
    [{ year: undefined }, /"year" has neither/],
    [{ year: {} }, /"year" has neither/],
    [{ year: { $in: 1990 } }, /"year": \$in is 1990, expected an array/],
    [{ year: { $gt: null } }, /"year": \$gt is null, expected a text or a number/],
    [{ year: { $exists: 1 } }, /"year": \$exists is 1, expected true or false/],
  ]
  for (const [where, message] of refused) {
    await t.rejects(index.search(query(), { filter: { where: where as Where } }), { code: 'ERR_ARGUMENT', message })
    await t.rejects(index.select({ where: where as Where }), { code: 'ERR_ARGUMENT', message })
  }
  await t.rejects(index.select(null as never), { code: 'ERR_ARGUMENT', message: /select: expected a filter/ })
  await t.rejects(index.select({}), { code: 'ERR_ARGUMENT', message: /select: filter has ids, where, or both/ })
  await index.close()
})

t.test('a selection is asked once for each document, and stays right', async (t) => {
  const dir = path.join(temporary, 'selection')
  const index = await Index.create(dir, { dim })
  const known = new Map<string, Metadata>()
  const add = async (ids: readonly string[], existing?: 'replace') => {
    const kept = ids.map(() => ({ metadata: { odd: below(2) === 1 } }))
    for (const [i, id] of ids.entries()) known.set(id, kept[i]!.metadata)
    await index.addEmbeddings({ ...same(ids.length), ids }, { kept, ...(existing && { existing }) })
  }
  // All vectors are the same, so that a document with other metadata has the bytes of the one before.
  const same = (count: number) => ({ ...vectors(count), data: new Float32Array(count * dim).fill(1) })
  let calls = 0
  const where = ({ odd }: Metadata) => {
    calls++
    return odd === true
  }
  const names = (from: number, count: number) => Array.from({ length: count }, (_, i) => `d${from + i}`)
  await add(names(0, 40))
  const selection = await index.select({ where })
  t.equal(calls, 40)
  const check = async (index: Index, what: string) => {
    const wanted = [...known].filter(([, { odd }]) => odd).map(([id]) => id)
    const [hits] = await index.search(query(), { filter: selection, topK: 100 })
    t.same(hits!.map(({ id }) => id).sort(), wanted.sort(), what)
  }
  await check(index, 'at once')
  await check(index, 'and again')
  t.equal(calls, 40, 'nobody was asked again')
  t.equal(selection.documents, [...known.values()].filter(({ odd }) => odd).length)
  await index.delete(['d3', 'd4', 'd5'])
  for (const id of ['d3', 'd4', 'd5']) known.delete(id)
  await check(index, 'after a deletion')
  t.equal(calls, 40, 'which asks nobody')
  await add(['new'])
  await check(index, 'after an addition')
  t.equal(calls, 41)
  for (let i = 0; i < 6; i++) await add(['new'], 'replace')
  await check(index, 'of a document with the same vectors and other metadata')
  await add(names(60, 5))
  await index.compact()
  await check(index, 'after compaction')
  const other = await Index.open(dir)
  await check(other, 'in another reader')
  await other.close()
  const few = await index.select({ ids: ['d7', 'nobody', 'new'] })
  t.equal(few.documents, 2)
  t.same((await index.search(query(), { filter: few }))[0]!.map(({ id }) => id).sort(), ['d7', 'new'])
  const ended = AbortSignal.abort()
  await t.rejects(index.select({ where: { odd: true } }, { signal: ended }), { code: 'ERR_ABORTED' })
  await index.close()
})

t.test('texts and metadata of all documents are read in parts; damage is named', async (t) => {
  const dir = path.join(temporary, 'large')
  const index = await Index.create(dir, { dim })
  const kept = Array.from({ length: 60 }, (_, i) => ({
    text: 'x'.repeat(i === 30 ? 5 << 20 : below(2) * 300_000),
    metadata: { number: i },
  }))
  await index.addEmbeddings({ ...vectors(60), ids: kept.map((_, i) => `d${i}`) }, { kept })
  const [hits] = await index.search(query(), { filter: { where: { number: { $in: [0, 30, 31, 59] } } } })
  t.same(hits!.map(({ id }) => id).sort(), ['d0', 'd30', 'd31', 'd59'])
  await index.close()

  const small = path.join(temporary, 'damaged')
  const made = await Index.create(small, { dim })
  await made.addEmbeddings(
    { ...vectors(2), ids: ['a', 'b'] },
    { kept: [{ metadata: { n: 1 } }, { metadata: { n: 2 } }] },
  )
  await made.close()
  const name = readdirSync(small).find((file) => file.endsWith('.jsonl'))!
  const file = path.join(small, name)
  const text = '{"metadata":{"n":1}}\n'
  for (const line of ['{"metadata"={"n":2}}', '                null']) {
    writeFileSync(file, `${text}${line}\n`)
    const reader = await Index.open(small)
    const error = { code: 'ERR_FORMAT', message: `${name} is damaged at byte ${text.length}` }
    await t.rejects(reader.select({ where: { n: 1 } }), error)
    await t.rejects(reader.get('b'), error)
    await reader.close()
  }
  rmSync(small, { recursive: true })
})

t.test('topK is filled from documents that pass, however far they are from the query', async (t) => {
  const index = await Index.create(path.join(temporary, 'far'), { dim, listsFrom: 1 })
  const near = [4, 0, 0, 0, 0, 0, 0, 0]
  const far = [-4, 0, 0, 0, 0, 0, 0, 0]
  for (const [name, around, count] of [
    ['near', near, 3000],
    ['far', far, 1500],
  ] as const)
    await index.addEmbeddings(
      { ...vectors(count, around), ids: Array.from({ length: count }, (_, i) => `${name}${i}`) },
      { kept: Array.from({ length: count }, () => ({ metadata: { name } })) },
    )
  await index.compact()
  t.match(await index.info(), { segments: 1, listed: 1 })
  const asked = query(near)
  for (const candidates of [20, 500]) {
    const options = { topK: 20, candidates, filter: { where: { name: 'far' } } }
    const [hits] = await index.search(asked, { ...options, probes: 2 })
    t.equal(hits!.length, 20)
    t.ok(hits!.every(({ id }) => id.startsWith('far')))
  }
  const everything = { topK: 1500, candidates: 1500, filter: { where: { name: 'far' } } }
  t.same(
    await index.search(asked, { ...everything, probes: 1 }),
    await index.search(asked, { topK: 1500, filter: everything.filter, exact: true }),
  )
  t.equal((await index.search(asked, { topK: 4500, probes: 1 }))[0]!.length, 4500, 'without a filter too')
  await index.close()
})
