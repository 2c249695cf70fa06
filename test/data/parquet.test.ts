import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ParquetFile } from '../../lib/data/parquet.js'
import { fileSource } from '../../lib/data/sources.js'
import { DataError } from '../../lib/errors.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'

type Row = Record<string, unknown>
const folder = 'test/fixtures/parquet'
const { rows } = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as { rows: Row[] }
const kinds = readdirSync(folder).filter((name) => name.endsWith('.parquet'))

async function read(path: string, columns?: readonly string[]): Promise<Row[]> {
  const file = await ParquetFile.open(path)
  try {
    const read: Row[] = []
    for await (const some of file.rows(columns ?? file.names)) read.push(...some)
    return read
  } finally {
    await file.close()
  }
}

/** 64-bit integers as text, as expected.json has those that JSON cannot hold; the others as numbers. */
const plain = (row: Row): Row =>
  JSON.parse(JSON.stringify(row, (key, v) => (typeof v !== 'bigint' ? v : key === 'id' ? String(v) : Number(v))))

for (const kind of kinds)
  t.test(`${kind}: every page, encoding and nesting, as pyarrow reads it`, async (t) => {
    const found = (await read(join(folder, kind))).map(plain)
    t.same(found, rows)
    const columns = ['scores', 'query']
    t.same(
      (await read(join(folder, kind), columns)).map(plain),
      rows.map((row) => ({ scores: row.scores, query: row.query })),
      'columns by choice',
    )
    const file = await ParquetFile.open(join(folder, kind))
    t.equal(file.rowCount, rows.length)
    t.same(file.names, Object.keys(rows[0]!))
    await file.close()
  })

t.test('files that are none, with their name and the row', async (t) => {
  const good = readFileSync(join(folder, 'groups.parquet'))
  const edited = (edit: (bytes: Buffer) => void) => {
    const copy = Buffer.from(good)
    edit(copy)
    return copy
  }
  const dir = t.testdir({
    'empty.parquet': '',
    'text.parquet': 'version https://git-lfs.github.com/spec/v1\n',
    'cut.parquet': good.subarray(0, -7),
    'encrypted.parquet': edited((copy) => copy.write('PARE', copy.length - 4)),
    'footer.parquet': edited((copy) => copy.writeUInt32LE(1 << 30, copy.length - 8)),
    'zeros.parquet': edited((copy) => copy.fill(0, 4, good.length >> 1)),
  })
  const cases: [string, RegExp][] = [
    ['absent.parquet', /absent\.parquet does not exist/],
    ['empty.parquet', /empty\.parquet: .*does not begin with PAR1/],
    ['text.parquet', /text\.parquet: .*git lfs pull/],
    ['cut.parquet', /cut\.parquet: .*cut off/],
    ['encrypted.parquet', /encrypted\.parquet: .*encrypted/],
    ['footer.parquet', /footer\.parquet: .*metadata length/],
    ['zeros.parquet', /zeros\.parquet, at or after row 1: /],
  ]
  for (const [name, message] of cases)
    await t.rejects(read(join(dir, name)), { code: 'ERR_DATA', message, details: { file: join(dir, name) } }, name)
  const source = fileSource(join(dir, 'zeros.parquet'), {
    columns: { query: 'query', positive: 'required', negatives: 'negative' },
  })
  await t.rejects(source[Symbol.asyncIterator]().next(), {
    code: 'ERR_DATA',
    message: /zeros\.parquet, at or after row 1/,
  })
})

t.test('an unknown codec, and another checksum', async (t) => {
  const dir = t.testdir()
  const bytes = readFileSync(join(folder, 'checksums.parquet'))
  const at = bytes.indexOf('r17')
  bytes[at] = bytes[at]! ^ 1
  writeFileSync(join(dir, 'flipped.parquet'), bytes)
  await t.rejects(read(join(dir, 'flipped.parquet')), { code: 'ERR_DATA', message: /checksum/ })
})

/** What reading gives: rows, or the error. */
const outcome = (path: string): Promise<Row[] | Error> => read(path).catch((error: Error) => error)

t.test('cut anywhere: an error', async (t) => {
  const path = join(t.testdir(), 'cut.parquet')
  const wrong: string[] = []
  for (const kind of kinds) {
    const good = readFileSync(join(folder, kind))
    for (let length = 0; length < good.length; length += 64) {
      writeFileSync(path, good.subarray(0, length))
      const found = await outcome(path)
      if (!(found instanceof DataError)) wrong.push(`${kind}, ${length} bytes: ${found}`)
    }
  }
  t.same(wrong, [])
})

t.test('flipped bytes: an error, or rows; never a crash, and never without end', async (t) => {
  const path = join(t.testdir(), 'flipped.parquet')
  const random = new Random(seed)
  const wrong: string[] = []
  let errors = 0
  for (const kind of kinds) {
    const good = readFileSync(join(folder, kind))
    for (let round = 0; round < 150; round++) {
      const copy = Buffer.from(good)
      for (let flips = 1 + random.integer(4); flips > 0; flips--) {
        // Half of them in the footer, which says where everything is.
        const footer = good.length - 8 - good.readUInt32LE(good.length - 8)
        const position =
          random.integer(2) === 0 ? random.integer(good.length) : footer + random.integer(good.length - footer)
        copy[position] = random.integer(256)
      }
      writeFileSync(path, copy)
      const found = await outcome(path)
      if (found instanceof DataError) errors++
      else if (found instanceof Error || found.length > rows.length) wrong.push(`${kind}, round ${round}: ${found}`)
    }
  }
  t.same(wrong, [])
  t.ok(errors > 100, `${errors} errors`)
})
