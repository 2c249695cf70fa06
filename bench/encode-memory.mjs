// Memory that encoding takes beside the model, in a fresh process each: all embeddings at once, and a search through a
// stream of them. A model of random values: what is measured does not depend on them.
//
// usage: node bench/encode-memory.mjs [documents]      default 15,000 of 120 tokens, 128 dimensions: 0.85 GiB
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Colbert, Tokenizer } from 'lateforge'

const [mode, count = '15000'] = process.argv[2] === 'child' ? process.argv.slice(3) : ['', process.argv[2]]
const words = Array.from({ length: 500 }, (_, i) => `w${i}`)

if (mode === '') {
  for (const mode of ['encodeDocuments', 'streamDocuments']) {
    const child = spawnSync(process.execPath, [fileURLToPath(import.meta.url), 'child', mode, count], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    console.log(child.stdout.trim())
  }
} else {
  const folder = mkdtempSync(join(tmpdir(), 'lateforge-'))
  const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
  const tokenizer = Tokenizer.fromVocabulary([...special, ...words], folder)
  rmSync(folder, { recursive: true })
  const shape = { architecture: 'modernbert', layers: 1, width: 64, heads: 1, dim: 128, positions: 256 }
  const model = await Colbert.create({ ...shape, tokenizer, recipe: { documentLength: 180, skiplistWords: [] } })
  const text = (d) => Array.from({ length: 117 }, (_, i) => words[(d * 7 + i * 13) % words.length]).join(' ')
  const texts = Array.from({ length: Number(count) }, (_, d) => text(d))
  const queries = await model.encodeQueries(Array.from({ length: 50 }, (_, q) => text(q).slice(0, 60)))
  await model.search(queries, await model.encodeDocuments(texts.slice(0, 200)))
  const before = process.memoryUsage().rss
  let rows = 0
  if (mode === 'encodeDocuments') rows = (await model.encodeDocuments(texts)).offsets.at(-1)
  else {
    const counted = async function* () {
      for await (const part of model.streamDocuments(texts)) {
        rows += part.offsets.at(-1)
        yield part
      }
    }
    await model.search(queries, counted(), { topK: 100 })
  }
  const grown = process.resourceUsage().maxRSS * 1024 - before
  const size = rows * 128 * 4
  const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB`
  console.log(`${mode}: embeddings ${mib(size)}, memory grew by ${mib(grown)}, ${(grown / size).toFixed(2)} of them`)
}
