import t from 'tap'
import { type DataOptions, openBatches } from '../../lib/data/collate.js'
import { columnFromTexts, type TokenColumn } from '../../lib/data/column.js'
import { withoutFalseNegatives } from '../../lib/data/false-negatives.js'
import { memorySource, type TextRow } from '../../lib/data/sources.js'
import { philox } from '../../lib/io/random.js'
import type { Recipe } from '../../lib/text/recipe.js'
import { seed } from '../seed.js'
import { featurizerOf } from './features.js'

const words = [...'0123456789', ...[...'0123456789'].map((c) => `##${c}`), '.', 'q', 'd']
const featurizer = (recipe: Partial<Recipe> = {}) =>
  featurizerOf(words, { queryLength: 10, documentLength: 16, ...recipe })
const source = (name: string, count: number, documents: number, scored = false) =>
  memorySource(
    name,
    Array.from({ length: count }, (_, i): TextRow => {
      const list = Array.from({ length: documents }, (_, j) => `d ${i % 20}. ${j}`)
      return { query: `q ${i}`, documents: list, ...(scored ? { scores: list.map((_, j) => i - j) } : {}) }
    }),
  )
const sequence = (column: TokenColumn, i: number) => [...column.ids.subarray(column.offsets[i], column.offsets[i + 1])]

t.test('batches: the text of the planned rows, expansion, skiplist, groups, scores', async (t) => {
  const features = featurizer()
  const data = await openBatches({
    sources: [source('kd', 50, 3, true), source('pairs', 30, 2)],
    featurizer: features,
    batch: 8,
    negatives: 1,
    seed,
    cacheDir: t.testdir(),
    workers: 0,
  })
  t.equal(data.rows, 80)
  t.equal(data.stepsPerEpoch, 6 + 3)
  const used = new Set<string>()
  for (let step = 0; step < 12; step++) {
    const batch = await data.at(step)
    used.add(batch.source)
    t.match(batch, { step, documentsPerQuery: new Int32Array(8).fill(2) })
    t.equal(batch.scores === null, batch.source === 'pairs')
    for (const [i, row] of batch.queries.rows.entries()) {
      const real = [...features.query(`q ${row}`)]
      t.same(sequence(batch.queries, i), [...real, ...new Array(10 - real.length).fill(features.maskId)])
      t.equal(batch.queries.keyLengths[i], real.length)
      for (const j of [0, 1]) {
        const at = 2 * i + j
        t.same(sequence(batch.documents, at), [...features.document(`d ${row % 20}. ${j}`)])
        t.equal(batch.documents.rows[at], row * 2 + j)
        if (batch.scores) t.equal(batch.scores[at], row - j)
      }
    }
    t.equal(batch.queries.keep, null)
    const { keep, keptOffsets, ids, offsets } = batch.documents
    const point = features.tokenizer.tokenToId('.')!
    t.same(
      [...keep!],
      [...ids.keys()].filter((i) => ids[i] !== point),
    )
    t.equal(keptOffsets.length, offsets.length)
    t.equal(keptOffsets.at(-1), keep!.length)
    const rows = [...batch.queries.rows]
    for (let a = 0; a < 8; a++) {
      for (let b = 0; b < 8; b++) {
        t.equal(
          batch.documentDuplicateIds[2 * a] === batch.documentDuplicateIds[2 * b],
          rows[a]! % 20 === rows[b]! % 20,
        )
        t.not(batch.documentDuplicateIds[2 * a], batch.documentDuplicateIds[2 * b + 1])
        t.equal(batch.queryDuplicateIds[a] === batch.queryDuplicateIds[b], a === b)
      }
    }
    t.same(await data.at(step), batch, 'pure in the step')
    t.same(batch.counts, [8])
    t.same(batch.queryOffsets, batch.queries.keptOffsets)
    t.same(batch.documentOffsets, batch.documents.keptOffsets)
    t.same(await data.at(step, { rank: 0, ranks: 1 }), batch, 'one rank has it all, in order')
  }
  t.same([...used].sort(), ['kd', 'pairs'])
  data.close()
  await t.rejects(data.at(0), { code: 'ERR_DISPOSED' })
})

t.test('a row gives what it has, at most what is asked for', async (t) => {
  const features = featurizer()
  // Row i has 1 to 4 documents, row 3 the most.
  const rows = Array.from({ length: 30 }, (_, i): TextRow => {
    const documents = Array.from({ length: 1 + (i % 4) }, (_, j) => `d ${i}. ${j}`)
    return { query: `q ${i}`, documents, scores: documents.map((_, j) => 10 * i + j) }
  })
  const common = { featurizer: features, batch: 8, seed, cacheDir: t.testdir(), workers: 0 }
  const fingerprints = new Set<string>()
  for (const [negatives, most] of [
    [undefined, 4],
    [9, 4],
    [3, 4],
    [2, 3],
    [1, 2],
    [0, 1],
  ] as const) {
    const data = await openBatches({ ...common, sources: [memorySource('ragged', rows)], negatives })
    fingerprints.add(data.fingerprint)
    t.match(data.sources, [{ minDocuments: 1, maxDocuments: 4 }])
    for (let step = 0; step < 4; step++) {
      const batch = await data.at(step)
      const own = [...batch.queries.rows].map((row) => ({ row, texts: rows[row]!.documents.slice(0, most) }))
      t.same(
        batch.documentsPerQuery,
        own.map(({ texts }) => texts.length),
      )
      t.same(
        Array.from(batch.documents.rows.keys(), (i) => sequence(batch.documents, i)),
        own.flatMap(({ texts }) => texts.map((text) => [...features.document(text)])),
        'every document, the positive first',
      )
      t.same(
        batch.scores,
        own.flatMap(({ row, texts }) => texts.map((_, j) => 10 * row + j)),
      )
      t.same(
        batch.documents.rows,
        own.flatMap(({ row, texts }) => texts.map((_, j) => row * most + j)),
        'numbered by their row',
      )
      t.equal(batch.documentDuplicateIds.length, batch.documents.rows.length)
    }
    data.close()
  }
  t.equal(fingerprints.size, 6)
})

t.test('negatives drawn anew at each step, from (seed, step, row) alone', async (t) => {
  const features = featurizer()
  // Row i has i % 8 negatives.
  const rows = Array.from({ length: 40 }, (_, i): TextRow => {
    const documents = Array.from({ length: 1 + (i % 8) }, (_, j) => `d ${i}. ${j}`)
    return { query: `q ${i}`, documents, scores: documents.map((_, j) => 10 * i + j) }
  })
  const common = { featurizer: features, batch: 10, cacheDir: t.testdir(), workers: 0 }
  const open = (seed: number, negatives?: number) =>
    openBatches({ ...common, seed, sources: [memorySource('kd', rows)], negatives, sampleNegatives: 3 })
  /** Algorithm S as written, with the project's generator. */
  const drawn = (negatives: number, step: number, row: number) => {
    const places = [0]
    for (let i = 0; i < negatives; i++) {
      const words = philox([step, row, 0, 2 + Math.floor(i / 4)], [seed % 2 ** 32, Math.floor(seed / 2 ** 32)])
      const [left, wanted] = [negatives - i, Math.min(3, negatives) + 1 - places.length]
      if (left <= wanted || Math.floor((words[i % 4]! * left) / 2 ** 32) < wanted) places.push(1 + i)
      if (wanted === 0) break
    }
    return places.slice(0, 4)
  }
  for (const pool of [undefined, 5]) {
    const data = await open(seed, pool)
    const most = pool === undefined ? 8 : 6
    const times = new Float64Array(8)
    for (let step = 0; step < 200; step++) {
      const batch = await data.at(step)
      const own = [...batch.queries.rows].map((row) => ({ row, places: drawn(Math.min(row % 8, most - 1), step, row) }))
      const want = own.flatMap(({ row, places }) => places.map((j) => ({ row, j })))
      for (const { row, places } of own) if (row % 8 >= most - 1) for (const j of places) times[j]!++
      if (step >= 10) continue
      const counts = own.map(({ places }) => places.length)
      t.same([...batch.documentsPerQuery], counts)
      t.same(
        Array.from(batch.documents.rows.keys(), (i) => sequence(batch.documents, i)),
        want.map(({ row, j }) => [...features.document(`d ${row}. ${j}`)]),
      )
      t.same(
        [...batch.scores!],
        want.map(({ row, j }) => 10 * row + j),
        'scores follow',
      )
      t.same(
        [...batch.documents.rows],
        want.map(({ row, j }) => row * most + j),
        'a document has one number, drawn or not',
      )
      t.same(await data.at(step), batch, 'pure in the step')
      const parts = await Promise.all([0, 1, 2].map((rank) => data.at(step, { rank, ranks: 3, documents: true })))
      t.same(
        parts.flatMap(({ documents }) => [...documents.rows]).sort((a, b) => a - b),
        [...batch.documents.rows].sort((a, b) => a - b),
        'ranks draw what one process draws',
      )
      t.same(parts[0]!.documentsPerQuery.toSorted(), Int32Array.from(counts).sort())
      t.equal(parts[1]!.documentOffsets!.length, 1 + want.length)
    }
    // Of the rows that have them all, each negative as often as any other: 3 of most - 1, within six deviations.
    const share = 3 / (most - 1)
    for (const n of times.slice(1, most))
      t.ok(Math.abs(n - times[0]! * share) < 6 * Math.sqrt(times[0]! * share * (1 - share)), `${times}`)
    const other = await open(seed + 1, pool)
    t.not(other.fingerprint, data.fingerprint)
    other.close()
    data.close()
  }
  const all = await openBatches({ ...common, seed, sources: [memorySource('kd', rows)] })
  const some = await open(seed)
  t.not(some.fingerprint, all.fingerprint)
  all.close()
  some.close()
})

t.test('negatives that score as the positive are left out, before others are taken or drawn', async (t) => {
  const features = featurizer()
  // Scores of both signs; the limits are .75 (kept below), -.625 and 0.
  const given = [
    [1, 0.75, 0.5, 2, 0.74, 0.1, 0.75],
    [-0.5, -0.6, -0.625, -0.7, 3, -0.63, -9],
    [0, -1, 0, 1e-9, -1e-9, -2, -3],
    [1, 1, 2, 3, 4, 5, 6],
  ]
  const kept = [[0, 2, 4, 5], [0, 3, 5, 6], [0, 1, 4, 5, 6], [0]]
  const rows = given.map((scores, i) => ({ query: `q ${i}`, documents: scores.map((_, j) => `d ${i}. ${j}`), scores }))
  const common = { featurizer: features, batch: 4, cacheDir: t.testdir(), workers: 0, seed }
  const open = (options: Partial<DataOptions>) =>
    openBatches({ ...common, sources: [memorySource('kd', rows)], ...options })
  const fingerprints = new Set<string>()
  for (const [options, want] of [
    [{ dropAbove: 0.75 }, (row: number) => kept[row]!],
    [{ dropAbove: 0.75, negatives: 2 }, (row: number) => kept[row]!.slice(0, 3)],
    [{ dropAbove: 0.75, negatives: 3, sampleNegatives: 2 }, null],
    [{ negatives: 3, sampleNegatives: 2 }, null],
  ] as const) {
    const data = await open(options)
    fingerprints.add(data.fingerprint)
    for (let step = 0; step < 8; step++) {
      const batch = await data.at(step)
      let at = 0
      for (const [i, row] of batch.queries.rows.entries()) {
        const places = Array.from(
          { length: batch.documentsPerQuery[i]! },
          () => batch.documents.rows[at++]! % (options.dropAbove ? 7 : 4),
        )
        if (want) t.same(places, want(row))
        else if (options.dropAbove) {
          const pool = kept[row]!.slice(0, 4)
          t.equal(places.length, Math.min(3, pool.length))
          t.ok(places[0] === 0 && places.every((j) => pool.includes(j)), `${places} are of ${pool}`)
        }
        const first = at - places.length
        for (const [n, j] of places.entries()) {
          t.same(sequence(batch.documents, first + n), [...features.document(`d ${row}. ${j}`)])
          t.equal(batch.scores![first + n], Math.fround(given[row]![j]!))
        }
      }
      const parts = await Promise.all([0, 1].map((rank) => data.at(step, { rank, ranks: 2 })))
      t.same(
        parts.flatMap(({ documents }) => [...documents.rows]).sort((a, b) => a - b),
        [...batch.documents.rows].sort((a, b) => a - b),
      )
    }
    data.close()
  }
  t.equal(fingerprints.size, 4)
  for (const [i, row] of rows.entries())
    t.same(
      withoutFalseNegatives(row, 0.75).documents,
      kept[i]!.map((j) => `d ${i}. ${j}`),
      'check reads the same rows',
    )
  for (const dropAbove of [0, -1, Number.NaN]) await t.rejects(open({ dropAbove }), { code: 'ERR_ARGUMENT' })
  await t.rejects(open({ dropAbove: 0.9, sources: [source('plain', 20, 2)] }), {
    code: 'ERR_DATA',
    message: /"plain" has no scores, by which dropAbove/,
  })
})

t.test('a small source of Parquet and tables wraps round, and its repeated rows are duplicates', async (t) => {
  const at = (name: string) => `test/fixtures/layouts/kd.${name}.parquet`
  const data = await openBatches({
    data: { name: 'kd', files: at('train'), queries: at('queries'), documents: at('documents') },
    smallSources: 'wrap',
    featurizer: featurizer(),
    batch: 8,
    seed,
    cacheDir: t.testdir(),
    workers: 0,
  })
  t.match(data, { rows: 3, stepsPerEpoch: 1 })
  const { queries, queryDuplicateIds, documentDuplicateIds, documentsPerQuery, scores } = await data.at(5)
  t.equal(queries.rows.length, 8)
  t.same([...documentsPerQuery], Array(8).fill(4))
  t.equal(scores!.length, 32)
  for (const [a, row] of queries.rows.entries())
    for (const [b, other] of queries.rows.entries()) {
      t.equal(queryDuplicateIds[a] === queryDuplicateIds[b], row === other)
      t.equal(documentDuplicateIds[4 * a] === documentDuplicateIds[4 * b], row === other)
    }
  data.close()
})

t.test('defaults and refusals', async (t) => {
  const common = { featurizer: featurizer(), seed, cacheDir: t.testdir(), workers: 0 }
  const data = await openBatches({ ...common, sources: [source('s', 20, 3)], batch: 4 })
  t.same((await data.at(0)).documentsPerQuery, [3, 3, 3, 3], 'all documents')
  const other = await openBatches({ ...common, sources: [source('s', 20, 3)], batch: 5 })
  t.not(other.fingerprint, data.fingerprint)
  data.close()
  other.close()
  const bad: [object, { code: string; message?: RegExp }][] = [
    [
      { sources: [source('s', 20, 3)], batch: 21 },
      { code: 'ERR_DATA', message: /"s" has 20 rows/ },
    ],
    [{ sources: [source('s', 20, 3)], batch: 4, negatives: -1 }, { code: 'ERR_ARGUMENT' }],
    [{ sources: [source('s', 20, 3)], batch: 4, sampleNegatives: 0 }, { code: 'ERR_ARGUMENT' }],
    [{ batch: 4 }, { code: 'ERR_DATA', message: /no source/ }],
    [
      { data: 'nowhere/*.jsonl', batch: 4 },
      { code: 'ERR_DATA', message: /no file matches/ },
    ],
  ]
  for (const [options, expected] of bad) await t.rejects(openBatches({ ...common, batch: 1, ...options }), expected)
})

t.test('columnFromTexts builds what the shards give', async (t) => {
  const changes: Partial<Recipe>[] = [
    {},
    { attendToExpansionTokens: true },
    { queryExpansion: false },
    { skiplistWords: [] },
    { queryExpansion: 4, skiplistWords: ['.', '7'], skiplistTasks: ['query', 'document'] },
  ]
  for (const overrides of changes) {
    const features = featurizer(overrides)
    const data = await openBatches({
      sources: [source('s', 6, 1)],
      featurizer: features,
      batch: 6,
      seed,
      cacheDir: t.testdir(),
      workers: 0,
    })
    const batch = await data.at(0)
    const rows = [...batch.queries.rows]
    const queries = columnFromTexts(
      features,
      rows.map((row) => `q ${row}`),
      'query',
    )
    const documents = columnFromTexts(
      features,
      rows.map((row) => `d ${row % 20}. 0`),
      'document',
    )
    const { truncated: _q, ...asQueries } = queries
    t.same({ ...asQueries, rows: null }, { ...batch.queries, rows: null })
    const { truncated: _d, ...asDocuments } = documents
    t.same({ ...asDocuments, rows: null }, { ...batch.documents, rows: null })
    data.close()
  }
  t.same(columnFromTexts(featurizer(), [], 'query').offsets, Float64Array.of(0))
})
