/** Every published layout, read row by row as the library reads that it belongs to (test/fixtures/layouts.py). */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type DataEntry, fileSources, type TextRow } from '../../lib/data/sources.js'

interface Expected {
  versions: Record<string, string>
  layouts: Record<
    string,
    {
      by: string
      rows: Pick<TextRow, 'query' | 'documents' | 'scores'>[]
      tools: Record<string, { does: 'reads' | 'differs' | 'drops' | 'refuses'; error?: string }>
    }
  >
}

const folder = 'test/fixtures/layouts'
const { layouts } = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as Expected
const at = (...names: string[]) => names.map((name) => join(folder, name))
const kd = (name: string): DataEntry => ({
  files: at(`${name}.train.parquet`),
  queries: at(`${name}.queries.parquet`),
  documents: at(`${name}.documents.parquet`),
})
const stanford = { queries: at('stanford.queries.tsv'), documents: at('stanford.collection.tsv') }

/** How each is named to lateforge: no `columns` are needed. */
const data: Record<string, string | DataEntry> = {
  'nomic-supervised': join(folder, 'nomic-supervised.parquet'),
  'nomic-unsupervised': join(folder, 'nomic-unsupervised.parquet'),
  'pylate-triplets': join(folder, 'pylate-triplets.jsonl'),
  'st-triplets': join(folder, 'st-triplets.parquet'),
  'st-query-last': join(folder, 'st-query-last.parquet'),
  'st-question-answer': join(folder, 'st-question-answer.parquet'),
  'st-lists': join(folder, 'st-lists.jsonl'),
  'st-ids': { ...kd('kd-strings'), files: at('st-ids.train.parquet') },
  'hn-columns': join(folder, 'hn-columns.parquet'),
  'null-negatives': join(folder, 'null-negatives.parquet'),
  tevatron: join(folder, 'tevatron.jsonl'),
  'tevatron-ids': { files: at('tevatron-ids.jsonl'), documents: at('tevatron-ids.corpus.jsonl') },
  flagembedding: join(folder, 'flagembedding.jsonl'),
  kd: kd('kd'),
  'kd-strings': kd('kd-strings'),
  'kd-inline': join(folder, 'kd-inline.jsonl'),
  stanford: { files: at('stanford.examples.json'), ...stanford },
  'stanford-triples': { files: at('stanford.triples.jsonl'), ...stanford },
}
/** Columns that are not texts of a row, and how they are told. */
const unused: Record<string, string[]> = { 'nomic-unsupervised': ['dataset', 'shard'] }

t.same(Object.keys(data).sort(), Object.keys(layouts).sort(), 'all of them')

for (const [name, { rows, by }] of Object.entries(layouts))
  t.test(`${name}, as ${by}`, async (t) => {
    const [source] = await fileSources(data[name]!, { cacheDir: t.testdir() })
    const read: TextRow[] = []
    for await (const row of source!) read.push(row)
    t.same(
      read.map(({ query, documents, scores }) => ({ query, documents, ...(scores && { scores }) })),
      rows,
    )
    t.same(
      [...new Set(read.flatMap((row) => row.unused ?? []))],
      unused[name] ?? [],
      'what nothing reads is named, and nothing else',
    )
    const nulls = read.reduce((sum, { missing = 0 }) => sum + missing, 0)
    t.equal(nulls, name === 'null-negatives' ? 1 : 0)
  })

t.test('docs/guides/data.md says what the tools do', async (t) => {
  const text = readFileSync('docs/guides/data.md', 'utf8')
  for (const [name, { tools }] of Object.entries(layouts)) {
    const line = text.split('\n').find((line) => line.includes(`| \`${name}\` |`)) ?? ''
    const cells = line.split('|').map((cell) => cell.trim())
    t.ok(cells.at(-3)?.startsWith(tools.pylate!.does), `${name}: PyLate ${tools.pylate!.does}`)
    const st = tools['sentence-transformers']!.does
    t.ok(cells.at(-2)?.startsWith(st), `${name}: sentence-transformers ${st}`)
  }
})
