/** Adds to an index until something is refused, and says what; then what the index holds (disk.test.ts). */
import { Index } from '../../lib/indexing/index.js'

const dir = process.argv[2]!
const index = await Index.open(dir)
const attempts: (() => Promise<unknown>)[] = [
  async () => {
    for (let i = 0; i < 10; i++) {
      const ids = Array.from({ length: 100 }, (_, n) => `new-${i}-${n}`)
      const data = new Float32Array(100 * 20 * 16).fill(1)
      await index.addEmbeddings({ data, offsets: Array.from({ length: 101 }, (_, n) => 20 * n), dim: 16, ids })
    }
  },
  () => index.delete(['d0']),
  () => index.compact(),
]
const errors: (string | null)[] = []
for (const attempt of attempts) {
  const error = await attempt().then(
    () => null,
    (error) => error,
  )
  errors.push(error && `${error.code} ${error.details?.code}: ${error.message}`)
}
const { documents, tokens } = await index.info()
const hits = await index.search({ data: new Float32Array(16).fill(1), offsets: [0, 1], dim: 16 } as never, {
  topK: 1e6,
})
await index.close()
process.stdout.write(JSON.stringify({ errors, documents, tokens, hits: hits[0]!.length }))
