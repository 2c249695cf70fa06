/** Hard negatives against a reference, written here, that scores every pair, sorts and filters. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import type { TextRow } from '../../lib/data/rows.js'
import { memorySource } from '../../lib/data/sources.js'
import { type MineOptions, type MineResult, mineNegatives } from '../../lib/mining/index.js'
import type { Colbert } from '../../lib/models/colbert.js'
import { Bm25 } from '../../lib/retrieval/bm25.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'
import { folder, tinyModel, words } from '../train/tiny.js'

const random = new Random(seed)
const text = (length: number) => Array.from({ length }, () => words[random.integer(words.length)]!).join(' ')

/** Pairs that share words; some share a query or a positive, and some texts differ and have the same tokens. */
const pairs: TextRow[] = Array.from({ length: 40 }, () => {
  const query = text(4)
  return { query, documents: [`${query.slice(0, 6)} ${text(3 + random.integer(6))}`] }
})
const positiveOf = (row: number) => pairs[row]!.documents[0]!
pairs.push(
  { query: pairs[0]!.query, documents: [text(5)] }, // a second positive
  { query: text(3), documents: [positiveOf(1)] }, // one positive, two queries
  { query: positiveOf(2), documents: [text(4)] }, // a query that is a document
  { query: pairs[3]!.query, documents: [positiveOf(3)] }, // twice the same row
  ...[4, 5, 6].map((row) => ({ query: text(4), documents: [` ${positiveOf(row)}`] })), // as the positive, but for a blank
)
const data = memorySource('pairs', pairs)
const corpus = [...new Set(pairs.flatMap((row) => row.documents))]
/** Documents that are no positives, so that these are scored apart. */
const elsewhere = Array.from({ length: 50 }, (_, i) => `${text(6)} ${words[i]}`)

const rowsOf = (file: string): TextRow[] => {
  const bytes = readFileSync(file)
  const lines = (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString().trim().split('\n')
  return lines.map((line) => JSON.parse(line))
}

type Score = (query: string, document: string) => number

async function scorerOf(model: Colbert, documents: readonly string[]): Promise<Score> {
  const queries = [...new Set(pairs.map((row) => row.query))]
  const hits = await model.search(await model.encodeQueries(queries), await model.encodeDocuments(documents), {
    topK: documents.length,
  })
  const found = new Map(
    hits.flatMap((list, q) => list.map((hit) => [`${queries[q]}|${documents[hit.index]}`, hit.score])),
  )
  return (query, document) => found.get(`${query}|${document}`)!
}

type Wanted = { rows: TextRow[] } & Pick<
  MineResult,
  'dropped' | 'notChosen' | 'excluded' | 'negatives' | 'droppedRows' | 'shortRows'
>

/** What should be written and counted, by the definitions alone. */
function reference(
  documents: readonly string[],
  score: Score,
  { negatives = 10, minNegatives = 1, depth = [1, 100], ...rules }: Partial<MineOptions>,
): Wanted {
  const dropped = { maxScore: 0, minScore: 0, dropAbove: 0, margin: 0, dropWhen: 0 }
  const wanted: Wanted = { rows: [], dropped, notChosen: 0, excluded: 0, negatives: 0, droppedRows: 0, shortRows: 0 }
  for (const { query, documents: given } of pairs) {
    const positive = score(query, given[0]!)
    const never = [query, ...pairs.filter((row) => row.query === query).map((row) => row.documents[0]!)]
    const all = documents
      .map((document, index) => ({ document, index, score: score(query, document) }))
      .filter((found) => found.score !== 0) // BM25 finds only what shares a term
      .sort((a, b) => b.score - a.score || a.index - b.index)
    const ranked = all.filter(({ document }) => !never.includes(document)).slice(0, depth[1])
    const last = ranked.length < depth[1] ? all.length : all.indexOf(ranked.at(-1)!)
    wanted.excluded += all.slice(0, last).filter(({ document }) => never.includes(document)).length
    const passed: string[] = []
    for (const { document, score: found } of ranked.slice(depth[0] - 1))
      if (rules.maxScore !== undefined && found > rules.maxScore) dropped.maxScore++
      else if (rules.minScore !== undefined && found < rules.minScore) dropped.minScore++
      else if (
        rules.dropAbove !== undefined &&
        found >= positive * (positive < 0 ? 2 - rules.dropAbove : rules.dropAbove)
      )
        dropped.dropAbove++
      else if (rules.margin !== undefined && found >= positive - rules.margin) dropped.margin++
      else if (rules.dropWhen?.({ query, positive: given[0]! }, document)) dropped.dropWhen++
      else passed.push(document)
    const chosen = passed.slice(0, negatives)
    const written = chosen.length >= minNegatives
    if (written) {
      wanted.rows.push({ query, documents: [given[0]!, ...chosen] })
      wanted.negatives += chosen.length
      if (chosen.length < negatives) wanted.shortRows++
    } else wanted.droppedRows++
    wanted.notChosen += passed.length - (written ? chosen.length : 0)
  }
  return wanted
}

for (const pooling of ['none', 'mean'] as const)
  t.test(
    `by a ${pooling === 'none' ? 'ColBERT' : 'dense model'}: what the definitions say, with every rule`,
    async (t) => {
      const model = await tinyModel(1, { pooling })
      const dir = folder(t)
      const score = await scorerOf(model, corpus)
      const [low, high] = pooling === 'none' ? [5.5, 6.2] : [0.2, 0.6]
      const cases: Partial<MineOptions>[] = [
        {},
        { negatives: 3 },
        { negatives: 3, depth: [5, 20] },
        { negatives: 100, minNegatives: 44 },
        { negatives: 5, dropAbove: 0.95 },
        { negatives: 5, dropAbove: 1 },
        { negatives: 5, margin: 0 },
        { negatives: 5, margin: 0.3, minNegatives: 0 },
        { negatives: 5, maxScore: high, minScore: low },
        { negatives: 5, depth: [2, 30], maxScore: high, minScore: low, dropAbove: 0.99, margin: 0.1, minNegatives: 5 },
        {
          negatives: 5,
          dropWhen: (row, document) => document.length < Math.max(row.query.length, row.positive.length),
        },
      ]
      const everDropped = new Map<string, number>()
      for (const [i, rules] of cases.entries()) {
        const out = path.join(dir, `${i}.jsonl${i % 2 ? '.gz' : ''}`)
        const result = await mineNegatives({ data, by: model, out, ...rules })
        const { rows, ...counts } = reference(corpus, score, rules)
        for (const [rule, n] of Object.entries(counts.dropped)) everDropped.set(rule, n + (everDropped.get(rule) ?? 0))
        t.same(rowsOf(out), rows, JSON.stringify(rules))
        t.match(result, { ...counts, out, rows: pairs.length, written: rows.length }, JSON.stringify(rules))
        t.match(result, {
          queries: pairs.length - 2,
          documents: corpus.length,
          repeatedDocuments: 2,
          emptyDocuments: 0,
        })
      }
      t.equal([...everDropped.values()].filter((n) => n > 0).length, 5, `every rule drops some: ${[...everDropped]}`)
      const twins = (file: string) =>
        [4, 5, 6].map((row) => {
          const mined = rowsOf(path.join(dir, file)).find(({ documents }) => documents[0] === positiveOf(row))
          return mined?.documents.includes(` ${positiveOf(row)}`)
        })
      t.same(twins('3.jsonl.gz'), [true, true, true], 'another text with the tokens of the positive')
      for (const file of ['5.jsonl.gz', '6.jsonl'])
        t.notOk(twins(file).includes(true), 'an equal score is no lower one')
      model.dispose()
    },
  )

t.test('by BM25: the same, of documents that share a term', async (t) => {
  const dir = folder(t)
  const index = new Bm25(corpus)
  const score: Score = (query, document) => index.scores(query)[corpus.indexOf(document)]!
  for (const [i, rules] of [{}, { negatives: 4, dropAbove: 0.9, minScore: 0.5 }].entries()) {
    const out = path.join(dir, `${i}.jsonl`)
    const result = await mineNegatives({ data, by: 'bm25', out, ...rules })
    const { rows, ...counts } = reference(corpus, score, rules)
    t.same(rowsOf(out), rows)
    t.match(result, { ...counts, truncatedQueries: 0, truncatedDocuments: 0 })
  }
})

t.test('documents from elsewhere: none of the rows, each text once', async (t) => {
  const dir = folder(t)
  const model = await tinyModel()
  const given = [...elsewhere, positiveOf(7), '', '  ', elsewhere[3]!, pairs[8]!.query]
  const documents = [...elsewhere, positiveOf(7), pairs[8]!.query]
  const out = path.join(dir, 'x.jsonl')
  async function* streamed() {
    yield* given
  }
  const score = await scorerOf(model, [...new Set([...documents, ...corpus])])
  for (const texts of [given, { [Symbol.asyncIterator]: streamed }]) {
    const result = await mineNegatives({ data, by: model, out, corpus: texts, overwrite: true, dropAbove: 0.99 })
    const { rows, ...counts } = reference(documents, score, { dropAbove: 0.99 })
    t.same(rowsOf(out), rows)
    t.match(result, { ...counts, documents: documents.length, repeatedDocuments: 1, emptyDocuments: 2, excluded: 2 })
  }
  model.dispose()
})

t.test('the same bytes in blocks of any size; scores of a teacher, and of the miner', async (t) => {
  const dir = folder(t)
  const file = (name: string) => path.join(dir, name)
  const [model, teacher] = [await tinyModel(), await tinyModel(2)]
  const common: MineOptions = { data, by: model, negatives: 4, depth: [1, 20], out: '' }
  const whole = await mineNegatives({ ...common, teacher, out: file('whole.jsonl') })
  for (const queryBlock of [1, 7, 44]) {
    const out = file(`${queryBlock}.jsonl`)
    const result = await mineNegatives({ ...common, teacher, out, queryBlock, microBatchTokens: 50 })
    t.equal(readFileSync(out, 'utf8'), readFileSync(whole.out, 'utf8'), `${queryBlock} queries at a time`)
    t.same({ ...result, out: '', teacherTruncated: 0 }, { ...whole, out: '', teacherTruncated: 0 })
  }
  const own = await mineNegatives({ ...common, minerScores: true, out: file('own.jsonl') })
  for (const [by, { out }] of [
    [teacher, whole],
    [model, own],
  ] as const)
    for (const { query, documents, scores } of rowsOf(out)) {
      const hits = await by.rank(query, documents)
      t.same(
        scores!.map(Math.fround),
        documents.map((_, i) => hits.find(({ index }) => index === i)!.score),
      )
    }
  const all = rowsOf(own.out)
  const mean = (numbers: number[]) => numbers.reduce((sum, n) => sum + n, 0) / numbers.length
  t.ok(Math.abs(own.meanPositive - mean(all.map(({ scores }) => scores![0]!))) < 1e-6)
  t.ok(Math.abs(own.meanNegative - mean(all.flatMap(({ scores }) => scores!.slice(1)))) < 1e-6)
  model.dispose()
  teacher.dispose()
})

t.test('random: drawn by (seed, row) among those that pass, best first', async (t) => {
  const dir = folder(t)
  const mined = async (name: string, options: Partial<MineOptions>) => {
    const out = path.join(dir, name)
    await mineNegatives({ data, by: model, out, depth: [1, 20], ...options })
    return rowsOf(out).map(({ documents }) => documents.slice(1))
  }
  const model = await tinyModel()
  const passing = await mined('all.jsonl', { negatives: 20 })
  const drawn = await mined('a.jsonl', { negatives: 5, sampling: 'random', seed: 3 })
  t.same(await mined('b.jsonl', { negatives: 5, sampling: 'random', seed: 3, queryBlock: 9 }), drawn)
  t.notSame(await mined('c.jsonl', { negatives: 5, sampling: 'random', seed: 4 }), drawn)
  t.same(await mined('d.jsonl', { negatives: 20, sampling: 'random' }), passing, 'all there are')
  const counts = new Array<number>(20).fill(0)
  for (const [row, documents] of drawn.entries()) {
    const ranks = documents.map((document) => passing[row]!.indexOf(document))
    t.equal(ranks.length, 5)
    t.same(
      ranks,
      [...new Set(ranks)].sort((a, b) => a - b),
    )
    for (const rank of ranks) counts[rank]!++
  }
  // Of 47 rows each rank is drawn 11.75 times, give or take 3; once in some 20,000 runs one of the 20 leaves these bounds.
  t.ok(Math.min(...counts) >= 1 && Math.max(...counts) <= 26, counts.join())
  model.dispose()
})

t.test('nothing is half-written, and nothing is lost', async (t) => {
  const dir = folder(t)
  const cacheDir = path.join(dir, 'cache')
  const out = path.join(dir, 'x.jsonl')
  const model = await tinyModel()
  writeFileSync(out, 'before')
  const common: MineOptions = { data, by: model, teacher: model, corpus: elsewhere, out, cacheDir, queryBlock: 10 }
  await t.rejects(mineNegatives(common), { code: 'ERR_FILE', message: /x\.jsonl is there already/ })
  for (const stage of ['searching', 'scoring', 'teaching'] as const) {
    const controller = new AbortController()
    const stopped = mineNegatives({
      ...{ ...common, overwrite: true, signal: controller.signal },
      onProgress: (progress) => progress.stage === stage && controller.abort(),
    })
    await t.rejects(stopped, { code: 'ERR_ABORTED' }, stage)
  }
  await t.rejects(mineNegatives({ ...common, overwrite: true, signal: AbortSignal.abort() }), { code: 'ERR_ABORTED' })
  const broken = {
    name: 'broken',
    async *[Symbol.asyncIterator]() {
      yield pairs[0]!
      throw new Error('a disk')
    },
  }
  await t.rejects(mineNegatives({ ...common, data: broken, overwrite: true }), { message: 'a disk' })
  t.same(readdirSync(dir).sort(), ['cache', 'x.jsonl'])
  t.same(readdirSync(cacheDir), [])
  t.equal(readFileSync(out, 'utf8'), 'before')
  await mineNegatives({ ...common, overwrite: true })
  t.equal(rowsOf(out).length, pairs.length)
  t.same(readdirSync(cacheDir), [])
  model.dispose()
})

t.test('how it stands: stages in order, up to their totals', async (t) => {
  const model = await tinyModel()
  const seen = new Map<string, { done: number; total?: number }>()
  await mineNegatives({
    ...{ data, by: model, teacher: model, out: path.join(folder(t), 'x.jsonl'), queryBlock: 20 },
    ...{ corpus: elsewhere, microBatchTokens: 100 },
    onProgress({ stage, done, total }) {
      const before = seen.get(stage)
      if (stage === 'searching' && before) t.ok(done >= before.done && total === before.total)
      seen.set(stage, { done, total })
    },
  })
  t.same(seen.get('searching'), { done: 150, total: 150 })
  for (const stage of ['scoring', 'teaching']) t.equal(seen.get(stage)!.done, seen.get(stage)!.total)
  model.dispose()
})

t.test('what cannot be mined', async (t) => {
  const out = path.join(folder(t), 'x.jsonl')
  const good: MineOptions = { data, by: 'bm25', out }
  const model = await tinyModel()
  for (const [change, message] of [
    [{ by: 'bm52' }, /by is "bm52", expected a Colbert, or "bm25"/],
    [{ out: 'x.json' }, /out is "x.json", expected the name of a \.jsonl/],
    [{ data: pairs }, /data is an array, expected a source/],
    [{ data: undefined }, /needs data/],
    [{ negative: 4 }, /no option "negative"; did you mean "negatives"/],
    [{ depth: [10, 5] }, /two ranks/],
    [{ depth: [0, 5] }, /two ranks/],
    [{ depth: [96, 100] }, /depth has 5 ranks, fewer than the 10 negatives/],
    [{ negatives: 3, minNegatives: 4 }, /minNegatives is 4, but a row has at most 3/],
    [{ seed: 1 }, /seed has no effect/],
    [{ queryBlock: 10 }, /queryBlock has no effect on BM25/],
    [{ microBatchTokens: 10 }, /microBatchTokens has no effect/],
    [{ minScore: 3, maxScore: 2 }, /minScore is 3, above maxScore, 2/],
    [{ margin: -1 }, /margin is -1/],
    [{ dropAbove: 0 }, /dropAbove is 0/],
    [{ teacher: model, minerScores: true }, /teacher and minerScores/],
    [{ corpus: 'corpus.jsonl' }, /corpus is "corpus.jsonl", expected an iterable of texts/],
  ] as const)
    await t.rejects(mineNegatives({ ...good, ...(change as object) }), { code: 'ERR_ARGUMENT', message })
  await t.rejects(mineNegatives({ ...good, data: memorySource('none', []) }), {
    code: 'ERR_DATA',
    message: /source "none" has no rows/,
  })
  await t.rejects(mineNegatives({ ...good, corpus: [''] }), { code: 'ERR_DATA', message: /corpus has no documents/ })
  const none = mineNegatives({ ...good, maxScore: 1e-3 })
  await t.rejects(none, {
    code: 'ERR_DATA',
    message: /none of the 47 rows of "pairs" got 1 negatives.*"maxScore":\d\d/,
  })
  t.notOk(existsSync(out))
  model.dispose()
})

t.test('rows that have negatives, scores, a name and other columns', async (t) => {
  const out = path.join(folder(t), 'x.jsonl')
  const rows: TextRow[] = pairs.map(({ query, documents }, i) => ({
    ...{ query, documents: [...documents, text(5), text(6)], id: `row-${i}`, unused: ['url'] },
    ...(i === 3 && { scores: [3, 2, 1] }),
  }))
  const result = await mineNegatives({ data: memorySource('rows', rows), by: 'bm25', out, minNegatives: 0 })
  t.match(result, { replaced: 2 * rows.length, unusedColumns: ['url', 'scores'] })
  const found = rowsOf(out)
  t.same(
    found.map(({ id }) => id),
    rows.map(({ id }) => id),
  )
  const own = new Set(rows.flatMap(({ documents }) => documents.slice(1)))
  t.ok(found.some(({ documents }) => documents.slice(1).some((document) => own.has(document))))
  t.notOk(found.some((row) => 'scores' in row))
})
