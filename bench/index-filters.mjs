// What candidates find of the exact top 10 where a filter lets only some documents pass, and what that costs: shares drawn at
// random, and whole collections that the queries are not of.
//
// usage: node bench/index-filters.mjs MODEL INDEX COLLECTION…      after npm run setup and bench/index.mjs, which makes INDEX of the same
//   Queries: 60 of each collection at most. "short": queries with fewer than ten hits.
import { createHash } from 'node:crypto'
import path from 'node:path'
import { Colbert } from 'lateforge'
import { loadBeir } from 'lateforge/eval'
import { Index } from 'lateforge/index'

const [modelDir, folder, ...sets] = process.argv.slice(2)
const model = await Colbert.load(modelDir, { precision: 'int8', recipe: { queryLength: 128, documentLength: 256 } })
const index = await Index.open(folder, { model })
const names = sets.map((set) => path.basename(set))
const of = (name) => (_, id) => id.startsWith(`${name}/`)
const drawn = (id) => createHash('md5').update(id).digest().readUInt32LE() / 2 ** 32
const processor = () => process.cpuUsage().user + process.cpuUsage().system

/** Hits of each query, searched alone, and CPU ms of one. */
async function run(queries, way) {
  const before = processor()
  const hits = []
  for (const query of queries) hits.push((await index.search(query, { topK: 10, ...way }))[0])
  return { hits, milliseconds: (processor() - before) / 1000 / queries.length }
}

for (const [i, set] of sets.entries()) {
  const { queries } = await loadBeir(set, { stream: true })
  const asked = []
  for (const text of queries.texts.slice(0, 60)) asked.push(await model.encodeQueries([text]))
  const other = names[(i + 1) % names.length]
  const filters = [
    ['all', null],
    ...[2, 4, 7, 20].map((share) => [`one in ${share}`, (_, id) => drawn(id) < 1 / share]),
    [`not of ${names[i]}`, (metadata, id) => !of(names[i])(metadata, id)],
    [`of ${other}`, of(other)],
  ]
  console.log(`${names[i]}, ${asked.length} queries`)
  for (const [what, where] of filters) {
    const filter = where && (await index.select({ where }))
    const way = filter ? { filter } : {}
    const exact = await run(asked, { ...way, exact: true })
    const { hits, milliseconds } = await run(asked, way)
    const same = hits.flatMap((list, q) => list.filter(({ id }) => exact.hits[q].some((hit) => hit.id === id)))
    const recall = same.length / exact.hits.flat().length
    const short = hits.filter(({ length }) => length < 10).length
    const documents = filter?.documents ?? (await index.info()).documents
    console.log(
      `  ${what} (${documents}): recall ${recall.toFixed(4)}, ${milliseconds.toFixed(1)} CPU ms, exact ${exact.milliseconds.toFixed(1)}, short ${short}`,
    )
  }
}
await index.close()
model.dispose()
