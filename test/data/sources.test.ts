import { readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { expandPattern } from '../../lib/data/glob.js'
import { type DataEntry, fileSource, fileSources, type Source, type TextRow } from '../../lib/data/sources.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'

async function all(source: Source): Promise<TextRow[]> {
  const rows: TextRow[] = []
  for await (const row of source) rows.push(row)
  return rows
}
const pair = (i: number) => `{"query":"q${i}","document":"d${i}"}`

t.test('lines: byte-order mark, CRLF, blank lines, no last line end, gzip members, lines across chunks', async (t) => {
  const long = JSON.stringify({ query: 'é'.repeat(400_000), document: 'd' })
  const text = `\ufeff${pair(0)}\r\n\r\n${pair(1)}\n \n${long}\n${pair(2)}`
  const dir = t.testdir({
    'plain.jsonl': text,
    'packed.jsonl.gz': Buffer.concat([gzipSync(text), gzipSync(`\n${pair(3)}\n`)]),
    'none.jsonl': '',
  })
  const rows = await all(fileSource(join(dir, 'plain.jsonl')))
  t.same(
    rows.map(({ query }) => query.slice(0, 2)),
    ['q0', 'q1', 'éé', 'q2'],
  )
  t.equal(rows[2]!.query.length, 400_000)
  t.equal((await all(fileSource(join(dir, 'packed.jsonl.gz')))).length, 5)
  t.same(await all(fileSource(join(dir, 'none.jsonl'))), [])
})

t.test('damaged files name file and line', async (t) => {
  const random = new Random(seed)
  const lines = Array.from({ length: 2000 }, (_, i) => `{"query":"q${i}","document":"${random.next()}"}`).join('\n')
  const dir = t.testdir({
    'json.jsonl': `${pair(0)}\r\n\n{"query": "q",\n`,
    'field.jsonl': `${pair(0)}\n{"query": "q"}\n`,
    'utf8.jsonl': Buffer.concat([
      Buffer.from(`${pair(0)}\n{"query":"`),
      Buffer.from([0xff, 0xfe]),
      Buffer.from('"}\n'),
    ]),
    'cut.jsonl.gz': gzipSync(lines).subarray(0, -200),
    'not.jsonl.gz': lines,
    'data.csv': 'a,b',
  })
  await t.rejects(all(fileSource(join(dir, 'json.jsonl'))), {
    code: 'ERR_DATA',
    message: /json\.jsonl:3: not valid JSON/,
  })
  await t.rejects(all(fileSource(join(dir, 'field.jsonl'))), {
    code: 'ERR_DATA',
    message: /field\.jsonl:2: no column is the positive/,
  })
  await t.rejects(all(fileSource(join(dir, 'utf8.jsonl'))), { code: 'ERR_DATA', message: /UTF-8/ })
  await t.rejects(all(fileSource(join(dir, 'cut.jsonl.gz'))), { code: 'ERR_DATA', message: /not an intact gzip/ })
  await t.rejects(all(fileSource(join(dir, 'not.jsonl.gz'))), { code: 'ERR_DATA', message: /not an intact gzip/ })
  await t.rejects(all(fileSource(join(dir, 'absent.jsonl'))), { code: 'ERR_DATA', message: /does not exist/ })
  await t.rejects(fileSource(join(dir, 'absent.jsonl')).fingerprint!(), { code: 'ERR_DATA' })
  t.throws(() => fileSource(join(dir, 'data.csv')), { code: 'ERR_DATA', message: /jsonl/ })
})

t.test('leaving the loop early closes the file', async (t) => {
  const dir = t.testdir({ 'a.jsonl': `${pair(0)}\n`.repeat(100_000) })
  for await (const row of fileSource(join(dir, 'a.jsonl'))) {
    t.equal(row.query, 'q0')
    break
  }
})

t.test('patterns', async (t) => {
  const dir = t.testdir({
    pairs: {
      'a.jsonl': pair(0),
      'b.jsonl.gz': gzipSync(pair(1)),
      'notes.txt': '',
      deep: { 'a.jsonl': pair(2), er: { 'c.jsonl': pair(3) } },
    },
  })
  const names = (pattern: string) => expandPattern(join(dir, pattern)).map((file) => file.slice(dir.length + 7))
  t.same(names('pairs/*.jsonl'), ['a.jsonl'])
  t.same(names('pairs/?.jsonl*'), ['a.jsonl', 'b.jsonl.gz'])
  t.same(names('pairs/**/*.jsonl'), ['a.jsonl', 'deep/a.jsonl', 'deep/er/c.jsonl'])
  t.same(names('pairs'), ['a.jsonl', 'b.jsonl.gz'])
  t.same(names('pairs/d*/*.jsonl'), ['deep/a.jsonl'])
  t.throws(() => expandPattern(join(dir, 'pairs/z*')), { code: 'ERR_DATA', message: /no file matches/ })
  t.throws(() => expandPattern(join(dir, 'nowhere/*')), { code: 'ERR_DATA' })
  const sources = await fileSources([join(dir, 'pairs/**/*.jsonl'), join(dir, 'pairs/a.jsonl')])
  t.same(
    sources.map(({ name }) => name),
    [`${basename('pairs')}/a`, 'deep/a', 'c'],
  )
  t.not(await sources[0]!.fingerprint!(), await sources[1]!.fingerprint!())
})

t.test('links: of files by their names, of folders by `*` and never by `**`', async (t) => {
  const dir = t.testdir({ there: { 'a.jsonl': pair(0) }, here: { 'b.jsonl': pair(1) } })
  for (const [name, target] of [
    ['folder', '../there'],
    ['loop', '.'],
    ['c.jsonl', '../there/a.jsonl'],
    ['broken.jsonl', 'nowhere'],
  ] as const)
    symlinkSync(target, join(dir, 'here', name))
  const names = (pattern: string) => expandPattern(join(dir, pattern)).map((file) => file.slice(dir.length + 6))
  const files = ['b.jsonl', 'broken.jsonl', 'c.jsonl']
  t.same(names('here/*'), files)
  t.same(names('here/**'), files)
  t.same(names('here/**/*.jsonl'), files)
  t.same(names('here/f*/*'), ['folder/a.jsonl'])
  await t.rejects(all(fileSource(join(dir, 'here/broken.jsonl'))), { message: /broken\.jsonl does not exist/ })
})

t.test('a line of many chunks, and one that is too long', async (t) => {
  const text = Array.from({ length: 1 << 20 }, (_, i) => `é${i}`).join(' ')
  const row = JSON.stringify({ query: 'q', document: text })
  const dir = t.testdir({
    'a.jsonl': `${pair(0)}\n${row}\n${pair(1)}`,
    'b.jsonl': row,
    'c.jsonl.gz': gzipSync(Buffer.concat([Buffer.from(`${pair(0)}\n`), Buffer.alloc(66 << 20, 'x')])),
  })
  t.same(
    (await all(fileSource(join(dir, 'a.jsonl')))).map(({ documents }) => documents[0] === text),
    [false, true, false],
  )
  t.equal((await all(fileSource(join(dir, 'b.jsonl'))))[0]!.documents[0] === text, true)
  await t.rejects(all(fileSource(join(dir, 'c.jsonl.gz'))), {
    code: 'ERR_DATA',
    message: /c\.jsonl\.gz:2: the line is longer than 64 Mi characters/,
    details: { line: 2 },
  })
})

const namesOf = (sources: readonly Source[]) => sources.map(({ name }) => name)

t.test('names: as many folders as tell files apart, and two of one name refused', async (t) => {
  const dir = t.testdir({
    en: { train: { 'pairs.jsonl': pair(0), 'only.jsonl': pair(0) }, dev: { 'pairs.jsonl': pair(1) } },
    de: { train: { 'pairs.jsonl': pair(2) } },
    twins: { 'x.jsonl': pair(0), 'x.jsonl.gz': gzipSync(pair(1)) },
  })
  t.same(namesOf(await fileSources(join(dir, '*/*/*.jsonl'))), [
    'de/train/pairs',
    'dev/pairs',
    'only',
    'en/train/pairs',
  ])
  await t.rejects(fileSources(join(dir, 'twins')), {
    code: 'ERR_DATA',
    message: /twins\/x\.jsonl and .*twins\/x\.jsonl\.gz would have one name, "x"/,
  })
  const named = [
    { name: 'one', files: join(dir, 'twins/x.jsonl') },
    { name: 'two', files: join(dir, 'twins/x.jsonl.gz') },
  ]
  t.same(namesOf(await fileSources(named)), ['one', 'two'])
})

t.test('several files are one source: parts of a set, and entries', async (t) => {
  const dir = t.testdir({
    set: Object.fromEntries([0, 1, 2].map((i) => [`train-0000${i}-of-00003.jsonl`, pair(i)])),
    cut: { 'train-00000-of-00002.jsonl': pair(0) },
    other: { 'b.jsonl': pair(8), 'a.jsonl.gz': gzipSync(`${pair(5)}\n${pair(6)}`) },
  })
  const [set] = await fileSources(join(dir, 'set'))
  t.equal(set!.name, 'train')
  t.same(
    (await all(set!)).map(({ query }) => query),
    ['q0', 'q1', 'q2'],
  )
  await t.rejects(fileSources(join(dir, 'cut')), { code: 'ERR_DATA', message: /has 1 of the 2 parts of train/ })
  const [some] = await fileSources(join(dir, 'cut/*.jsonl'))
  t.equal((await all(some!)).length, 1, 'a pattern may mean some of them')
  t.match(some!.incomplete, [/\*\.jsonl has 1 of the 2 parts of train/], 'and it is said')
  t.equal((await fileSources(join(dir, 'cut/train-00000-of-00002.jsonl')))[0]!.incomplete, undefined)
  const entry = { name: 'mine', files: [join(dir, 'other/*'), join(dir, 'set/*0000[01]*'.replace('[01]', '?'))] }
  const sources = await fileSources([entry, join(dir, 'set')])
  t.same(namesOf(sources), ['mine', 'train'])
  t.same(
    (await all(sources[0]!)).map(({ query }) => query),
    ['q5', 'q6', 'q8', 'q0', 'q1', 'q2'],
    'patterns in their order, files sorted',
  )
})

t.test('fingerprints: of the content of all files, the map and the tables', async (t) => {
  const dir = t.testdir({
    'a.jsonl': pair(0),
    'b.jsonl': pair(1),
    copy: { 'c.jsonl': pair(0) },
    'ids.jsonl': '{"query":1,"document":2}',
    'q.tsv': '1\tq',
    'other.tsv': '1\tr',
    'd.tsv': '2\td',
  })
  const of = async (entry: DataEntry) => (await fileSources({ name: 'n', ...entry }))[0]!.fingerprint!()
  const at = (name: string) => join(dir, name)
  const a = await of({ files: at('a.jsonl') })
  t.equal(await of({ files: at('copy/c.jsonl') }), a, 'not of the path')
  const ids = { files: at('ids.jsonl'), queries: at('q.tsv'), documents: at('d.tsv') }
  const different = [
    a,
    await of({ files: at('b.jsonl') }),
    await of({ files: [at('a.jsonl'), at('b.jsonl')] }),
    await of({ files: [at('b.jsonl'), at('a.jsonl')] }),
    await of({ files: at('a.jsonl'), columns: { query: 'query' } }),
    await of(ids),
    await of({ ...ids, queries: at('other.tsv') }),
    await of({ ...ids, documents: { files: at('d.tsv'), id: 'x' } }),
  ]
  t.equal(new Set(different).size, different.length)
})

t.test('a map that names no column, and tables without an id', async (t) => {
  const dir = t.testdir({
    'a.jsonl': `${pair(0)}\n${pair(1)}`,
    'ids.jsonl': '{"query_id":7,"document_ids":"[1, 3]","scores":[2,1]}',
    'q.jsonl': '{"_id":"7","text":"q","lang":"de"}',
    'd.tsv': '1\tone\n2\ttwo',
    'twice.tsv': '7\tq\n7\tq\n7\tr',
    cache: {},
  })
  const at = (name: string) => join(dir, name)
  const cacheDir = at('cache')
  const read = async (entry: DataEntry) => all((await fileSources(entry, { cacheDir }))[0]!)
  await t.rejects(read({ files: at('a.jsonl'), columns: { negatives: ['negative'] } }), {
    code: 'ERR_DATA',
    message: /source "a" has no column "negative" \(columns\.negatives\)/,
  })
  const ids = { files: at('ids.jsonl'), queries: at('q.jsonl'), documents: at('d.tsv') }
  await t.rejects(read(ids), {
    code: 'ERR_DATA',
    message: /ids\.jsonl:1: "document_ids\[1\]" is "3", which d\.tsv does not have/,
  })
  await t.rejects(read({ ...ids, queries: at('twice.tsv') }), {
    code: 'ERR_DATA',
    message: /twice\.tsv:3: the id "7" has had another text/,
  })
  await t.rejects(read({ ...ids, queries: { files: at('q.jsonl'), text: 'txt' } }), { message: /no column "txt"/ })
  writeFileSync(at('d.tsv'), '1\tone\n3\tthree')
  t.same(
    await read(ids),
    [{ query: 'q', documents: ['one', 'three'], scores: [2, 1], id: undefined, unused: ['queries.lang'] }].map(
      ({ id: _, ...row }) => row,
    ),
  )
  t.same(readdirSync(cacheDir), [], 'nothing is left of the tables')
})

t.test('entries with what nobody reads', async (t) => {
  const cases: [unknown, RegExp][] = [
    [{ file: 'a' }, /data has no option "file"; did you mean "files"\?/],
    [{ name: 'a' }, /data needs files/],
    [{ files: 5 }, /data: files is 5/],
    [{ files: 'a', columns: { querry: 'q' } }, /data: columns has no option "querry"; did you mean "query"\?/],
    [{ files: 'a', documents: { files: 'd', ids: 'x' } }, /data: documents has no option "ids"; did you mean "id"\?/],
  ]
  for (const [entry, message] of cases)
    await t.rejects(fileSources(entry as DataEntry), { code: 'ERR_ARGUMENT', message }, JSON.stringify(entry))
})

t.test('what only data sets of the Hub have', async (t) => {
  const dir = t.testdir({ 'a.jsonl': pair(0) })
  await t.rejects(fileSources({ files: join(dir, 'a.jsonl'), split: 'train' }), {
    code: 'ERR_DATA',
    message: /split has no effect on local files/,
  })
})
