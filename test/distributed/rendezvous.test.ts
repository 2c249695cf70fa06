/** How ranks find rank 0: who belongs to the job gets in, whoever else does not, and nobody waits for ever. */
import { once } from 'node:events'
import net from 'node:net'
import t from 'tap'
import { type Line, listen, reach } from '../../lib/distributed/rendezvous.js'

const closeAll = (lines: Iterable<Line>): void => {
  for (const { socket } of lines) socket.destroy()
}

/** A socket to rank 0, and a promise of all that it says until it hangs up. */
async function stranger(port: number, text: string): Promise<string> {
  const socket = net.connect({ host: '127.0.0.1', port })
  let heard = ''
  socket.setEncoding('utf8').on('data', (data) => {
    heard += data
  })
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(text)
  await once(socket, 'close')
  return heard
}

t.test('ranks get in, each as itself, and messages go both ways', async (t) => {
  const { whereabouts, lines } = await listen(4)
  const others = await Promise.all([3, 1, 2].map((rank) => reach(whereabouts, rank)))
  const joined = await lines
  t.same([...joined.keys()].sort(), [1, 2, 3])
  const heard = new Promise((resolve) => {
    joined.get(2)!.onMessage = resolve
  })
  others[2]!.send({ type: 'beat', progress: 'ä "1"' })
  t.same(await heard, { type: 'beat', progress: 'ä "1"' })
  const ended = new Promise<void>((resolve) => {
    others[0]!.onEnd = resolve
  })
  joined.get(3)!.socket.destroy()
  await t.resolves(ended, 'who hangs up is noticed')
  closeAll([...others, ...joined.values()])
})

t.test('strangers do not', async (t) => {
  const { whereabouts, lines } = await listen(2)
  const { port } = whereabouts
  const forged = (rank: unknown): string => `${JSON.stringify({ type: 'join', rank, proof: 'f'.repeat(64) })}\n`
  t.equal(await stranger(port, 'GET / HTTP/1.1\r\n\r\n'), '', 'no JSON')
  t.equal(await stranger(port, 'null\n'), '', 'no message')
  t.equal(await stranger(port, 'x'.repeat(20_000)), '', 'an endless line')
  for (const rank of [1, 0, 2, -1, 0.5, 'x', null]) t.equal(await stranger(port, forged(rank)), '', `rank ${rank}`)
  const answer = JSON.parse(await stranger(port, `{"type":"ask","nonce":"1"}\n${forged(1)}`)) as { type: string }
  t.equal(answer.type, 'answer', 'who asks is told that this is rank 0')
  t.notOk(JSON.stringify(answer).includes(whereabouts.token), 'but not the token')
  await t.rejects(reach({ ...whereabouts, token: 'another' }, 1), { code: 'ERR_GROUP' }, 'nor a rank of another job')
  const own = await reach(whereabouts, 1)
  closeAll([own, ...(await lines).values()])
})

t.test('a rank finds rank 0 among addresses where nobody answers', async (t) => {
  const { whereabouts, lines } = await listen(2)
  const addresses = ['192.0.2.1', '::1', ...whereabouts.addresses]
  const line = await reach({ ...whereabouts, addresses }, 1)
  t.ok(line.socket.remotePort, 'connected')
  closeAll([line, ...(await lines).values()])
  await t.rejects(
    reach({ ...whereabouts, addresses: ['127.0.0.1'] }, 1),
    { code: 'ERR_GROUP', message: /rank 0 is not reached at 127.0.0.1 port \d+/ },
    'nobody listens any more',
  )
})
