/** The examples that are programs, run as a user runs them. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { Colbert, trainWordPiece } from '../../lib/index.js'

const run = promisify(execFile)

t.test('custom-loop learns, and continues from its checkpoint with the same model', async (t) => {
  const args = ['examples/custom-loop/run.js', '--out', t.testdir(), '--steps', '120']
  const first = (await run(process.execPath, args)).stdout
  const again = (await run(process.execPath, args)).stdout
  const found = (text: string) => Number(/found: (\d+) of 1000/.exec(text)?.[1])
  t.match(first, /^starting\n/)
  t.match(again, /^resuming at step 120\n/)
  t.ok(found(first) > 200, `held-out numbers found: ${found(first)}; by chance it would be 1`)
  t.equal(found(again), found(first))
})

t.test('embed-in-a-server answers, refuses bad requests and ends in good order', async (t) => {
  const texts = ['late interaction keeps a vector for each token', 'oranges are rich in vitamin c']
  const tokenizer = await trainWordPiece(texts, { vocabSize: 100 })
  const size = { layers: 1, width: 16, heads: 1, dim: 8, tokenizer }
  const model = await Colbert.create({ architecture: 'modernbert', ...size }, { seed: 1 })
  const folder = t.testdir()
  await model.save(join(folder, 'model'))
  const corpus = join(folder, 'corpus.jsonl')
  writeFileSync(corpus, texts.map((text, i) => `${JSON.stringify({ _id: `d${i}`, text })}\n`).join(''))
  const expected = await model.rank('vitamin', texts)
  model.dispose()

  const program = 'examples/embed-in-a-server/server.js'
  const server = spawn(process.execPath, [program, join(folder, 'model'), corpus, '--port', '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => server.kill('SIGKILL'))
  const address = await addressOf(server)
  const call = async (path: string, init?: RequestInit) => {
    const response = await fetch(address + path, init)
    return { status: response.status, body: (await response.json()) as Record<string, unknown> }
  }
  const rank = (body: unknown) => call('/rank', { method: 'POST', body: JSON.stringify(body) })

  const hits = expected.map(({ index, score }) => ({ id: `d${index}`, score, text: texts[index] }))
  t.match(await call('/search?q=vitamin&topK=2'), { status: 200, body: { hits } })
  t.same(await rank({ query: 'vitamin', texts }), { status: 200, body: { hits: expected } })
  t.match(await call('/health'), { status: 200, body: { documents: 2, device: 'cpu' } })
  t.equal((await call('/search')).status, 400)
  t.equal((await call('/search?q=vitamin&topK=none')).status, 400)
  t.equal((await rank({ query: 'vitamin', texts: [1] })).status, 400)
  t.equal((await rank({ query: 'x'.repeat(1 << 20), texts })).status, 413)
  t.equal((await call('/')).status, 404)
  server.kill('SIGTERM')
  t.same(await once(server, 'exit'), [0, null])
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
