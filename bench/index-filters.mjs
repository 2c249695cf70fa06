// What candidates find of the exact top 10 where a filter lets only some documents pass, and what that costs: shares drawn at
// random, and whole collections that the queries are not of; these with 64 probes and twice the candidates too.
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
const { documents } = await index.info()
const most = Math.max(500, Math.ceil(10 * Math.sqrt(documents))) // candidates by default
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
    const ofExact = ({ hits, milliseconds }) => {
      const same = hits.flatMap((list, q) => list.filter(({ id }) => exact.hits[q].some((hit) => hit.id === id)))
      return `${(same.length / exact.hits.flat().length).toFixed(4)}, ${milliseconds.toFixed(1)} CPU ms`
    }
    const found = await run(asked, way)
    const wide = what.includes('of ') ? await run(asked, { ...way, probes: 64, candidates: 2 * most }) : null
    const short = found.hits.filter(({ length }) => length < 10).length
    console.log(
      `  ${what} (${filter?.documents ?? documents}): recall ${ofExact(found)}, exact ${exact.milliseconds.toFixed(1)}, short ${short}` +
        (wide ? `; wider ${ofExact(wide)}` : ''),
    )
  }
}
await index.close()
model.dispose()
