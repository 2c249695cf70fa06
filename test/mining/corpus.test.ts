/** Where documents to choose from come from, and rows of a BEIR folder. */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { writeBeir } from '../../lib/eval/index.js'
import { beirRows, miningCorpus } from '../../lib/mining/index.js'
import { folder } from '../train/tiny.js'

async function all<T>(rows: Iterable<T> | AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const row of rows) found.push(row)
  return found
}

const lines = (...rows: unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('')

async function beir(dir: string): Promise<string> {
  await writeBeir(dir, {
    documents: [
      { id: 'a', title: 'Late', text: 'interaction' },
      { id: 'b', text: 'two' },
      { id: 'c', text: '' },
      { id: 'd', text: 'four' },
    ],
    queries: ['x', 'y', 'z'].map((id) => ({ id, text: id === 'z' ? ' ' : `query ${id}` })),
    qrels: {
      train: new Map([
        ['y', new Map(Object.entries({ d: 2, b: 0, a: 1 }))],
        ['x', new Map(Object.entries({ c: 1, gone: 1, b: 1 }))],
        ['z', new Map([['a', 1]])],
      ]),
      none: new Map([['x', new Map([['a', 0]])]]),
    },
  })
  return dir
}

t.test('every kind of file', async (t) => {
  const dir = folder(t)
  const write = (name: string, content: string | Uint8Array) => {
    writeFileSync(path.join(dir, name), content)
    return path.join(dir, name)
  }
  const texts = async (name: string) => {
    const corpus = await miningCorpus(name)
    const first = await all(corpus.texts)
    t.same(await all(corpus.texts), first, 'a second time')
    return { texts: first, unused: [...corpus.unusedColumns] }
  }
  t.same(await texts(write('t.tsv', '1\tone\n2\ttwo\ttitle\n')), { texts: ['one', 'title | two'], unused: [] })
  t.same(
    await texts(write('named.tsv', 'text\tdocid\turl\none\t1\tx\ntext\tdocid\ty\n')),
    { texts: ['one', 'text'], unused: ['url'] },
    'a first line that names the columns is no document',
  )
  const table = lines({ _id: 1, title: 'Late', text: 'interaction', url: 'u' }, { _id: 2, title: '', text: 'two' })
  t.same(await texts(write('corpus.jsonl.gz', gzipSync(table))), {
    texts: ['Late interaction', 'two'],
    unused: ['url'],
  })
  const rows = lines({ query: 'q', positive: 'p', negatives: ['n', 'm'], url: 'u' }, { query: 'r', positive: 'p' })
  t.same(await texts(write('rows.jsonl', rows)), { texts: ['p', 'n', 'm', 'p'], unused: ['url'] })
  t.same((await texts(write('lists.jsonl', lines(['q', 'p', 'n'])))).texts, ['p', 'n'])
  mkdirSync(path.join(dir, 'parts'))
  for (const part of [1, 0])
    write(`parts/c-0000${part}-of-00002.jsonl`, lines({ docid: `${part}`, text: `part ${part}` }))
  t.same((await texts(path.join(dir, 'parts'))).texts, ['part 0', 'part 1'])
  for (const [file, count] of [
    ['kd.documents', 12],
    ['hn-columns', 12],
  ] as const)
    t.equal((await texts(`test/fixtures/layouts/${file}.parquet`)).texts.length, count, file)
  await t.rejects(texts('test/fixtures/layouts/kd.train.parquet'), { code: 'ERR_DATA', message: /is the text/ })
  t.same((await texts(await beir(path.join(dir, 'beir')))).texts, ['Late interaction', 'two', '', 'four'])
  await t.rejects(miningCorpus(path.join(dir, 'nothing.jsonl')), { code: 'ERR_DATA', message: /no file matches/ })
  await t.rejects(texts(write('odd.jsonl', lines({ a: 1, b: 2 }))), { code: 'ERR_DATA', message: /is the id/ })
  await t.rejects(texts(write('odd.txt', 'one\n')), { code: 'ERR_DATA' })
})

t.test('a row for each relevant document of a BEIR folder', async (t) => {
  const dir = await beir(path.join(folder(t), 'made'))
  const { data, corpus, counts } = await beirRows(dir)
  t.equal(data.name, 'made')
  const wanted = [
    { query: 'query y', documents: ['four'], id: 'y' },
    { query: 'query y', documents: ['Late interaction'], id: 'y' },
    { query: 'query x', documents: ['two'], id: 'x' },
  ]
  t.same(await all(data), wanted)
  t.same(await all(data), wanted, 'a second time')
  t.same(await all(corpus), ['Late interaction', 'two', '', 'four'])
  t.match(counts, { documents: 4, emptyDocuments: 1, emptyQueries: 1, missingJudged: 1 })
  await t.rejects(beirRows(dir, { split: 'none' }), { code: 'ERR_DATA', message: /judges no document as relevant/ })
  await t.rejects(beirRows(dir, { split: 'dev' }), { code: 'ERR_DATA', message: /Splits found: none, train/ })
  await t.rejects(beirRows(dir, { spilt: 'dev' } as object), { code: 'ERR_ARGUMENT' })
})
