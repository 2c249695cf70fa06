import { symlinkSync } from 'node:fs'
import { basename, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { expandPattern } from '../../lib/data/glob.js'
import { fileSource, fileSources, type Source, type TextRow } from '../../lib/data/sources.js'
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
