/** Hard negatives against a reference that scores every pair, sorts and filters, written here. */
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import type { TextRow } from '../../lib/data/rows.js'
import { memorySource } from '../../lib/data/sources.js'
import { type MineOptions, mineNegatives } from '../../lib/mining/mine.js'
import type { Colbert } from '../../lib/models/colbert.js'
import { Bm25 } from '../../lib/retrieval/bm25.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'
import { folder, tinyModel, words } from '../train/tiny.js'

const random = new Random(seed)
const draw = (n: number) => Math.floor(random.next() * n)
const text = (length: number) => Array.from({ length }, () => words[draw(words.length)]!).join(' ')

/** Pairs, of which some share a query and some a positive. */
const pairs: TextRow[] = Array.from({ length: 40 }, () => {
  const query = text(4)
  return { query, documents: [`${query.slice(0, 6)} ${text(3 + draw(6))}`] }
})
pairs.push({ query: pairs[0]!.query, documents: [text(5)] }, { query: text(3), documents: pairs[1]!.documents })
pairs.push({ query: pairs[2]!.documents[0]!, documents: [text(4)] }) // a query that is a document

const rowsOf = (file: string): TextRow[] => {
  const bytes = readFileSync(file)
  const lines = (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString().trim().split('\n')
  return lines.map((line) => JSON.parse(line))
}

type Score = (query: string, document: string) => number

async function scorer(model: Colbert, queries: string[], documents: string[]): Promise<Score> {
  const [q, d] = [await model.encodeQueries(queries), await model.encodeDocuments(documents)]
  const hits = await model.search(q, d, { topK: documents.length })
  const found = new Map(
    hits.flatMap((list, i) => list.map((hit) => [`${queries[i]}|${documents[hit.index]}`, hit.score])),
  )
  return (query, document) => found.get(`${query}|${document}`)!
}

/** What should be written, by the definitions alone. */
function reference(
  rows: readonly TextRow[],
  corpus: readonly string[],
  score: Score,
  { negatives = 10, depth = [1, 100], ...rules }: Partial<MineOptions>,
): TextRow[] {
  return rows.map(({ query, documents: [positive] }) => {
    const never = new Set([query, ...rows.filter((row) => row.query === query).map((row) => row.documents[0]!)])
    const ranked = corpus
      .map((document, index) => ({ document, index, score: score(query, document) }))
      .filter(({ document }) => !never.has(document))
      .sort((a, b) => b.score - a.score || a.index - b.index)
      .slice(depth[0] - 1, depth[1])
    const limit = score(query, positive!)
    const passed = ranked.filter(
      (found) =>
        !(found.score > (rules.maxScore ?? Number.POSITIVE_INFINITY)) &&
        !(found.score < (rules.minScore ?? Number.NEGATIVE_INFINITY)) &&
        !(rules.dropAbove !== undefined && found.score >= rules.dropAbove * limit) &&
        !(rules.margin !== undefined && found.score >= limit - rules.margin),
    )
    return { query, documents: [positive!, ...passed.slice(0, negatives).map(({ document }) => document)] }
  })
}

const distinct = (texts: string[]) => [...new Set(texts)]

t.test('by a model: the reference, with every rule', async (t) => {
  const model = await tinyModel()
  const dir = folder(t)
  const corpus = distinct(pairs.flatMap((row) => row.documents))
  const score = await scorer(model, distinct(pairs.map((row) => row.query)), corpus)
  const cases: Partial<MineOptions>[] = [
    {},
    { negatives: 3 },
    { negatives: 3, depth: [5, 20] },
    { negatives: 5, dropAbove: 0.95 },
    { negatives: 5, margin: 0.5 },
    { negatives: 5, maxScore: 4, minScore: 3 },
    { negatives: 5, depth: [2, 30], maxScore: 5, dropAbove: 0.98, margin: 0.1 },
  ]
  for (const [i, rules] of cases.entries()) {
    const out = path.join(dir, `${i}.jsonl.gz`)
    const result = await mineNegatives({ data: memorySource('pairs', pairs), by: model, out, ...rules })
    const wanted = reference(pairs, corpus, score, rules)
    const written = wanted.filter(({ documents }) => documents.length > 1)
    t.same(rowsOf(out), written, JSON.stringify(rules))
    t.match(result, {
      rows: pairs.length,
      queries: pairs.length - 1,
      documents: corpus.length,
      repeatedDocuments: 1,
      written: written.length,
      droppedRows: pairs.length - written.length,
      negatives: written.reduce((sum, { documents }) => sum + documents.length - 1, 0),
    })
  }
  model.dispose()
})

t.test('BM25: the reference', async (t) => {
  const dir = folder(t)
  const corpus = distinct(pairs.flatMap((row) => row.documents))
  const index = new Bm25(corpus)
  const score: Score = (query, document) => index.scores(query)[corpus.indexOf(document)]!
  const out = path.join(dir, 'x.jsonl')
  await mineNegatives({ data: memorySource('pairs', pairs), by: 'bm25', out, negatives: 4, dropAbove: 0.9 })
  const wanted = reference(pairs, corpus, score, { negatives: 4, dropAbove: 0.9, minScore: 1e-9 })
  t.same(
    rowsOf(out),
    wanted.filter(({ documents }) => documents.length > 1),
  )
})

t.test('the same bytes in blocks of any size, and scores of a teacher', async (t) => {
  const dir = folder(t)
  const [model, teacher] = [await tinyModel(), await tinyModel(2)]
  const common = { data: memorySource('pairs', pairs), by: model, teacher, negatives: 4 }
  const [one, other] = ['one.jsonl', 'other.jsonl'].map((name) => path.join(dir, name))
  await mineNegatives({ ...common, out: one! })
  await mineNegatives({ ...common, out: other!, queryBlock: 7, microBatchTokens: 50 })
  t.equal(readFileSync(other!, 'utf8'), readFileSync(one!, 'utf8'))
  for (const { query, documents, scores } of rowsOf(one!)) {
    const hits = await teacher.rank(query, documents)
    t.same(
      scores,
      documents.map((_, i) => Number(hits.find(({ index }) => index === i)!.score.toPrecision(9))),
    )
  }
  await t.rejects(mineNegatives({ ...common, out: one! }), { code: 'ERR_FILE' })
  const abort = AbortSignal.abort()
  const late = path.join(dir, 'late.jsonl')
  await t.rejects(mineNegatives({ ...common, out: late, signal: abort }), { code: 'ERR_ABORTED' })
  t.notOk(existsSync(late))
  model.dispose()
  teacher.dispose()
})
