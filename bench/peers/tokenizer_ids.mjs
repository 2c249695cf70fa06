// Our ids against those of Hugging Face's Rust tokenizers, which tokenizer_ids.py wrote.
//
// usage: node bench/peers/tokenizer_ids.mjs FOLDER [--show]      --show: the first texts that differ
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Tokenizer } from 'lateforge'

const [folder, show] = process.argv.slice(2)
const json = (...parts) => JSON.parse(readFileSync(join(folder, ...parts), 'utf8'))
const texts = json('texts.json')
for (const name of readdirSync(folder).filter((name) => existsSync(join(folder, name, 'ids.json')))) {
  const { vocabSize, ids } = json(name, 'ids.json')
  const tokenizer = await Tokenizer.load(join(folder, name))
  const start = performance.now()
  const wrong = texts
    .map((text, i) => [text, tokenizer.encode(text), ids[i]])
    .filter(([, a, b]) => a.join() !== b.join())
  const total = ids.reduce((sum, list) => sum + list.length, 0)
  const seconds = (performance.now() - start) / 1000
  console.log(
    `${name}: vocabulary ${vocabSize}, ${texts.length} texts, ${total} ids: ${wrong.length} texts differ (${seconds.toFixed(1)} s)`,
  )
  for (const [text, ours, theirs] of show ? wrong.slice(0, 12) : []) {
    const at = ours.findIndex((id, i) => id !== theirs[i])
    console.log(
      `  ${JSON.stringify(text.slice(0, 120))}\n    at ${at}: ${ours.slice(at, at + 6)} | ${theirs.slice(at, at + 6)}: ` +
        `${ours.slice(at, at + 4).map((id) => tokenizer.idToToken(id))} | ${theirs.slice(at, at + 4).map((id) => tokenizer.idToToken(id))}`,
    )
  }
}
