/** How ranks find rank 0 by TCP: it tells its addresses over the group, and both sides prove that they are of this job. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import os from 'node:os'
import { GroupError } from '../errors.js'

/** Where rank 0 listens. The token never travels this way: who knows it proves so by signing the other's nonce. */
export interface Whereabouts {
  addresses: string[]
  port: number
  token: string
}

export interface Message {
  type: string
  [key: string]: unknown
}

/** Nobody sends more than this without a line break, and no stranger keeps a connection for longer. */
const longest = 8192
const strangerMs = 10_000
/** How long one rank waits for another. */
const patienceMs = 30_000

/** JSON messages over a socket, one a line. Whatever else arrives ends the connection. */
export class Line {
  readonly socket: net.Socket
  onMessage: (message: Message) => void = () => {}
  /** The connection is gone, for whatever reason. */
  onEnd: () => void = () => {}
  private rest = ''

  constructor(socket: net.Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.setEncoding('utf8')
    socket.on('data', (text) => this.read(String(text)))
    socket.on('error', () => {}) // 'close' follows
    socket.on('close', () => this.onEnd())
  }

  send(message: Message): void {
    if (this.socket.writable) this.socket.write(`${JSON.stringify(message)}\n`)
  }

  private read(text: string): void {
    const lines = (this.rest + text).split('\n')
    this.rest = lines.pop()!
    for (const line of lines) {
      const message = line.length <= longest ? parse(line) : null
      if (!message) return void this.socket.destroy()
      this.onMessage(message)
    }
    if (this.rest.length > longest) this.socket.destroy()
  }
}

function parse(line: string): Message | null {
  try {
    const value = JSON.parse(line) as Message | null
    return typeof value?.type === 'string' ? value : null
  } catch {
    return null
  }
}

const sign = (token: string, role: string, nonce: unknown): string =>
  createHmac('sha256', token).update(`${role} ${nonce}`).digest('hex')

function signed(proof: unknown, token: string, role: string, nonce: unknown): boolean {
  const [found, wanted] = [Buffer.from(String(proof)), Buffer.from(sign(token, role, nonce))]
  return found.length === wanted.length && timingSafeEqual(found, wanted)
}

const newNonce = (): string => randomBytes(16).toString('hex')

/** Rank 0: listens for all the others. `lines` settles once they are there, by rank. */
export async function listen(ranks: number): Promise<{ whereabouts: Whereabouts; lines: Promise<Map<number, Line>> }> {
  const token = randomBytes(32).toString('hex')
  const joined = new Map<number, Line>()
  const server = net.createServer()
  server.maxConnections = 16 * ranks + 16
  server.listen(0)
  await once(server, 'listening')
  const lines = new Promise<Map<number, Line>>((resolve, reject) => {
    const timer = setTimeout(() => {
      const missing = Array.from({ length: ranks }, (_, r) => r).filter((r) => r > 0 && !joined.has(r))
      reject(new GroupError('ERR_GROUP', `not heard from rank ${missing.join(', ')} within ${patienceMs / 1000} s`))
    }, patienceMs)
    server.on('connection', (socket) => {
      const line = new Line(socket)
      const nonce = newNonce()
      const impatience = setTimeout(() => socket.destroy(), strangerMs)
      line.onEnd = () => clearTimeout(impatience)
      line.onMessage = (message) => {
        if (message.type === 'ask')
          return line.send({ type: 'answer', proof: sign(token, 'host', message.nonce), nonce })
        const rank = Number(message.rank)
        const expected = Number.isInteger(rank) && rank > 0 && rank < ranks && !joined.has(rank)
        if (message.type !== 'join' || !expected || !signed(message.proof, token, `rank ${rank}`, nonce))
          return void socket.destroy()
        clearTimeout(impatience)
        line.onMessage = () => {}
        line.onEnd = () => {}
        joined.set(rank, line)
        line.send({ type: 'welcome' })
        if (joined.size < ranks - 1) return
        clearTimeout(timer)
        resolve(joined)
      }
    })
  }).finally(() => server.close())
  lines.catch(() => {}) // met by whoever awaits it
  return { whereabouts: { addresses: ownAddresses(), port: (server.address() as net.AddressInfo).port, token }, lines }
}

function ownAddresses(): string[] {
  const known = Object.values(os.networkInterfaces()).flatMap((list) => list ?? [])
  const outside = known.filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
  return ['127.0.0.1', ...outside.map(({ address }) => address)]
}

/** Other ranks: all addresses at once; the first at which rank 0 proves itself is kept. */
export async function reach({ addresses, port, token }: Whereabouts, rank: number): Promise<Line> {
  const tried: Line[] = []
  return new Promise<Line>((resolve, reject) => {
    let [left, chosen]: [number, Line | null] = [addresses.length, null]
    const give = (): void =>
      reject(new GroupError('ERR_GROUP', `rank 0 is not reached at ${addresses.join(', ')} port ${port}`))
    const timer = setTimeout(give, patienceMs)
    for (const host of addresses) {
      const line = new Line(net.connect({ host, port }))
      tried.push(line)
      const nonce = newNonce()
      line.socket.on('connect', () => line.send({ type: 'ask', nonce }))
      line.onEnd = () => {
        left--
        if (line !== chosen && (chosen || left > 0)) return
        clearTimeout(timer)
        give()
      }
      line.onMessage = (message) => {
        if (message.type === 'answer' && !chosen && signed(message.proof, token, 'host', nonce)) {
          chosen = line
          line.send({ type: 'join', rank, proof: sign(token, `rank ${rank}`, message.nonce) })
        } else if (message.type === 'welcome' && line === chosen) {
          clearTimeout(timer)
          line.onMessage = () => {}
          line.onEnd = () => {}
          resolve(line)
        } else line.socket.destroy()
      }
    }
  }).then(
    (kept) => {
      for (const line of tried) if (line !== kept) line.socket.destroy()
      return kept
    },
    (error) => {
      for (const line of tried) line.socket.destroy()
      throw error
    },
  )
}
