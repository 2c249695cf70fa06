/** Adds, deletes and compacts until it is killed, and says what it began and what was done. */
import { writeSync } from 'node:fs'
import { Index } from '../../lib/indexing/index.js'

const [dir, round] = process.argv.slice(2) as [string, string]
const say = (what: string, ids: readonly string[]) => writeSync(1, ids.map((id) => `${what} ${id}\n`).join(''))
const index = await Index.open(dir)
for (let i = 0; ; i++) {
  const ids = Array.from({ length: 5 }, (_, n) => `r${round}-${i}-${n}`)
  const data = Float32Array.from({ length: 16 * 10 }, (_, n) => ((n * n + i) % 7) - 3)
  const kept = ids.map((id) => ({ text: `the text of ${id}` }))
  say('began', ids)
  await index.addEmbeddings({ data, offsets: [0, 2, 4, 6, 8, 10], dim: 16, ids }, { kept })
  say('added', ids)
  if (i % 3 === 1) {
    const gone = ids.slice(0, 2)
    say('began', gone)
    await index.delete(gone)
    say('deleted', gone)
  }
  if (i % 5 === 4) await index.compact()
}
