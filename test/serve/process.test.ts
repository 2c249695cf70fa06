/** `lateforge serve` as a process: answers over connections, signals, kills, clients that leave. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { Index } from '../../lib/indexing/index.js'
import { Random } from '../../lib/io/random.js'
import { Colbert } from '../../lib/models/colbert.js'
import { createClient } from '../../lib/serve/client.js'
import { ended, lateforge, main, read } from '../command.js'
import { seed } from '../seed.js'
import { saveTinyModel } from '../train/tiny.js'
import { phrases } from './served.js'

const random = new Random(seed)
const cwd = t.testdir()
const texts = phrases(random, 400)
/** Batches so small that many texts take a while. */
const slow = ['--batch-tokens', '16']
let model: Colbert

t.before(async () => {
  await saveTinyModel(path.join(cwd, 'model'))
  model = await Colbert.load(path.join(cwd, 'model'))
  const index = await Index.create(path.join(cwd, 'index'), { model, modelName: 'model' })
  await index.add(texts.slice(0, 50).map((text, i) => ({ id: `d${i}`, text })))
  await index.close()
})
t.teardown(() => model.dispose())

/** Starts it and waits until it listens. */
async function started(
  ...args: string[]
): Promise<{ child: ChildProcess; url: string; said: { out: string; err: string } }> {
  const child = spawn(process.execPath, [main, 'serve', 'model', '--port', '0', '--json', ...args], { cwd })
  t.teardown(() => child.kill('SIGKILL'))
  const said = read(child)
  while (!said.out.includes('\n')) {
    if (child.exitCode !== null) throw new Error(said.err)
    await setTimeout(5)
  }
  return { child, url: JSON.parse(said.out).url, said }
}

t.test('it says where it is, serves model and index, and asks for the token of a file', async (t) => {
  writeFileSync(path.join(cwd, 'token'), `${'s3cret'.repeat(4)}\n`)
  const { child, url, said } = await started('--index', 'index', '--token-file', 'token', '--name', 'tiny')
  t.match(JSON.parse(said.out), { url: /^http:\/\/127\.0\.0\.1:\d+$/, name: 'tiny', index: 'index', token: true })
  t.notMatch(said.out + said.err, /s3cret/)
  const client = createClient(url, { token: 's3cret'.repeat(4) })
  const index = await Index.open(path.join(cwd, 'index'), { model })
  const asked = phrases(random, 3, 4)
  t.same((await client.search({ queries: asked, topK: 5 })).results, await index.search(asked, { topK: 5 }))
  await index.close()
  const ranked = await client.rerank({ query: asked[0]!, documents: texts.slice(0, 5), top_n: 2 })
  t.equal(ranked.model, 'tiny')
  t.match(await client.health(), { status: 'ok', model: { name: 'tiny' }, index: { documents: 50 } })
  await t.rejects(createClient(url).rank({ query: 'w1', texts: ['w1'] }), {
    ...{ code: 'ERR_REQUEST', details: { status: 401, reason: 'unauthorized' } },
  })
  const gone = new AbortController()
  const call = client.rank({ query: 'w1', texts }, { signal: gone.signal })
  gone.abort(new Error('changed my mind'))
  await t.rejects(call, { message: 'changed my mind' })
  child.kill('SIGTERM')
  t.equal(await ended(child), 0)
})

t.test('SIGTERM: what is under way is answered, nothing new is taken, exit code 0', async (t) => {
  const { child, url, said } = await started(...slow)
  const client = createClient(url, { retries: 0 })
  const expected = await model.rank('w1 w2', texts)
  const calls = Array.from({ length: 12 }, () => client.rank({ query: 'w1 w2', texts }))
  while ((await client.health()).inFlight! < 12) await setTimeout(1)
  const end = ended(child)
  child.kill('SIGTERM')
  while (!said.err.includes('SIGTERM')) await setTimeout(1)
  await t.rejects(client.rank({ query: 'w1', texts: ['w1'] }), {
    ...{ code: 'ERR_REQUEST', details: { reason: /unreachable|draining/ } },
  })
  for (const { hits } of await Promise.all(calls)) t.same(hits, expected)
  t.equal(await end, 0, said.err)
})

t.test('what takes longer than it is given is cut off, and said', async (t) => {
  const { child, url, said } = await started(...slow, '--drain', '1')
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  socket.on('error', () => {})
  socket.write('POST /v1/rank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{')
  await once(socket, 'connect')
  while ((await createClient(url).health()).inFlight! < 1) await setTimeout(5)
  child.kill('SIGTERM')
  t.equal(await ended(child), 143)
  t.match(said.err, /ERR_ABORTED {2}1 requests were not answered within 1 s, and were cut off/)
})

t.test('killed at any moment: callers are told, the index stays whole, the next process serves', async (t) => {
  for (let round = 0; round < 3; round++) {
    const { child, url } = await started(...slow, '--index', 'index')
    const client = createClient(url, { retries: 0 })
    const calls = Array.from({ length: 20 }, (_, i) =>
      (i % 2 ? client.rank({ query: 'w1', texts }) : client.search({ queries: texts.slice(0, 50) })).then(
        () => 'answered',
        ({ code, details }) => `${code} ${details.reason}`,
      ),
    )
    const end = ended(child)
    await setTimeout(random.integer(60))
    child.kill('SIGKILL')
    for (const what of await Promise.all(calls)) t.match(what, /^(answered|ERR_REQUEST unreachable)$/)
    await end
    const index = await Index.open(path.join(cwd, 'index'), { model })
    await index.verify()
    await index.close()
  }
})

t.test('a connection that breaks takes its work with it', async (t) => {
  const { child, url } = await started(...slow)
  const port = Number(new URL(url).port)
  const body = JSON.stringify({ role: 'document', texts })
  const head = `POST /v1/embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`
  const sockets = Array.from({ length: 20 }, () => connect(port, '127.0.0.1').on('error', () => {}))
  for (const socket of sockets) socket.write(head + body)
  const client = createClient(url)
  while ((await client.health()).waitingTokens! === 0) await setTimeout(1)
  for (const socket of sockets) socket.destroy()
  const left = performance.now()
  while ((await client.health()).inFlight! > 0) await setTimeout(1)
  t.comment(`empty after ${(performance.now() - left).toFixed(0)} ms`)
  const metrics = await (await fetch(`${url}/metrics`)).text()
  const count = (name: string) =>
    Number(
      metrics
        .split('\n')
        .find((line) => line.startsWith(name))
        ?.split(' ')[1] ?? 0,
    )
  const { usage } = await client.embed({ role: 'document', texts })
  t.ok(count('lateforge_tokens_total{role="document"}') < 10 * usage.tokens, 'most of it was never computed')
  t.ok(count('lateforge_refused_total{reason="left"}') > 0)
  child.kill('SIGTERM')
  t.equal(await ended(child), 0)
})

t.test('what it does not start with', async (t) => {
  const refused = (...args: string[]) => lateforge(['serve', ...args], cwd)
  t.match(refused('model', '--port', '70000'), { status: 2, stderr: /Expected a port/ })
  t.match(refused('./nomodel'), { status: 4, stderr: /ERR_FORMAT/ })
  t.match(refused('model', '--index', 'noindex'), { status: 4, stderr: /ERR_FORMAT.*holds no index/ })
  writeFileSync(path.join(cwd, 'short'), 'abc')
  t.match(refused('model', '--token-file', 'short'), { status: 2, stderr: /short: a token is at least 16/ })
  t.match(refused('model', '--token-file', 'absent'), { status: 3, stderr: /ENOENT/ })
  t.match(refused('model', '--host', '192.0.2.1', '--port', '0'), { status: 3, stderr: /ERR_FILE.*EADDRNOTAVAIL/ })
})
