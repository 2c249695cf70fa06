import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { seed } from '../seed.js'

// The example is plain JavaScript outside of the compiled tree, so it is loaded from the repository root.
const load = (name: string) => import(pathToFileURL(resolve('examples/wordnet', name)).href)
const { readWordnet, splitGloss, lemmaText } = await load('wordnet.js')
const { buildDataset, describe, documentText } = await load('dataset.js')
const { trainingPairs, sisters, triplets, distillationRows, shuffledTeacher } = await load('supervision.js')
const { graphSimilarity } = await load('graph.js')
const { writeBeir, writeRows } = await load('files.js')

type Synset = {
  id: string
  lemmas: string[]
  definition: string
  hypernyms: number[]
  heads: number[]
  derivations: number[]
}
type Doc = { id: string; text: string; synsets: number[] }
type Query = { id: string; text: string; synsets: number[]; relevant: number[] }
type Collection = { documents: Doc[]; queries: Query[] }

const synsets: Synset[] = readWordnet()
const data = buildDataset(synsets, { seed })
const { train, dev, test }: { train: Collection; dev: Collection; test: Collection } = data
const named = (lemma: string, word: string) => {
  const found = synsets.findIndex(({ lemmas, definition }) => lemmas[0] === lemma && definition.includes(word))
  if (found < 0) throw new Error(`no ${lemma}`)
  return found
}

t.test('glosses split into definition and examples', async (t) => {
  const cases: [string, string, string[]][] = [
    ['coming into existence; "an emergent republic"', 'coming into existence', ['an emergent republic']],
    ['go bad; from good to bad; "a; b"; "c" - Shakespeare; "d"', 'go bad; from good to bad', ['a; b', 'c', 'd']],
    ['being ready for war: "the troops"', 'being ready for war', ['the troops']],
    ['reward as in "carrot and stick"; "used it"', 'reward as in "carrot and stick"', ['used it']],
    ['a whole of parts', 'a whole of parts', []],
  ]
  for (const [gloss, definition, examples] of cases) t.strictSame(splitGloss(gloss), { definition, examples })
  t.equal(lemmaText('ice_cream'), 'ice cream')
  t.equal(lemmaText('afloat(p)'), 'afloat')
})

t.test('all of WordNet is read', async (t) => {
  t.equal(synsets.length, 117_791)
  t.equal(new Set(synsets.map((synset) => synset.id)).size, synsets.length)
  t.ok(synsets.every((synset) => synset.lemmas.length > 0 && synset.definition !== ''))
  t.notOk(synsets.some(({ lemmas }) => lemmas.some((lemma) => /[_]|\((p|a|ip)\)$/.test(lemma))))
  const poodle = named('poodle', 'dog')
  t.match(documentText(synsets, poodle), /^poodle, poodle dog: dog, domestic dog, Canis familiaris/)
  t.ok(synsets[named('Paris', 'capital')].hypernyms.length > 0, 'instances have their class above them')
})

t.test('nothing in training shares a lemma, a derivation or a definition with what is held out', async (t) => {
  const held = new Set([...test.documents, ...dev.documents].flatMap((document) => document.synsets))
  const heldLemmas = new Set([...held].flatMap((i) => synsets[i].lemmas.map((lemma) => lemma.toLowerCase())))
  const heldDefinitions = new Set([...held].map((i) => synsets[i].definition))
  const trained = new Set([
    ...train.documents.flatMap((document) => document.synsets),
    ...train.queries.flatMap((query) => query.synsets),
  ])
  const leaks = [...trained].filter(
    (i) =>
      held.has(i) ||
      synsets[i].lemmas.some((lemma) => heldLemmas.has(lemma.toLowerCase())) ||
      synsets[i].derivations.some((j) => held.has(j)) ||
      heldDefinitions.has(synsets[i].definition),
  )
  t.equal(leaks.length, 0)
  t.equal([...held].filter((i) => synsets[i].derivations.some((j) => trained.has(j))).length, 0)
  t.ok(trained.size > 75_000, `${trained.size} synsets are left to train on`)
  const testSynsets = new Set(test.documents.flatMap((document) => document.synsets))
  t.notOk(dev.documents.some((document) => document.synsets.some((i) => testSynsets.has(i))))
})

t.test('collections are well formed, and large enough', async (t) => {
  t.ok(test.documents.length >= 10_000 && test.queries.length >= 2_000)
  t.ok(dev.queries.length >= 300)
  for (const { documents, queries } of [train, dev, test]) {
    t.equal(new Set(documents.map((document) => document.text)).size, documents.length, 'no document text twice')
    t.equal(new Set(queries.map((query) => query.text)).size, queries.length, 'no query text twice')
    t.ok(queries.every((query) => query.relevant.length > 0))
    const wrong = queries.filter(
      ({ text, synsets: own, relevant }) =>
        !own.every((i) => synsets[i].definition === text && relevant.some((d) => documents[d].synsets.includes(i))),
    )
    t.equal(wrong.length, 0, 'the documents of all synsets with this definition are relevant')
  }
  const { overlap } = describe(test)
  t.ok(overlap > 0.4 && overlap < 0.8, `a query in two shares a word with its document (${overlap})`)
})

t.test('the same seed gives the same data, another seed other data', async (t) => {
  const again = buildDataset(synsets, { seed })
  t.ok(isDeepStrictEqual([again.test, again.train], [test, train]))
  const other = buildDataset(synsets, { seed: seed + 1 })
  t.not(JSON.stringify(other.test.queries), JSON.stringify(test.queries))
})

t.test('graph similarity grades candidates', async (t) => {
  const similarity = graphSimilarity(synsets)
  const adverb = synsets.findIndex(({ id, hypernyms, heads }) => id[0] === 'r' && hypernyms.length + heads.length === 0)
  const [poodle, beagle, cat, oak] = [
    named('poodle', 'dog'),
    named('beagle', 'hound'),
    named('Persian cat', 'cat'),
    named('white oak', 'oak'),
  ]
  t.equal(similarity(poodle, poodle), 1)
  const grades = [beagle, cat, oak].map((other) => similarity(poodle, other))
  t.ok(1 > grades[0] && grades[0] > grades[1] && grades[1] > grades[2] && grades[2] >= 0, grades.join(' '))
  t.equal(similarity(poodle, cat), similarity(cat, poodle))
  t.equal(similarity(poodle, adverb), 0, 'nothing in common')
})

const family: number[][] = sisters(synsets, train)

t.test('triplets take sisters first and never a relevant document', async (t) => {
  const lonely = family.filter((list) => list.length === 0).length / family.length
  t.ok(lonely > 0.1 && lonely < 0.4, `${lonely} of the queries have no sisters`)
  const textOf = (d: number) => train.documents[d].text
  const queries = [0, 17, family.findIndex((list) => list.length === 0), family.findIndex((list) => list.length > 8)]
  const mined = train.queries.map((query, q) => (queries.includes(q) ? [...query.relevant, 5, 6, 7, 8] : []))
  const rows = triplets(synsets, train, { negatives: 4, fromSisters: 2, mined, queries, seed })
  for (const row of rows) {
    const q = train.queries.findIndex((query) => query.text === row.query)
    t.equal(row.negatives.length, 4)
    t.equal(new Set(row.negatives).size, 4)
    t.notOk(row.negatives.some((text: string) => train.queries[q].relevant.map(textOf).includes(text)))
    const kin = row.negatives.filter((text: string) => family[q].map(textOf).includes(text))
    t.ok(kin.length >= Math.min(2, family[q].length))
  }
  t.strictSame(triplets(synsets, train, { negatives: 4, fromSisters: 2, mined, queries, seed }), rows)
  t.ok(
    triplets(synsets, train, { negatives: 3, queries: [0] })[0].negatives.length === 3,
    'random where nothing is left',
  )
})

t.test('distillation rows are graded; the control holds the same scores in another order', async (t) => {
  const some = [...train.queries.keys()].filter((q) => family[q].length > 3).slice(0, 200)
  const candidates = new Map(
    some.map((q, i) => [q, [...family[q].slice(0, 4), ...train.queries[q].relevant, 9 * i, 9 * i + 1, 9 * i + 2]]),
  )
  const rows = distillationRows(synsets, train, { candidates, documents: 8, seed })
  t.equal(rows.length, some.length)
  rows.forEach((row: { query: string; documents: string[]; scores: number[] }, i: number) => {
    const { relevant, text } = train.queries[some[i]]
    if (row.query !== text || row.documents[0] !== train.documents[relevant[0]].text) t.fail('not its own row')
    if (row.documents.length !== 8 || row.scores.length !== 8) t.fail('size')
    if (row.scores[0] !== 1 || row.scores.some((score, k) => k > 0 && (score >= 1 || score < 0))) t.fail('scores')
    if (new Set(row.scores).size < 2) t.fail('not graded')
  })
  const control = shuffledTeacher(rows, seed)
  t.ok(control.some((row: { scores: number[] }, i: number) => row.scores.join() !== rows[i].scores.join()))
  control.forEach((row: { documents: string[]; scores: number[] }, i: number) => {
    if (row.documents !== rows[i].documents) t.fail('documents changed')
    if (row.scores.toSorted().join() !== rows[i].scores.toSorted().join()) t.fail('scores changed')
  })
})

t.test('files', async (t) => {
  const folder = t.testdir()
  const lines = (path: string) =>
    gunzipSync(readFileSync(path))
      .toString()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
  writeBeir(join(folder, 'dev'), dev)
  const corpus = lines(join(folder, 'dev/corpus.jsonl.gz'))
  t.equal(corpus.length, dev.documents.length)
  t.strictSame(corpus[3], { _id: dev.documents[3].id, title: '', text: dev.documents[3].text })
  const queries = lines(join(folder, 'dev/queries.jsonl.gz'))
  const ids = new Set(corpus.map((row) => row._id))
  const [header, ...qrels] = readFileSync(join(folder, 'dev/qrels/test.tsv'), 'utf8').trimEnd().split('\n')
  t.equal(header, 'query-id\tcorpus-id\tscore')
  t.strictSame(new Set(qrels.map((line) => line.split('\t')[0])), new Set(queries.map((row) => row._id)))
  t.ok(qrels.every((line) => ids.has(line.split('\t')[1]) && line.endsWith('\t1')))
  t.notOk(
    queries.some((row) => ids.has(row._id)),
    'no query id is a document id',
  )

  const path = writeRows(join(folder, 'pairs.jsonl.gz'), trainingPairs(train).slice(0, 100))
  t.strictSame(lines(path)[0], {
    query: train.queries[0].text,
    document: train.documents[train.queries[0].relevant[0]].text,
  })
  const before = statSync(path).ino
  writeRows(path, trainingPairs(train).slice(0, 100))
  t.equal(statSync(path).ino, before, 'the same rows are not written again')
  writeRows(path, trainingPairs(train).slice(0, 99))
  t.equal(lines(path).length, 99, 'other rows are')
  writeFileSync(`${path}.sha256`, 'cut')
  writeRows(path, trainingPairs(train).slice(0, 99))
  t.equal(lines(path).length, 99)
})
