/** `lateforge index`: the verbs of an index, as a person uses them. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { lateforge } from '../command.js'
import { folder, saveTinyModel } from '../train/tiny.js'

const cwd = folder(t)
const cli = (...args: string[]) => lateforge(['index', ...args], cwd)
const json = (...args: string[]) => JSON.parse(cli(...args, '--json').stdout)

t.before(async () => {
  await saveTinyModel(path.join(cwd, 'model'))
  const lines = Array.from({ length: 30 }, (_, i) => ({
    _id: `d${i}`,
    text: `w${i} w${(i * 7) % 30} w${(i * 11) % 30}`,
  }))
  writeFileSync(path.join(cwd, 'corpus.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  writeFileSync(path.join(cwd, 'more.txt'), 'w1 w2\nw3 w4\n')
})

t.test('create, add, search, delete, compact, info', async (t) => {
  t.match(cli('create', 'idx', 'model'), {
    status: 0,
    stdout: /idx: an empty index of int8 vectors .* encoded by model/,
  })
  t.match(cli('add', 'idx', 'corpus.jsonl'), { status: 0, stdout: /30 documents added, \d+ tokens, in/ })
  t.match(cli('add', 'idx', 'corpus.jsonl'), { status: 2, stderr: /ERR_ARGUMENT .*has a document "d0"; .*existing/ })
  t.match(cli('add', 'idx', 'corpus.jsonl', '--existing', 'skip'), {
    status: 0,
    stdout: /0 documents added[\s\S]*30 were there and left out/,
  })
  t.match(json('add', 'idx', 'more.txt', '--existing', 'replace'), { documents: 2, replaced: 0 })
  const hits = json('search', 'idx', 'w5', 'w6 w7', '--top-k', '3').results
  t.same(
    hits.map(({ query, hits }: { query: string; hits: unknown[] }) => [query, hits.length]),
    [
      ['w5', 3],
      ['w6 w7', 3],
    ],
  )
  // The same as a search without an index, but for the rounding to int8.
  const plain = JSON.parse(lateforge(['search', 'model', 'corpus.jsonl', 'w5', '--top-k', '3', '--json'], cwd).stdout)
  t.ok(Math.abs(plain.results[0].hits[0].score - hits[0].hits[0].score) < 0.05)
  t.match(cli('search', 'idx', 'w5', '--top-k', '1'), { status: 0, stdout: /^w5\n {3}1 {2}\d+\.\d{3} {2}\S+ {2}w/ })
  t.match(cli('delete', 'idx', 'd5', 'nobody'), { status: 0, stdout: /1 documents deleted\nnot in the index: nobody/ })
  t.match(cli('check', 'idx', '--queries', '5'), {
    status: 0,
    stdout: /recall@10[\s\S]*every document is scored from now on/,
  })
  t.match(json('check', 'idx', 'w1 w2', '--target', '0.9'), { queries: 1, target: 0.9, approximate: false, ndcg: null })
  mkdirSync(path.join(cwd, 'judged', 'qrels'), { recursive: true })
  writeFileSync(path.join(cwd, 'judged', 'corpus.jsonl'), '{"_id":"d1","text":"x"}\n')
  writeFileSync(path.join(cwd, 'judged', 'queries.jsonl'), '{"_id":"q1","text":"w7 w8"}\n{"_id":"q2","text":"w9"}\n')
  writeFileSync(path.join(cwd, 'judged', 'qrels', 'dev.tsv'), 'q1\td1\t1\nq2\td2\t1\nq2\tnone\t1\n')
  const judged = ['--collection', 'judged', '--split', 'dev']
  const { ndcg } = json('check', 'idx', ...judged)
  t.ok(ndcg >= 0 && ndcg <= 1)
  t.match(cli('check', 'idx', ...judged), {
    status: 0,
    stdout:
      /recall@10 {2}nDCG@10[\s\S]*every document +1\.0000 +\d\.\d{4} [\s\S]*1 judged documents are not in the index/,
  })
  t.match(cli('check', 'idx', ...judged, 'w1'), { status: 2, stderr: /--collection has no effect beside queries/ })
  t.match(cli('check', 'idx', '--split', 'dev'), { status: 2, stderr: /--split has no effect/ })
  t.match(cli('compact', 'idx'), { status: 0, stdout: /^[\d.]+ kB before, [\d.]+ kB now$/m })
  t.match(cli('info', 'idx', '--verify'), {
    status: 0,
    stdout: /31 documents, .*\nmodel model\nevery file is as it was written/s,
  })
  t.match(json('info', 'idx'), { documents: 31, deleted: 0, model: 'model', pooling: null })
})

t.test('encoded first: encode, search, index add; candidates by words', async (t) => {
  const encode = (...args: string[]) => lateforge(['encode', 'model', 'corpus.jsonl', ...args], cwd)
  t.match(encode('shards', '--keep-texts', '--shard-tokens', '50'), {
    status: 0,
    stdout: /^shards: 30 documents, \d+ tokens as float16 of 16 dimensions\n[\d.]+ kB in 1 shards, in/,
  })
  t.match(encode('shards', '--keep-texts', '--shard-tokens', '50'), { status: 0, stdout: /30 documents were there/ })
  t.match(encode('shards'), { status: 2, stderr: /ERR_ARGUMENT .*begun with keepTexts true, not false/ })
  t.match(JSON.parse(encode('bare', '--type', 'int8', '--json').stdout), { documents: 30, type: 'int8', resumed: 0 })
  const find = (corpus: string) =>
    JSON.parse(lateforge(['search', 'model', corpus, 'w5', 'w1 w2', '--top-k', '3', '--json'], cwd).stdout)
  const [plain, sharded, bare] = [find('corpus.jsonl'), find('shards'), find('bare')]
  type Found = { results: { hits: { id: string; text?: string }[] }[] }
  const idsOf = ({ results }: Found) => results.map(({ hits }) => hits.map(({ id }) => id))
  t.same(idsOf(sharded), idsOf(plain))
  t.equal(sharded.results[0].hits[0].text, plain.results[0].hits[0].text)
  t.equal(bare.results[0].hits[0].text, undefined)
  t.match(lateforge(['search', 'model', 'bare', 'w5'], cwd), { status: 0, stdout: /^w5\n {3}1 / })

  t.match(cli('create', 'sharded', 'model'), { status: 0 })
  t.match(cli('add', 'sharded', 'shards', '--model', 'model'), { status: 2, stderr: /--model has no effect/ })
  t.match(cli('add', 'sharded', 'shards'), { status: 0, stdout: /30 documents added/ })
  const found = json('search', 'sharded', 'w5', '--first-stage', 'bm25', '--candidates', '5').results[0].hits
  t.ok(found.length > 0 && found.length <= 5)
  for (const { text } of found) t.match(text, /\bw5\b/, 'candidates have the word')
  t.match(cli('check', 'sharded', 'w1 w2'), { status: 0, stdout: /bm25 +100 +\d\.\d{4}/ })
  t.match(cli('search', 'sharded', 'w5', '--first-stage', 'bm52'), { status: 2, stderr: /Expected bm25/ })
})

t.test('metadata are kept, and filtered by', async (t) => {
  const lines = Array.from({ length: 12 }, (_, i) => ({
    ...{ _id: `d${i}`, text: `w${i} w5`, year: 1990 + i, lang: i % 2 ? 'de' : 'en', note: 'x' },
    ...(i % 3 > 0 && { metadata: { third: i % 3 } }),
  }))
  writeFileSync(path.join(cwd, 'tagged.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  t.match(cli('create', 'tagged', 'model'), { status: 0 })
  t.match(cli('add', 'tagged', 'tagged.jsonl', '--metadata', 'yaer'), {
    status: 3,
    stderr: /ERR_DATA .*no document has a field "yaer", did you mean "year"\?/,
  })
  t.match(cli('add', 'tagged', 'tagged.jsonl', '--metadata', 'year,lang'), {
    status: 0,
    stderr: /fields that no text comes from: note\n--metadata note keeps them/,
  })
  const found = (...args: string[]) => json('search', 'tagged', 'w5', ...args)
  const numbers = (...args: string[]) =>
    found(...args)
      .results[0].hits.map(({ id }: { id: string }) => Number(id.slice(1)))
      .sort((a: number, b: number) => a - b)
  t.same(numbers('--where', '{ "year": { "$gte": 1996 }, "lang": "de" }'), [7, 9, 11])
  t.same(numbers('--where', '{ "third": 2 }'), [2, 5, 8, 11])
  writeFileSync(path.join(cwd, 'some-ids'), 'd3\nnobody\nd4\n')
  t.same(numbers('--ids', 'some-ids', '--exact'), [3, 4])
  t.match(found('--ids', 'some-ids', '--where', '{ "lang": "en" }'), { passed: 1, results: [{ hits: [{ id: 'd4' }] }] })
  const { metadata } = found('--ids', 'some-ids', '--where', '{ "lang": "en" }').results[0].hits[0]
  t.same(metadata, { third: 1, year: 1994, lang: 'en' })
  t.match(cli('search', 'tagged', 'w5', '--where', '{ "yaer": 1 }'), {
    status: 0,
    stderr: /0 documents pass the filter/,
  })
  t.match(cli('search', 'tagged', 'w5', '--where', 'year=1'), { status: 2, stderr: /Expected JSON/ })
  t.match(cli('search', 'tagged', 'w5', '--where', '{ "year": { "gt": 1 } }'), {
    status: 2,
    stderr: /did you mean "\$gt"/,
  })
  writeFileSync(path.join(cwd, 'no-ids'), '\n')
  t.match(cli('search', 'tagged', 'w5', '--ids', 'no-ids'), { status: 3, stderr: /no-ids has no ids/ })
  t.match(cli('add', 'tagged', 'more.txt', '--metadata', 'year'), { status: 2, stderr: /--metadata has no effect/ })

  // Encoded first, the same; and gone on with by the same fields alone.
  const encode = (...args: string[]) => lateforge(['encode', 'model', 'tagged.jsonl', 'tagged-shards', ...args], cwd)
  t.match(encode('--metadata', 'year,lang'), { status: 0, stderr: /--metadata note keeps them/ })
  t.match(encode('--metadata', 'year,lang'), { status: 0, stdout: /12 documents were there/ })
  t.match(encode(), { status: 3, stderr: /ERR_DATA/ })
  t.match(cli('create', 'again', 'model'), { status: 0 })
  t.match(cli('add', 'again', 'tagged-shards', '--metadata', 'year'), { status: 2, stderr: /--metadata has no effect/ })
  t.match(cli('add', 'again', 'tagged-shards'), { status: 0, stdout: /12 documents added/ })
  t.match(json('search', 'again', 'w5', '--where', '{ "year": 1994 }'), {
    passed: 1,
    results: [{ hits: [{ id: 'd4' }] }],
  })

  writeFileSync(path.join(cwd, 'odd.jsonl'), '{"_id":"a","text":"w1"}\n{"_id":"b","text":"w2","metadata":[1]}\n')
  t.match(cli('add', 'tagged', 'odd.jsonl'), { status: 3, stderr: /odd\.jsonl:2: "metadata" of "b" is no object/ })
})

t.test('residual codes say what they find', async (t) => {
  t.match(cli('create', 'compact', 'model', '--type', 'residual4'), { status: 0, stdout: /residual codes find less/ })
  const manifest = path.join(cwd, 'compact', 'index.json')
  writeFileSync(manifest, readFileSync(manifest, 'utf8').replace(/"listsFrom": \d+/, '"listsFrom": 10'))
  for (const [verb, ...more] of [['add', 'corpus.jsonl'], ['info'], ['check', 'w1 w2']])
    t.match(cli(verb!, 'compact', ...more), { status: 0, stdout: /residual codes find \d\.\d{4} of the ten best/ })
})

t.test('what it refuses', async (t) => {
  t.match(cli('create', 'idx', 'model'), { status: 4, stderr: /ERR_FORMAT .*idx holds/ })
  t.match(cli('search', 'id', 'w1'), { status: 4, stderr: /id holds no index \(did you mean "idx"\?\)/ })
  t.match(cli('create', 'other', 'model', '--type', 'int4'), { status: 2, stderr: /Expected int8/ })
  t.match(cli('create', 'pooled', 'model', '--pool-factor', '2'), { status: 0 })
  t.match(json('add', 'pooled', 'corpus.jsonl'), { documents: 30 })
  t.match(cli('info', 'pooled'), { status: 0, stdout: /about 1 in 2 token vectors kept/ })
  const file = path.join(cwd, 'pooled', 's000001.safetensors')
  const bytes = readFileSync(file)
  bytes[bytes.length - 1]! ^= 1
  writeFileSync(file, bytes)
  t.match(cli('info', 'pooled', '--verify'), { status: 4, stderr: /s000001\.safetensors is not as it was written/ })
})
