/** The examples of other frameworks, run as a user runs them: each prints the order of the model. */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { Colbert, trainWordPiece } from '../../lib/index.js'

process.argv[2] ??= 'a model' // as its programs have it
const { documents, query }: { documents: string[]; query: string } = await import(
  path.resolve('examples/integrations/shared.js')
)
const run = promisify(execFile)

t.test('each prints the best two with their scores', async (t) => {
  const tokenizer = await trainWordPiece(documents, { vocabSize: 100 })
  const size = { layers: 1, width: 16, heads: 1, dim: 8, tokenizer }
  const model = await Colbert.create({ architecture: 'modernbert', ...size }, { seed: 1 })
  const folder = path.join(t.testdir(), 'model')
  await model.save(folder)
  const { offsets } = await model.encodeQueries([query])
  const best = await model.rank(query, documents, { topK: 2 })
  const expected = best.map(({ index, score }) => `${(score / offsets[1]!).toFixed(3)} ${documents[index]}\n`).join('')
  model.dispose()
  for (const name of ['ai', 'langchain', 'lancedb'])
    t.equal((await run(process.execPath, [`examples/integrations/${name}.js`, folder])).stdout, expected, name)
  // Mastra weighs the place in the first list too, so that its order may be another one.
  const mastra = (await run(process.execPath, ['examples/integrations/mastra.js', folder])).stdout
  t.match(mastra, /^(0\.\d{3} .+\n){2}$/)
})
