/** Connections that do not end as they should: none of them ends the server, or keeps it from its end. */
import { connect, type Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { listen } from '../../lib/serve/index.js'
import { metric, post, served } from './served.js'

const line = (method: string, path: string) => `${method} ${path} HTTP/1.1\r\nHost: x\r\n`
const withBody = (path: string, value: object, length?: number) => {
  const body = JSON.stringify(value)
  return `${line('POST', path)}Content-Type: application/json\r\nContent-Length: ${length ?? body.length}\r\n\r\n${body}`
}
const rank = { query: 'w1', texts: ['w1', 'w2'] }
const many = { role: 'document', texts: new Array<string>(600).fill('w1 w2 w3') }

/** A client that says something, keeps what it hears, and does not close of its own accord. */
async function client(t: Test, port: number, says: string): Promise<{ socket: Socket; heard: () => string }> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  t.teardown(() => socket.destroy())
  let heard = ''
  socket.setEncoding('utf8').on('data', (text) => (heard += text))
  socket.on('error', () => {})
  await new Promise((resolve) => socket.once('connect', resolve))
  if (says !== '') await new Promise((resolve) => socket.write(says, resolve))
  return { socket, heard: () => heard }
}

async function started(t: Test) {
  const made = await served(t, { bodyTimeoutMs: 300, maxBodyBytes: 100_000 })
  // Whoever waits for the end of what was given up waits longer than this test may take.
  const server = await listen(made.handler, { port: 0, drainMs: 2 ** 31 - 1 })
  t.teardown(() => server.close())
  return { ...made, server, port: Number(new URL(server.url).port) }
}

const until = async (done: () => boolean): Promise<void> => {
  while (!done()) await setTimeout(2)
}

for (const [name, says, answer] of [
  ['nothing', '', null],
  ['half a head', 'GET /health HTTP/1.1\r\nHo', null],
  ['a request, and keeps the connection', `${line('GET', '/health')}\r\n`, 200],
  ['CONNECT', `${line('CONNECT', 'x:1')}\r\n`, 405],
  ['what is no HTTP', 'hello\r\n\r\n', 400],
  ['a body that is longer than it says', withBody('/v1/rank', rank, 10), 400],
  ['a body that is shorter than it says', withBody('/v1/rank', rank, 1000), 408],
  ['the beginning of a body that is refused', withBody('/v1/rank', rank, 100_001), 413],
  [
    'a broken chunk',
    `${line('POST', '/v1/rank')}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`,
    400,
  ],
] as const)
  t.test(`a client that says ${name} and stays does not keep the server from its end`, async (t) => {
    const { server, handler, port } = await started(t)
    const { heard } = await client(t, port, says)
    if (answer) await until(() => heard().includes('}'))
    if (answer) t.match(heard(), new RegExp(`^HTTP/1.1 ${answer} `))
    t.equal(await server.close(), 0, 'nothing was cut off')
    t.equal(await metric(handler, 'lateforge_requests_in_flight'), 0)
  })

t.test('connections that are reset end nothing but themselves', async (t) => {
  const { server, handler, port, failures, model } = await started(t)
  const connects = `${line('CONNECT', 'x:1')}\r\n`
  for (const says of [connects, withBody('/v1/embed', many), withBody('/v1/embed', many) + connects, 'hello\r\n\r\n'])
    for (let i = 0; i < 20; i++) {
      const { socket } = await client(t, port, says)
      await setTimeout(i % 4)
      socket.resetAndDestroy()
    }
  const { heard } = await client(t, port, withBody('/v1/rank', rank))
  await until(() => heard().endsWith('}\n'))
  t.same(JSON.parse(heard().split('\r\n\r\n')[1]!).hits, await model.rank(rank.query, rank.texts))
  await server.close()
  t.same(failures, [])
  t.equal(await metric(handler, 'lateforge_requests_in_flight'), 0)
})

t.test('a request is answered whatever comes behind it, and nothing is written into an answer', async (t) => {
  const { server, port } = await started(t)
  const first = await client(t, port, `${withBody('/v1/embed', many)}GARBAGE\r\n\r\n`)
  const second = await client(t, port, withBody('/v1/embed', many))
  await until(() => second.heard() !== '')
  second.socket.write('GARBAGE\r\n\r\n')
  for (const { socket, heard } of [first, second]) {
    await until(() => socket.readableEnded)
    t.match(heard(), /^HTTP\/1.1 200 /)
    t.ok(heard().endsWith('0\r\n\r\n'), 'the whole answer')
    t.notMatch(heard(), 'no HTTP request')
  }
  await server.close()
})

t.test('an answer that nobody takes is given up with its request', async (t) => {
  const { handler } = await served(t)
  const gone = new AbortController()
  const response = await handler(post('/v1/embed', many, { signal: gone.signal }))
  t.equal(response.status, 200)
  t.equal(await metric(handler, 'lateforge_requests_in_flight'), 1)
  gone.abort()
  t.equal(await metric(handler, 'lateforge_requests_in_flight'), 0)
  await handler.drain()
})
