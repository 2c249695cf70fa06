/** Rows sharded over ranks: every part is a piece of the one-rank batch, loads are even, nothing depends on who asks. */
import t from 'tap'
import { openBatches, type TrainBatch, type TrainData } from '../../lib/data/collate.js'
import type { TokenColumn } from '../../lib/data/column.js'
import { memorySource, type TextRow } from '../../lib/data/sources.js'
import { shardRows } from '../../lib/distributed/shard-rows.js'
import type { Recipe } from '../../lib/text/recipe.js'
import { featurizerOf } from '../data/features.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'

const draws = new Random(seed)
const random = (n: number) => draws.integer(n)

const letters = [...'abcdefghijklmnopqrstuvwxyz']
const featurizer = (recipe: Partial<Recipe> = {}) =>
  featurizerOf([...letters, '.'], { queryLength: 12, documentLength: 60, ...recipe })
/** Lengths with a long tail; fewer texts than rows of a batch, so that some content is on several ranks. */
const texts = (count: number, longest: number) =>
  Array.from({ length: count }, () =>
    Array.from({ length: 1 + random(1 + random(longest)) }, () => (random(5) ? letters[random(26)] : '.')).join(' '),
  )
const [queries, documents] = [texts(20, 20), texts(20, 70)]
const source = (name: string, rows: number, perRow: () => number, scored: boolean) =>
  memorySource(
    name,
    Array.from({ length: rows }, (): TextRow => {
      const list = Array.from({ length: perRow() }, () => documents[random(20)]!)
      return { query: queries[random(20)]!, documents: list, ...(scored && { scores: list.map(() => random(1000)) }) }
    }),
  )
const bounds = (lengths: number[]) => {
  const all = [0]
  for (const length of lengths) all.push(all.at(-1)! + length)
  return all
}
const lengthsOf = (offsets: Float64Array) => [...offsets.subarray(1)].map((end, i) => end - offsets[i]!)
const partsOf = (data: TrainData, step: number, ranks: number, documents?: boolean) =>
  Promise.all(Array.from({ length: ranks }, (_, rank) => data.at(step, { rank, ranks, documents })))

/** A sequence with all that encoding, its random draws and scoring use of it. */
function sequence(column: TokenColumn, i: number): unknown {
  const [first, last] = [column.offsets[i]!, column.offsets[i + 1]!]
  const [firstKept, lastKept] = [column.keptOffsets[i]!, column.keptOffsets[i + 1]!]
  const kept = column.keep?.subarray(firstKept, lastKept).map((row) => row - first)
  return {
    ids: [...column.ids.subarray(first, last)],
    keys: column.keyLengths[i],
    kept: kept ? [...kept] : Array.from({ length: lastKept - firstKept }, (_, row) => row),
    row: column.rows[i],
    column: column.column,
  }
}
const sequences = (column: TokenColumn) => [...column.rows.keys()].map((i) => sequence(column, i))
/** Rows with everything that belongs to them, by row number. */
function rowsOf(part: TrainBatch, rank = 0): Map<number, unknown> {
  const { queries, documents, documentsPerQuery, counts, scores } = part
  const first = bounds(counts)[rank]!
  const starts = bounds([...documentsPerQuery.subarray(first, first + counts[rank]!)])
  const all = sequences(documents)
  const own = (i: number) => ({
    query: sequence(queries, i),
    documents: all.slice(starts[i], starts[i + 1]),
    scores: scores && [...scores.subarray(starts[i], starts[i + 1])],
  })
  return new Map([...queries.rows].map((row, i) => [row, own(i)]))
}
/** Which entries are equal: the same for two numberings of the same groups. */
const pattern = (groups: number[]) => groups.map((group) => groups.indexOf(group))

const settings: [number | undefined, Partial<Recipe>, boolean][] = [
  [0, {}, false],
  [3, {}, false],
  [3, { queryExpansion: false, skiplistWords: [] }, true],
  [undefined, {}, true],
  [1, { queryExpansion: 6, skiplistWords: ['q', '.'], skiplistTasks: ['query', 'document'] }, true],
]
for (const [negatives, overrides, ragged] of settings)
  t.test(`the parts make up the batch: ${negatives} negatives, ${JSON.stringify(overrides)}, ${ragged}`, async (t) => {
    const [four, five] = [4, 5].map((most) => () => (ragged ? 1 + random(most + 3) : most))
    const sources = [source('kd', 90, four!, true), source('plain', 60, five!, false)]
    const options = { sources, featurizer: featurizer(overrides), batch: 23, negatives, seed, workers: 0 }
    const data = await openBatches({ ...options, cacheDir: t.testdir() })
    t.teardown(() => data.close())
    for (const [step, ranks] of [1, 2, 3, 4, 7, 22, 23, 31].entries()) {
      const whole = await data.at(step)
      const parts = await partsOf(data, step, ranks, true)
      const expected = rowsOf(whole)
      const found = parts.flatMap((part, rank) => [...rowsOf(part, rank)])
      t.equal(found.length, 23, 'no row twice')
      t.same(new Map(found), expected, 'and none lost; each as on one rank')

      const place = new Map([...whole.queries.rows].map((row, i) => [row, i]))
      for (const { queries } of parts) {
        const places = [...queries.rows].map((row) => place.get(row)!)
        t.same(
          places,
          places.toSorted((a, b) => a - b),
          'in the order of the batch',
        )
      }
      const order = parts.flatMap(({ queries }) => [...queries.rows].map((row) => place.get(row)!))
      const starts = bounds([...whole.documentsPerQuery])
      const documentOrder = order.flatMap((i) =>
        Array.from({ length: whole.documentsPerQuery[i]! }, (_, k) => starts[i]! + k),
      )
      const common = {
        counts: parts.map(({ queries }) => queries.rows.length),
        queryOffsets: bounds(parts.flatMap(({ queries }) => lengthsOf(queries.keptOffsets))),
        documentOffsets: bounds(parts.flatMap(({ documents }) => lengthsOf(documents.keptOffsets))),
        queryDuplicateIds: pattern(order.map((i) => whole.queryDuplicateIds[i]!)),
        documentDuplicateIds: pattern(documentOrder.map((i) => whole.documentDuplicateIds[i]!)),
      }
      for (const part of parts) {
        const { step, source, counts, documentsPerQuery } = part
        t.match({ step, source }, { step: whole.step, source: whole.source })
        t.same(
          documentsPerQuery,
          order.map((i) => whole.documentsPerQuery[i]!),
        )
        const queryOffsets = [...part.queryOffsets]
        const documentOffsets = [...part.documentOffsets!]
        const queryDuplicateIds = pattern([...part.queryDuplicateIds])
        const documentDuplicateIds = pattern([...part.documentDuplicateIds])
        t.same(
          { counts, queryOffsets, documentOffsets, queryDuplicateIds, documentDuplicateIds },
          common,
          'known on every rank',
        )
        t.same(part.queryDuplicateIds, parts[0]!.queryDuplicateIds, 'groups have the same numbers on every rank')
        t.same(part.documentDuplicateIds, parts[0]!.documentDuplicateIds)
        t.equal(Math.max(...part.documentDuplicateIds) + 1, new Set(part.documentDuplicateIds).size, 'dense')
      }
      t.ok(new Set(whole.documentDuplicateIds).size < whole.documentDuplicateIds.length, 'some texts are equal')

      const loads = parts.map((part) => part.queries.ids.length + part.documents.ids.length)
      const longest = Math.max(
        ...lengthsOf(whole.queries.offsets).map((query, i) => {
          const [first, last] = [whole.documents.offsets[starts[i]!]!, whole.documents.offsets[starts[i + 1]!]!]
          return query + last - first
        }),
      )
      t.ok(Math.max(...loads) - Math.min(...loads) <= longest, `loads ${loads}; the longest row ${longest}`)
      if (ranks > 23) t.equal(loads.filter((load) => load === 0).length, ranks - 23, 'some ranks have nothing')
    }
  })

t.test('pure: the same again, from another reader, in any order of steps and ranks', async (t) => {
  const perRow = () => 1 + random(4)
  const sources = [source('a', 40, perRow, false), source('b', 33, perRow, true)]
  const options = { sources, featurizer: featurizer(), batch: 8, seed, cacheDir: t.testdir(), workers: 0 }
  const data = await openBatches(options)
  const forward: TrainBatch[][] = []
  for (let step = 0; step < 8; step++) forward.push(await partsOf(data, step, 3))
  const again = await openBatches(options)
  for (let step = 7; step >= 0; step--)
    for (const rank of [2, 0, 1]) t.same(await again.at(step, { rank, ranks: 3 }), forward[step]![rank])
  t.equal(forward[0]![0]!.documentOffsets, null, 'offsets of all documents only when asked for')
  const whole = await data.at(3)
  t.same(await data.at(3, { rank: 0, ranks: 1 }), whole, 'one rank has the batch as it is')
  t.same([whole.counts, whole.queryOffsets], [[8], whole.queries.keptOffsets])
  t.same(whole.documentOffsets, whole.documents.keptOffsets)
  for (const part of [
    { rank: 2, ranks: 2 },
    { rank: -1, ranks: 2 },
    { rank: 0.5, ranks: 2 },
    { rank: 0, ranks: 0 },
    { rank: 0, ranks: 1.5 },
    { rank: 0, ranks: Number.NaN },
  ])
    await t.rejects(data.at(0, part), { code: 'ERR_ARGUMENT', details: part }, JSON.stringify(part))
  data.close()
  again.close()
})

t.test('shardRows: longest first onto the least loaded, ties to the earlier row and the lower rank', async (t) => {
  const sharded = (tokens: number[], ranks: number) => {
    const { order, counts } = shardRows(tokens, ranks)
    return bounds(counts)
      .slice(0, -1)
      .map((first, rank) => [...order.subarray(first, first + counts[rank]!)])
  }
  t.same(sharded([3, 9, 5, 5, 1], 2), [
    [0, 1],
    [2, 3, 4],
  ])
  t.same(sharded([2, 2, 2, 2, 2], 3), [[0, 3], [1, 4], [2]])
  t.same(sharded([4, 7], 4), [[1], [0], [], []])
  t.same(sharded([], 2), [[], []])
  t.same(sharded([1, 3, 2], 1), [[0, 1, 2]])
  const { order, counts } = shardRows([50, 1, 2, 3], 2, true)
  t.same(
    [[...order], counts],
    [
      [0, 1, 2, 3],
      [2, 2],
    ],
    'even: a long row counts as one',
  )
  for (let round = 0; round < 200; round++) {
    const ranks = 1 + random(20)
    const tokens = Array.from({ length: random(60) }, () => random(1 + random(500)))
    const ranked = sharded(tokens, ranks)
    t.same(
      ranked.flat().toSorted((a, b) => a - b),
      [...tokens.keys()],
    )
    const loads = ranked.map((rows) => rows.reduce((sum, row) => sum + tokens[row]!, 0))
    t.ok(Math.max(...loads) - Math.min(...loads) <= Math.max(0, ...tokens), `${loads}`)
    const { order, counts } = shardRows(tokens, ranks, true)
    t.same(
      order.toSorted((a, b) => a - b),
      Int32Array.from(tokens.keys()),
    )
    t.ok(Math.max(...counts) - Math.min(...counts) <= 1, `as many rows each, give or take one: ${counts}`)
  }
})
