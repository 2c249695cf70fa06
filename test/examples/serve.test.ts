/** The examples of a server, each in its framework, run as a user runs them. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { Colbert, trainWordPiece } from '../../lib/index.js'
import { Index } from '../../lib/indexing/index.js'
import { createClient } from '../../lib/serve/client.js'

const run = promisify(execFile)
const texts = ['late interaction keeps a vector for each token', 'oranges are rich in vitamin c']
const folder = t.testdir()
const [modelDir, indexDir] = [path.join(folder, 'model'), path.join(folder, 'index')]
let model: Colbert

t.before(async () => {
  const tokenizer = await trainWordPiece(texts, { vocabSize: 100 })
  const size = { layers: 1, width: 16, heads: 1, dim: 8, tokenizer }
  model = await Colbert.create({ architecture: 'modernbert', ...size }, { seed: 1 })
  await model.save(modelDir)
  const index = await Index.create(indexDir, { model })
  await index.add(texts.map((text, i) => ({ id: `d${i}`, text })))
  await index.close()
})
t.teardown(() => model.dispose())

for (const name of ['node-http', 'hono', 'fastify'])
  t.test(`${name} answers, refuses, notices who leaves, and ends in good order`, async (t) => {
    const args = [`examples/serve/${name}.js`, modelDir, '--index', indexDir, '--port', '0']
    const server = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    t.teardown(() => server.kill('SIGKILL'))
    const url = await addressOf(server)
    const client = createClient(url)
    t.same((await client.rank({ query: 'vitamin', texts })).hits, await model.rank('vitamin', texts))
    const [hits] = (await client.search({ queries: ['vitamin'], withTexts: true })).results
    t.same(
      hits!.map(({ id, text }) => [id, text]).sort(),
      texts.map((text, i) => [`d${i}`, text]),
    )
    const embedded = await client.embed({ role: 'document', texts })
    t.same(embedded.offsets, [...(await model.encodeDocuments(texts)).offsets])
    await t.rejects(client.rank({ query: 'vitamin', texts: [] }), {
      ...{ code: 'ERR_REQUEST', details: { status: 400, reason: 'invalid' } },
    })
    const many = { role: 'document', texts: new Array<string>(1000).fill(texts.join(' ')) } as const
    const gone = new AbortController()
    const call = client.embed(many, { signal: gone.signal })
    while ((await client.health()).inFlight === 0) await new Promise(setImmediate)
    gone.abort(new Error('gone'))
    await t.rejects(call, { message: 'gone' })
    while ((await client.health()).inFlight! > 0) await new Promise(setImmediate)
    const long = client.embed(many)
    while ((await client.health()).inFlight === 0) await new Promise(setImmediate)
    t.match(await (await fetch(new URL('/', url))).text(), /a page of your own/)
    server.kill('SIGTERM')
    t.equal((await long).offsets.length, 1001, 'what is under way is answered')
    t.same(await once(server, 'exit'), [0, null])
  })

t.test("Next's route handler is the function", async (t) => {
  process.env.RETRIEVAL_MODEL = modelDir
  const file = path.resolve('examples/serve/next/app/api/retrieval/[...path]/route.js')
  // As Next calls it: with a request, which NextRequest extends, and the segments of the path.
  type Route = (request: Request, context?: object) => Promise<Response>
  const { GET, POST }: { GET: Route; POST: Route } = await import(pathToFileURL(file).href)
  const body = JSON.stringify({ query: 'vitamin', texts })
  const headers = { 'content-type': 'application/json' }
  const request = new Request('http://localhost/api/retrieval/v1/rank', { method: 'POST', body, headers })
  const response = await POST(request, { params: Promise.resolve({ path: ['v1', 'rank'] }) })
  t.match(await response.json(), { hits: [{ index: Number }, { index: Number }] })
  t.equal((await GET(new Request('http://localhost/api/retrieval/health'))).status, 200)
})

t.test('client.js asks a server', async (t) => {
  const main = ['dist/cli/main.js', 'serve', modelDir, '--port', '0']
  const server = spawn(process.execPath, main, { stdio: ['ignore', 'pipe', 'ignore'] })
  t.teardown(() => server.kill('SIGKILL'))
  const { stdout } = await run(process.execPath, ['examples/serve/client.js', await addressOf(server)])
  t.match(stdout, /^-?\d+\.\d{3} .*\n-?\d+\.\d{3} .*\n\d+ token embeddings of 8 numbers, \d+ in all\n$/)
})

async function addressOf({ stdout }: ChildProcess): Promise<string> {
  let said = ''
  for await (const part of stdout!) {
    said += part
    const address = /http:\S+/.exec(said)
    if (address) return address[0]
  }
  throw new Error(`the server ended: ${said}`)
}
