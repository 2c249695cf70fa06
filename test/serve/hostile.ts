/** Requests that nobody should send, drawn at random, as bytes. */
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import type { Random } from '../../lib/io/random.js'

/** One of them. */
export interface Hostile {
  kind: string
  /** Parts that are written one after the other. */
  parts: (string | Buffer)[]
  /** What has to come of it: a refusal; whatever is no failure of the server's; or nothing, since nobody waits for it. */
  expects: 'refusal' | 'answer' | 'nothing'
}

const good: Record<string, Record<string, unknown>> = {
  '/v1/embed': { role: 'document', texts: ['w1 w2', 'w3'] },
  '/v1/rank': { query: 'w1', texts: ['w1', 'w2 w3'], topK: 2 },
  '/v1/search': { queries: ['w1'], topK: 3 },
  '/v1/explain': { query: 'w1', texts: ['w2'] },
  '/rerank': { query: 'w1', documents: ['w1', { text: 'w2' }], top_n: 1 },
}
const works = Object.keys(good)

const line = (method: string, path: string) => `${method} ${path} HTTP/1.1\r\nHost: localhost\r\n`
const typed = 'Content-Type: application/json\r\n'
const withBody = (path: string, body: string | Buffer, headers = typed) => [
  `${line('POST', path)}${headers}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n`,
  body,
]

/** Values that a field should not have, or that are at the edge of what it may. */
const odd: ((random: Random) => unknown)[] = [
  ...[null, true, -1, 0, 1.5, 1e308, '', {}, [], [[]], [null], [1], { text: 1 }, '\ud800', '\0', '__proto__'].map(
    (value) => () => value,
  ),
  (random) => 'w1 '.repeat(random.integer(5000)),
  (random) => new Array<string>(random.integer(200)).fill('w1'),
  () => ({ length: 3, 0: 'w1' }),
  () => Number.MAX_SAFE_INTEGER,
  () => ['w1', ['w2']],
]

const pick = <T>(random: Random, list: readonly T[]): T => list[random.integer(list.length)]!

/** Paths that are none, or mean another one. */
const paths = [
  ...[
    '/../v1/embed',
    '/v1/../metrics',
    '/v1/./embed',
    '/v1//embed',
    '//v1/embed',
    '/v1/embed/',
    '/V1/embed',
    '/v1/embed;a=b',
  ],
  ...[
    '/%2e%2e/metrics',
    '/v1/%65mbed',
    '/v1/embed%00',
    '/v1/embed%0d%0aX:1',
    '/..%2f..%2fetc/passwd',
    '/v1/embed%',
    '/\\..\\v1',
  ],
  ...[
    'http://localhost/v1/embed',
    'https://example.org/',
    '*',
    'v1/embed',
    '/?/v1/embed',
    '/v1/embed#x',
    '/constructor',
    '/__proto__',
  ],
]

const makers: Record<string, (random: Random) => Pick<Hostile, 'parts' | 'expects'>> = {
  path(random) {
    const path = random.integer(10) === 0 ? `/${'a'.repeat(random.integer(9000))}` : pick(random, paths)
    return { parts: withBody(path, JSON.stringify(good['/v1/embed'])), expects: 'refusal' }
  },
  method(random) {
    const method = pick(random, [
      'PUT',
      'DELETE',
      'PATCH',
      'OPTIONS',
      'TRACE',
      'CONNECT',
      'GET',
      'PROPFIND',
      'get',
      'XYZ',
      'M-SEARCH',
    ])
    return { parts: [`${line(method, pick(random, works))}\r\n`], expects: 'refusal' }
  },
  type(random) {
    const path = pick(random, works)
    const body: Record<string, unknown> = { ...good[path] }
    const key = pick(random, [...Object.keys(body), 'other', 'constructor'])
    Object.defineProperty(body, key, { value: pick(random, odd)(random), enumerable: true })
    return { parts: withBody(path, JSON.stringify(body)), expects: 'answer' }
  },
  missing(random) {
    const path = pick(random, works)
    const { [pick(random, ['texts', 'queries', 'documents', 'query', 'role'])]: gone, ...body } = good[path]!
    return { parts: withBody(path, JSON.stringify(body)), expects: gone === undefined ? 'answer' : 'refusal' }
  },
  json(random) {
    const text = JSON.stringify(good['/v1/rank'])
    const at = random.integer(text.length - 1)
    const deep = 1 + random.integer(20_000)
    const bodies = [
      ...[
        text.slice(0, at),
        `${text}x`,
        '',
        'null',
        '[]',
        '"text"',
        '1e999',
        '{"__proto__":{"texts":[]}}',
        '{"query":NaN}',
      ],
      ...[
        '['.repeat(deep) + ']'.repeat(deep),
        '{"a":'.repeat(deep),
        `{"query":"w1","texts":["w1"],"x":${'['.repeat(deep)}${']'.repeat(deep)}}`,
      ],
    ]
    return { parts: withBody('/v1/rank', pick(random, bodies)), expects: 'refusal' }
  },
  encoding(random) {
    const text = JSON.stringify(good['/v1/rank'])
    const charset = (name: string) => `Content-Type: application/json; charset=${name}\r\n`
    const noise = Buffer.from(Array.from({ length: 1 + random.integer(300) }, () => 128 + random.integer(128)))
    return {
      parts: pick(random, [
        withBody('/v1/rank', Buffer.from(text, 'utf16le')),
        withBody('/v1/rank', Buffer.from(text, 'utf16le'), charset('utf-16le')),
        withBody('/v1/rank', text, charset('"latin1"')),
        withBody('/v1/rank', gzipSync(text), `${typed}Content-Encoding: gzip\r\n`),
        withBody('/v1/rank', gzipSync(text), typed),
        withBody('/v1/rank', text, `${typed}Content-Encoding: br, gzip\r\n`),
        withBody('/v1/rank', noise, typed),
        withBody('/v1/rank', Buffer.concat([Buffer.from('{"query":"'), noise, Buffer.from('","texts":["a"]}')])),
        withBody('/v1/rank', text, 'Content-Type: text/plain\r\n'),
        withBody('/v1/rank', text, 'Content-Type: multipart/form-data; boundary=x\r\n'),
        withBody('/v1/rank', text, ''),
        withBody('/v1/rank', text, `${typed}Accept: image/*\r\n`),
      ]),
      expects: 'refusal',
    }
  },
  size(random) {
    const head = line('POST', '/v1/embed') + typed
    const large = 'x'.repeat(70_000)
    const chunk = `${large.length.toString(16)}\r\n${large}\r\n`
    return {
      parts: pick(random, [
        [`${head}Content-Length: ${2 ** 31 + random.integer(1000)}\r\n\r\n`, large],
        [`${head}Content-Length: 99999999999999999999999\r\n\r\n`],
        [`${head}Content-Length: -1\r\n\r\n`],
        [`${head}Content-Length: 5\r\nContent-Length: 6\r\n\r\n`, '{"a":1}'],
        [`${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`, '0\r\n\r\n'],
        [`${head}Content-Length: 0\r\n\r\n`],
        [`${head}\r\n`],
        [`${head}Transfer-Encoding: chunked\r\n\r\n`, chunk, chunk, '0\r\n\r\n'],
        [`${head}Transfer-Encoding: chunked\r\n\r\n`, 'zz\r\n'],
        [`${head}Transfer-Encoding: gzip\r\n\r\n`, '0\r\n\r\n'],
        withBody('/v1/embed', JSON.stringify({ role: 'query', texts: new Array(33 + random.integer(50)).fill('w1') })),
        withBody('/v1/embed', JSON.stringify({ role: 'document', texts: new Array(30).fill('w1 '.repeat(16)) })),
        withBody('/v1/search', JSON.stringify({ queries: new Array(30).fill('w1'), topK: 1000 })),
      ]),
      expects: 'refusal',
    }
  },
  head(random) {
    const noise = Buffer.from(Array.from({ length: 1 + random.integer(200) }, () => random.integer(256)))
    return {
      parts: pick(random, [
        [`${line('GET', '/health')}X: ${'a'.repeat(17_000)}\r\n\r\n`],

        ['GET /health HTTP/1.1\r\n\r\n'],
        ['GET /health HTTP/9.9\r\nHost: x\r\n\r\n'],
        [`${line('GET', '/health')}Bad Name: x\r\n\r\n`],
        [`${line('GET', '/health')}X: a\0b\r\n\r\n`],
        [`${line('POST', '/v1/embed')}${typed}Expect: something\r\n\r\n`],
        ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
        [Buffer.concat([Buffer.from([22, 3, 1]), noise, Buffer.from('\r\n\r\n')])],
        ['\r\n\r\n\r\nhello\r\n\r\n'],
      ]),
      expects: 'refusal',
    }
  },
  headers(random) {
    return { parts: [`${line('GET', '/health')}${'X: a\r\n'.repeat(random.integer(6000))}\r\n`], expects: 'answer' }
  },
  slow() {
    const body = JSON.stringify(good['/v1/embed'])
    const [head] = withBody('/v1/embed', body)
    return { parts: [head!, body.slice(0, 10)], expects: 'refusal' }
  },
  leaves(random) {
    const [head, body] = withBody(pick(random, works), JSON.stringify(good['/v1/embed']))
    return { parts: random.integer(2) ? [head!] : [head!, body!], expects: 'nothing' }
  },
  resets(random) {
    const asked = withBody(pick(random, works), JSON.stringify(good['/v1/embed']))
    const connects = `${line('CONNECT', 'localhost:1')}\r\n`
    return { parts: pick(random, [asked, [connects], [...asked, connects], ['hello\r\n\r\n']]), expects: 'nothing' }
  },
}
const kinds = Object.keys(makers)

/** The next one. */
export function hostile(random: Random): Hostile {
  const kind = pick(random, kinds)
  return { kind, ...makers[kind]!(random) }
}

/** Sends it and waits for what comes back; what is left without an answer, or cut off, is an error. */
export function sent(port: number, { kind, parts, expects }: Hostile): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => {
      for (const part of parts) socket.write(part)
      if (kind === 'resets') socket.write('', () => done({ status: 0, body: '' }, 'resetAndDestroy'))
      else if (expects === 'nothing') socket.end(() => done({ status: 0, body: '' }))
    })
    const done = (answer: { status: number; body: string }, how: 'destroy' | 'resetAndDestroy' = 'destroy') => {
      resolve(answer)
      socket[how]()
    }
    let said = ''
    const answer = () => {
      const [, status, rest] = /^HTTP\/1\.1 (\d+)[\s\S]*?\r\n\r\n([\s\S]*)$/.exec(said) ?? []
      return status === undefined ? null : { status: Number(status), body: rest! }
    }
    socket.setTimeout(30_000, () => {
      reject(new Error(`no answer: ${said}`))
      socket.destroy()
    })
    socket.setEncoding('utf8').on('data', (text) => {
      said += text
      const found = answer()
      const length = /\r\ncontent-length: (\d+)/i.exec(said)?.[1]
      const whole =
        length === undefined ? said.endsWith('0\r\n\r\n') : Buffer.byteLength(found?.body ?? '') >= Number(length)
      if (found && whole) done(found)
    })
    socket.on('error', (error) => (answer() ? done(answer()!) : reject(error)))
    socket.on('close', () => (answer() ? done(answer()!) : reject(new Error('closed without an answer'))))
  })
}
