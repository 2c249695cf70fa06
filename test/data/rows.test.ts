import t from 'tap'
import { parseList } from '../../lib/data/lists.js'
import {
  type ColumnMap,
  layoutOf,
  RowReader,
  type RowTables,
  requireMapped,
  type TextRow,
} from '../../lib/data/rows.js'
import { TextTable } from '../../lib/data/tables.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'

function rowsOf(value: Record<string, unknown>, columns: ColumnMap = {}, tables: RowTables = {}): TextRow[] {
  const reader = new RowReader(columns, tables)
  return reader.rows(value, reader.layoutOf(Object.keys(value), 'f'), 'f:3')
}
const documentsOf = (value: Record<string, unknown>, columns?: ColumnMap) => rowsOf(value, columns)[0]!.documents

t.test('negatives under every name, in the order of their numbers, gaps included', async (t) => {
  const names: [Record<string, unknown>, string[]][] = [
    [{ negative: 'a' }, ['a']],
    [{ negative: ['a', 'b'] }, ['a', 'b']],
    [{ negative_10: 'c', negative_2: 'b', negative: 'a' }, ['a', 'b', 'c']],
    [{ negative_0: 'a', negative_1: 'b' }, ['a', 'b']],
    [{ negative1: 'a', negative2: 'b' }, ['a', 'b']],
    [{ negative_1: 'a', negative_3: 'b' }, ['a', 'b']],
    [{ HN1: 'a', HN2: 'b' }, ['a', 'b']],
    [{ hard_negative_1: 'a', hard_negative_2: ['b', 'c'] }, ['a', 'b', 'c']],
    [{ negatives: ['a'] }, ['a']],
    [{ neg: ['a', 'b'] }, ['a', 'b']],
    [{ neg_1: 'a' }, ['a']],
    [{ hard_negatives: ['a', 'b'] }, ['a', 'b']],
    [{ negatives: [] }, []],
  ]
  for (const [negatives, expected] of names) {
    t.same(documentsOf({ query: 'q', positive: 'p', ...negatives }), ['p', ...expected], JSON.stringify(negatives))
    t.equal(rowsOf({ query: 'q', positive: 'p', ...negatives })[0]!.unused, undefined)
  }
  const passage = { docid: '1', title: 'T', text: 'x' }
  t.same(documentsOf({ query: 'q', positive_passages: [passage], negative_passages: [{ ...passage, title: '' }] }), [
    'T x',
    'x',
  ])
})

t.test('lists kept as text, under names of lists; texts that look like lists, under others', async (t) => {
  const negatives = `['a', "it's"]`
  t.same(documentsOf({ query: 'q', positive: 'p', negatives }), ['p', 'a', "it's"])
  t.same(documentsOf({ query: 'q', documents: '["p", "a"]' }), ['p', 'a'])
  t.same(documentsOf({ query: 'q', positive: '["p"]', negative: '[1]' }), ['["p"]', '[1]'])
})

t.test('what was rounded is no id, and a file that is one list is not a row', async (t) => {
  const tables = { documents: { name: 'd', get: () => 'text', unused: new Set() } as unknown as TextTable }
  const big = { query: 'q', document_ids: [2 ** 63, 1] }
  t.throws(() => rowsOf(big, {}, tables), { code: 'ERR_DATA', message: /rounded/ })
  t.equal(rowsOf({ query: 'q', document_ids: [12345678901234567890n, 1] }, {}, tables)[0]!.documents.length, 2)
  const rows = [{ query: 'q', positive: 'p' }]
  t.throws(() => new RowReader().positional(rows, 'f:1'), { code: 'ERR_DATA', message: /a list of rows/ })
})

t.test('queries and positives; a positive of several makes several rows', async (t) => {
  for (const query of ['query', 'anchor', 'question'])
    for (const positive of ['positive', 'pos', 'document', 'answer'])
      t.same(rowsOf({ [query]: 'q', [positive]: 'p', id: 7 }), [{ query: 'q', documents: ['p'], id: '7' }])
  t.same(rowsOf({ query: 'q', pos: ['p', 'r'], neg: ['n'], pos_scores: [3, 2], neg_scores: [1] }), [
    { query: 'q', documents: ['p', 'n'], scores: [3, 1] },
    { query: 'q', documents: ['r', 'n'], scores: [2, 1] },
  ])
  t.same(rowsOf({ query: 'q', documents: ['p', 'a'], scores: [1, 0.5] }), [
    { query: 'q', documents: ['p', 'a'], scores: [1, 0.5] },
  ])
  t.same(rowsOf({ query: 'q', positive: 'p', negative: 'n', scores: [1, 0] })[0]!.scores, [1, 0])
  t.same(
    rowsOf({ query: 'q', documents: ['p', 'a'], scores: '[1, 0.123456789012345]' })[0]!.scores,
    [1, 0.123456789012345],
  )
})

t.test('null and empty negatives are left out with their scores, and counted', async (t) => {
  t.same(rowsOf({ query: 'q', positive: 'p', negative_1: null, negative_2: 'b', negative_3: ' ' }), [
    { query: 'q', documents: ['p', 'b'], missing: 2 },
  ])
  t.same(rowsOf({ query: 'q', documents: ['p', null, 'b'], scores: [3, 2, 1] }), [
    { query: 'q', documents: ['p', 'b'], scores: [3, 1], missing: 1 },
  ])
  t.same(rowsOf({ query: 'q', positive: 'p', negatives: null }), [{ query: 'q', documents: ['p'], missing: 1 }])
})

t.test('what is not used is named', async (t) => {
  const row = { query: 'q', document: 'd', query_id: 1, document_ids: ['1'], score: 0.5, dataset: 'x' }
  t.same(rowsOf(row)[0], { query: 'q', documents: ['d'], id: '1', unused: ['document_ids', 'score', 'dataset'] })
})

t.test('two layouts, and columns that are none, with the map that settles it', async (t) => {
  const cases: [string[], RegExp, ColumnMap?][] = [
    [
      ['query', 'anchor', 'positive'],
      /"query", "anchor" could each be the query.*columns: \{ query: "query" \}/,
      { query: 'anchor' },
    ],
    [['query', 'positive', 'document'], /"positive", "document" could each be the positive/, { positive: 'document' }],
    [
      ['query', 'documents', 'positive'],
      /"documents" is a list of all documents, and "positive"/,
      { documents: 'documents' },
    ],
    [['query', 'documents', 'negative'], /and "negative" are documents too/, { positive: 'documents' }],
    [
      ['query', 'positive', 'neg', 'negatives'],
      /"neg", "negatives" could each be the negatives.*\{ negatives: \["neg"\] \}/,
      { negatives: ['neg', 'negatives'] },
    ],
    [['query', 'positive', 'HN1', 'negative_1'], /could each be the negatives/, { negatives: [] }],
    [
      ['sentence1', 'sentence2'],
      /no column is the query. Its columns: "sentence1", "sentence2".*\{ query: "sentence1" \}/,
      { query: 'sentence1', positive: 'sentence2' },
    ],
    [['query', 'text'], /no column is the positive.*\{ positive: "text" \}/, { positive: 'text' }],
    [['query_id', 'document_ids', 'scores'], /ids of queries and no texts.*queries: FILE/],
    [['query', 'document_ids', 'scores'], /ids of documents and no texts.*documents: FILE/],
    [[], /no column is the query. Its columns: none/],
  ]
  for (const [names, message, map] of cases) {
    t.throws(() => layoutOf(names, 'f'), { code: 'ERR_DATA', message, details: { columns: names } }, names.join())
    if (map) t.ok(layoutOf(names, 'f', map), `${names} with ${JSON.stringify(map)}`)
  }
  t.same(documentsOf({ q: 'q', pos: 'p', n1: 'a', n2: 'b' }, { query: 'q', negatives: ['n2', 'n1'] }), ['p', 'b', 'a'])
  t.same(rowsOf({ query: 'q', document: 'd', neg: 'n', label: [1, 0] }, { scores: 'label' })[0]!.scores, [1, 0])
  t.same(rowsOf({ query: 'q', positive: 'p', neg: 'n' }, { negatives: [] })[0], {
    query: 'q',
    documents: ['p'],
    unused: ['neg'],
  })
  t.throws(() => requireMapped(['query', 'positive'], 'f', { positive: 'positiv' }), {
    code: 'ERR_DATA',
    message: /f has no column "positiv" \(columns.positive\); did you mean "positive"\?/,
  })
})

t.test('bad fields', async (t) => {
  const bad: [Record<string, unknown>, RegExp][] = [
    [{ query: ' ', document: 'd' }, /^f:3: "query" is empty/],
    [{ query: 3, document: 'd' }, /"query" is not a string/],
    [{ query: null, document: 'd' }, /"query" is null/],
    [{ query: 'q', document: 3 }, /"document" is not a string/],
    [{ query: 'q', document: { title: 't' } }, /"document" is not a string/],
    [{ query: 'q', positive: '' }, /"positive" is empty/],
    [{ query: 'q', pos: [] }, /"pos" is empty/],
    [{ query: 'q', pos: ['a', null] }, /"pos\[1\]" is null/],
    [{ query: 'q', positive: 'p', negatives: ['a', 4] }, /"negatives\[1\]" is not a string/],
    [{ query: 'q', documents: [] }, /"documents" is empty/],
    [{ query: 'q', documents: 'p' }, /"documents" is not an array/],
    [{ query: 'q', documents: null }, /"documents" is missing/],
    [{ query: 'q', documents: [null, 'b'] }, /the first of "documents", the positive, is null or empty/],
    [{ query: 'q', documents: ['p'], scores: [1, 2] }, /"scores" has 2 entries for 1 document\./],
    [{ query: 'q', documents: ['p'], scores: ['1'] }, /finite numbers/],
    [{ query: 'q', documents: ['p'], scores: '[1,' }, /finite numbers/],
    [{ query: 'q', documents: ['p'], scores: [Number.NaN] }, /finite numbers/],
    [
      { query: 'q', pos: 'p', neg: ['n'], pos_scores: [1], neg_scores: null },
      /only one of "pos_scores" and "neg_scores"/,
    ],
  ]
  for (const [value, message] of bad)
    t.throws(() => rowsOf(value), { code: 'ERR_DATA', message }, JSON.stringify(value))
})

t.test('rows that are lists', async (t) => {
  const reader = new RowReader()
  t.same(reader.positional(['q', 'p', null, 'n'], 'f:1'), [{ query: 'q', documents: ['p', 'n'], missing: 1 }])
  t.same(reader.positional(['q', ['p', 2], ['n', 1]], 'f:1'), [{ query: 'q', documents: ['p', 'n'], scores: [2, 1] }])
  for (const value of [
    [],
    ['q'],
    ['q', 'p', ['n', 1]],
    ['q', ['p', 1], 'n'],
    ['q', ['p', 1, 2]],
    ['q', ['p', 'x']],
    [1, 2],
  ])
    t.throws(() => reader.positional(value, 'f:1'), { code: 'ERR_DATA', message: /^f:1: / }, JSON.stringify(value))
  t.throws(() => new RowReader({ query: 'q' }).positional(['q', 'p'], 'f:1'), { message: /has no columns/ })
})

t.test('lists as text, in JSON and in Python', async (t) => {
  const good: [string, (string | number)[]][] = [
    ['[]', []],
    ['[1, -2.5, 3e-4]', [1, -2.5, 0.0003]],
    ['["a", "b"]', ['a', 'b']],
    ["['a', 'it\\'s', \"it's\", 'é\\u00e9\\n']", ['a', "it's", "it's", 'éé\n']],
    [' [ 1 , 2 , ] ', [1, 2]],
    ['[12345678901234567890]', ['12345678901234567890']],
    ['[0.12345678901234567890]', [Number('0.12345678901234567890')]],
  ]
  for (const [text, list] of good) t.same(parseList(text), list, text)
  for (const text of ['', 'a', '[', '[1 2]', '[1,,2]', '[a]', '[1]]', '[[1]]', "['a]", '{}', '[None]', '[1'])
    t.equal(parseList(text), undefined, text)
})

t.test('a table finds every id that it has, and no other', async (t) => {
  const draws = new Random(seed)
  const texts = new Map<string, string>()
  for (let i = 0; i < 20_000; i++)
    texts.set(`${draws.integer(1 << 30)}-é`, `text ${i} ${'x'.repeat(draws.integer(200))}`)
  const dir = t.testdir({ 't.jsonl': [...texts].map(([id, text]) => JSON.stringify({ id, text })).join('\n') })
  const table = await TextTable.open([`${dir}/t.jsonl`], { titles: true, cacheDir: `${dir}/cache` })
  t.equal(table.size, texts.size)
  let wrong = 0
  for (const [id, text] of texts) if (table.get(id) !== text) wrong++
  t.equal(wrong, 0)
  for (const id of ['', '0', 'é', `${1 << 30}-é`]) t.equal(table.get(id), undefined)
  await table.close()
})
