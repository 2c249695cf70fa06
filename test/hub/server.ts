/**
 * A Hub of the test's own: Hugging Face's paths, headers and status codes on one port, files in LFS behind a redirect on
 * another one, and every way to fail. It is written from the Hub's public API and what its clients ask for.
 */
import { createHash, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export interface ServedFile {
  bytes: Buffer
  /** In LFS: it comes by way of the other port. */
  lfs: boolean
}

export interface ServedRepository {
  private: boolean
  gated: boolean
  /** Newest last. */
  commits: { id: string; title: string; files: Map<string, ServedFile> }[]
  /** From branches and tags to commits. */
  refs: Map<string, string>
}

/** What happens to requests in the place of an answer, or to an answer. */
export interface Fault {
  /** Of `METHOD path`. */
  match: RegExp
  /** To how many of them. Default 1. */
  times?: number
  status?: number
  headers?: Record<string, string>
  /** The connection is cut after so many bytes of the body. */
  cutAfter?: number
  /** Before the first byte, or between chunks: how long nothing comes, ms. */
  silentMs?: number
  /** Another body of the same length. */
  wrong?: boolean
  /** Bytes of a chunk, with a pause after each: a slow line. */
  chunk?: number
  pauseMs?: number
  /** Ranges are not understood: all of it is sent. */
  ignoreRange?: boolean
}

export interface Received {
  method: string
  path: string
  token: string | undefined
  range: string | undefined
  /** Which of the two ports. */
  host: 'hub' | 'cdn'
  /** Bytes of the body that were sent. */
  sent: number
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
const gitSha1 = (bytes: Buffer): string =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')

export class HubServer {
  readonly token = `hf_${randomBytes(12).toString('hex')}`
  readonly repositories = new Map<string, ServedRepository>()
  readonly received: Received[] = []
  readonly faults: Fault[] = []
  /** Entries of a page of a listing. */
  pageSize = 1000
  /** Uploaded to LFS, not committed yet or long since. */
  readonly uploaded = new Map<string, Buffer>()
  private readonly hub: Server
  private readonly cdn: Server

  private constructor() {
    this.hub = createServer(this.listener('hub'))
    this.cdn = createServer(this.listener('cdn'))
  }

  private listener(host: 'hub' | 'cdn') {
    return (request: IncomingMessage, response: ServerResponse): void => {
      this.answer(host, request, response).catch(() => response.destroy()) // whoever asked has gone
    }
  }

  static async start(t: { teardown(fn: () => unknown): unknown }): Promise<HubServer> {
    const server = new HubServer()
    for (const part of [server.hub, server.cdn])
      await new Promise<void>((resolve) => part.listen(0, '127.0.0.1', resolve))
    t.teardown(() => server.stop())
    return server
  }

  /** It may be stopped, and is then as a Hub that is down. */
  async stop(): Promise<void> {
    for (const part of [this.hub, this.cdn]) {
      part.closeAllConnections()
      await new Promise((resolve) => part.close(resolve))
    }
  }

  get endpoint(): string {
    return urlOf(this.hub)
  }

  /** Adds a commit to a repository (`models/org/name`, `datasets/org/name`), at `main` or another branch. */
  commit(
    id: string,
    files: Record<string, string | Buffer>,
    { branch = 'main', ...kind }: { branch?: string; private?: boolean; gated?: boolean } = {},
  ): string {
    const repository = this.repositories.get(id) ?? { private: false, gated: false, commits: [], refs: new Map() }
    this.repositories.set(id, Object.assign(repository, kind))
    const all = new Map(
      Object.entries(files).map(([path, content]) => {
        const bytes = Buffer.from(content)
        return [path, { bytes, lfs: isLarge(path) }] as const
      }),
    )
    return addCommit(repository, branch, `add ${all.size} files`, all)
  }

  /** Bytes of bodies that were sent for requests of this kind. */
  sent(match: RegExp): number {
    return this.asked(match).reduce((sum, { sent }) => sum + sent, 0)
  }

  asked(match: RegExp): Received[] {
    return this.received.filter(({ method, path }) => match.test(`${method} ${path}`))
  }

  private async answer(host: 'hub' | 'cdn', request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url!, 'http://localhost')
    const path = decodeURIComponent(url.pathname)
    const received: Received = {
      method: request.method!,
      path,
      token: request.headers.authorization?.replace(/^Bearer /, ''),
      range: request.headers.range,
      host,
      sent: 0,
    }
    this.received.push(received)
    const fault = this.faults.find(({ match }) => match.test(`${request.method} ${path}`))
    if (fault) {
      fault.times = (fault.times ?? 1) - 1
      if (fault.times === 0) this.faults.splice(this.faults.indexOf(fault), 1)
    }
    const answer = new Answer(response, received, fault, request.headers.range)
    if (fault?.silentMs) await sleep(fault.silentMs)
    if (fault?.status) return answer.refuse(fault.status, fault.headers ?? {}, 'a fault of the test')
    const body = await bodyOf(request)
    if (host === 'cdn') return this.answerFromCdn(answer, path, body)
    if (request.headers.authorization && received.token !== this.token)
      return answer.refuse(401, { 'x-error-message': 'Invalid credentials in Authorization header' })
    const [, api, id, rest = ''] =
      /^(\/api)?\/((?:models\/|datasets\/)?[^/]+\/[^/]+)(?:\/(.*))?$/.exec(path) ?? ([] as string[])
    if (path === '/api/repos/create') return this.create(answer, received, JSON.parse(body.toString()))
    if (id === undefined) return answer.refuse(404)
    const [kind, name] = /^(models|datasets)\//.test(id) ? [id, id] : [`models/${id}`, id]
    const lfs = /^(.*)\.git$/.exec(kind)?.[1]
    const repository = this.repositories.get(lfs ?? kind)
    const known = received.token === this.token
    if (!repository || (repository.private && !known))
      return answer.refuse(known ? 404 : 401, {
        'x-error-code': 'RepoNotFound',
        'x-error-message': 'Repository not found',
      })
    if (lfs) return this.lfsBatch(answer, repository, JSON.parse(body.toString()))
    if (api) return this.answerApi(answer, received, url, { id: kind, repository, rest, body })
    return this.resolve(answer, received, repository, rest, name!)
  }

  private answerApi(
    answer: Answer,
    received: Received,
    url: URL,
    { id, repository, rest, body }: { id: string; repository: ServedRepository; rest: string; body: Buffer },
  ): Promise<void> {
    const [what, ...more] = rest.split('/')
    const about = {
      _id: id,
      id: id.replace(/^\w+\//, ''),
      private: repository.private,
      gated: repository.gated && 'manual',
    }
    if (received.method === 'POST') {
      if (received.token !== this.token) return answer.refuse(401, { 'x-error-message': 'Log in' })
      if (what === 'branch') {
        if (repository.refs.has(more.join('/'))) return answer.refuse(409, {}, 'Reference already exists')
        repository.refs.set(more.join('/'), repository.refs.get('main')!)
        return answer.json({})
      }
      if (!repository.refs.has(more.join('/'))) return answer.refuse(404, { 'x-error-code': 'RevisionNotFound' })
      if (what === 'preupload') return preupload(answer, JSON.parse(body.toString()))
      if (what === 'commit') return this.takeCommit(answer, id, repository, more.join('/'), body.toString())
    }
    if (what === '' || what === 'revision') {
      const asked = what === '' || more[0] === 'HEAD' ? 'main' : more.join('/')
      const commit = commitAt(repository, asked)
      if (!commit)
        return answer.refuse(404, { 'x-error-code': 'RevisionNotFound', 'x-error-message': `Invalid rev id: ${asked}` })
      const siblings = [...commit.files.keys()].map((rfilename) => ({ rfilename }))
      return answer.json({ ...about, sha: commit.id, siblings, lastModified: '2026-11-29T00:00:00.000Z' })
    }
    if (what === 'tree') {
      const commit = commitAt(repository, more[0]!)
      if (!commit) return answer.refuse(404, { 'x-error-code': 'RevisionNotFound' })
      const entries = [...commit.files].map(([path, file]) => treeEntry(path, file))
      const from = Number(url.searchParams.get('cursor') ?? 0)
      const next = new URL(url.pathname + url.search, this.endpoint)
      next.searchParams.set('cursor', `${from + this.pageSize}`)
      const link: Record<string, string> =
        from + this.pageSize < entries.length ? { link: `<${next}>; rel="next"` } : {}
      return answer.json(
        [
          { type: 'directory', path: 'a-folder', oid: '0'.repeat(40), size: 0 },
          ...entries.slice(from, from + this.pageSize),
        ],
        link,
      )
    }
    if (what === 'paths-info') {
      const { paths } = JSON.parse(body.toString()) as { paths: string[] }
      const commit = commitAt(repository, more[0]!)!
      return answer.json(
        paths.flatMap((path) => (commit.files.has(path) ? [treeEntry(path, commit.files.get(path)!)] : [])),
      )
    }
    return answer.refuse(404)
  }

  /** `resolve/REVISION/FILE` */
  private resolve(
    answer: Answer,
    { token }: Received,
    repository: ServedRepository,
    rest: string,
    name: string,
  ): Promise<void> {
    const [, revision = '', path = ''] = /^resolve\/([^/]+)\/(.*)$/.exec(rest) ?? []
    const commit = commitAt(repository, revision)
    if (!commit) return answer.refuse(404, { 'x-error-code': 'RevisionNotFound' })
    if (repository.gated && token !== this.token)
      return answer.refuse(401, { 'x-error-code': 'GatedRepo', 'x-error-message': `Access to ${name} is restricted` })
    if (repository.gated)
      return answer.refuse(403, { 'x-error-code': 'GatedRepo', 'x-error-message': `Access to ${name} is restricted` })
    const file = commit.files.get(path)
    if (!file) return answer.refuse(404, { 'x-error-code': 'EntryNotFound', 'x-error-message': 'Entry not found' })
    const headers = { 'x-repo-commit': commit.id, 'accept-ranges': 'bytes' }
    if (!file.lfs) return answer.file(file.bytes, { ...headers, etag: `"${gitSha1(file.bytes)}"` })
    const sum = sha256(file.bytes)
    return answer.redirect(`${urlOf(this.cdn)}/${sum}?signature=secret`, {
      ...headers,
      'x-linked-etag': `"${sum}"`,
      'x-linked-size': `${file.bytes.length}`,
    })
  }

  /** What S3 or CloudFront does: it knows files by their checksum, and of tokens nothing. */
  private answerFromCdn(answer: Answer, path: string, body: Buffer): Promise<void> {
    const sum = path.slice(1)
    if (answer.method === 'PUT') {
      if (sha256(body) !== sum) return answer.refuse(400, {}, 'BadDigest')
      this.uploaded.set(sum, body)
      return answer.json({})
    }
    for (const { commits } of this.repositories.values())
      for (const { files } of commits)
        for (const { bytes, lfs } of files.values())
          if (lfs && sha256(bytes) === sum) return answer.file(bytes, { etag: '"of-the-cdn"' })
    return answer.refuse(404)
  }

  private create(answer: Answer, { token }: Received, given: Record<string, string>): Promise<void> {
    if (token !== this.token) return answer.refuse(401, { 'x-error-message': 'Log in' })
    const id = `${given.type}s/${given.organization}/${given.name}`
    if (given.organization === 'others')
      return answer.refuse(403, {}, "You don't have the rights to create a model under this namespace")
    if (this.repositories.has(id)) return answer.refuse(409, {}, 'You already created this model repo')
    this.commit(id, { '.gitattributes': '*.safetensors filter=lfs\n' }, { private: given.visibility === 'private' })
    return answer.json({ url: `${this.endpoint}/${given.organization}/${given.name}`, id: '1' })
  }

  private lfsBatch(
    answer: Answer,
    _: ServedRepository,
    given: { objects: { oid: string; size: number }[] },
  ): Promise<void> {
    return answer.json({
      transfer: 'basic',
      objects: given.objects.map((object) => ({
        ...object,
        ...(!this.uploaded.has(object.oid) && {
          actions: { upload: { href: `${urlOf(this.cdn)}/${object.oid}?signature=secret`, header: {} } },
        }),
      })),
    })
  }

  private takeCommit(
    answer: Answer,
    id: string,
    repository: ServedRepository,
    branch: string,
    lines: string,
  ): Promise<void> {
    const files = new Map(commitAt(repository, branch)!.files)
    let title = ''
    for (const line of lines.split('\n').filter(Boolean)) {
      const { key, value } = JSON.parse(line)
      if (key === 'header') title = value.summary
      if (key === 'file') files.set(value.path, { bytes: Buffer.from(value.content, value.encoding), lfs: false })
      if (key === 'lfsFile') {
        const bytes = this.uploaded.get(value.oid)
        if (!bytes) return answer.refuse(400, {}, `LFS object ${value.oid} was not uploaded`)
        files.set(value.path, { bytes, lfs: true })
      }
    }
    const commit = addCommit(repository, branch, title, files)
    return answer.json({
      commitOid: commit,
      commitUrl: `${this.endpoint}/${id.replace(/^models\//, '')}/commit/${commit}`,
      hookOutput: '',
    })
  }
}

const urlOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`
const isLarge = (path: string): boolean => /\.(safetensors|parquet|gz|bin)$/.test(path)

function addCommit(
  repository: ServedRepository,
  branch: string,
  title: string,
  files: Map<string, ServedFile>,
): string {
  const id = randomBytes(20).toString('hex')
  repository.commits.push({ id, title, files })
  repository.refs.set(branch, id)
  return id
}

function commitAt({ refs, commits }: ServedRepository, revision: string): ServedRepository['commits'][0] | undefined {
  return commits.find(({ id }) => id === (refs.get(revision) ?? revision))
}

function treeEntry(path: string, { bytes, lfs }: ServedFile): object {
  const pointer = Buffer.from(
    `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256(bytes)}\nsize ${bytes.length}\n`,
  )
  return {
    type: 'file',
    path,
    size: bytes.length,
    oid: gitSha1(lfs ? pointer : bytes),
    ...(lfs && { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: pointer.length } }),
  }
}

function preupload(answer: Answer, { files }: { files: { path: string }[] }): Promise<void> {
  return answer.json({
    files: files.map(({ path }) => ({ path, uploadMode: isLarge(path) ? 'lfs' : 'regular', shouldIgnore: false })),
  })
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** One answer, with what the fault makes of it. */
class Answer {
  private readonly response: ServerResponse
  private readonly received: Received
  private readonly fault: Partial<Fault>
  private readonly range: string | undefined

  constructor(response: ServerResponse, received: Received, fault: Partial<Fault> = {}, range: string | undefined) {
    this.response = response
    this.received = received
    this.fault = fault
    this.range = range
  }

  get method(): string {
    return this.received.method
  }

  json(value: unknown, headers: Record<string, string> = {}): Promise<void> {
    return this.send(200, { 'content-type': 'application/json', ...headers }, Buffer.from(JSON.stringify(value)))
  }

  refuse(
    status: number,
    headers: Record<string, string> = {},
    error = headers['x-error-message'] ?? 'no',
  ): Promise<void> {
    return this.send(status, { 'content-type': 'application/json', ...headers }, Buffer.from(JSON.stringify({ error })))
  }

  redirect(location: string, headers: Record<string, string>): Promise<void> {
    return this.send(302, { location, ...headers }, Buffer.alloc(0))
  }

  /** All of a file, or its range. */
  async file(bytes: Buffer, headers: Record<string, string>): Promise<void> {
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(this.fault.ignoreRange ? '' : (this.range ?? '')) ?? []
    if (from === undefined) return this.send(200, headers, bytes)
    const end = Math.min(to ? Number(to) + 1 : bytes.length, bytes.length)
    if (Number(from) >= bytes.length) return this.refuse(416)
    await this.send(
      206,
      { ...headers, 'content-range': `bytes ${from}-${end - 1}/${bytes.length}` },
      bytes.subarray(Number(from), end),
    )
  }

  private async send(status: number, headers: Record<string, string>, body: Buffer): Promise<void> {
    const { wrong, cutAfter = Number.POSITIVE_INFINITY, chunk = 1 << 16, pauseMs = 0 } = this.fault
    const bytes = wrong ? Buffer.from(body.map((byte) => byte ^ 1)) : body
    this.response.writeHead(status, { ...headers, 'content-length': `${bytes.length}` })
    if (this.method === 'HEAD') {
      this.response.end()
      return
    }
    for (let at = 0; at < bytes.length; at += chunk) {
      if (this.response.destroyed) return
      const part = bytes.subarray(at, Math.min(at + chunk, cutAfter))
      await new Promise((resolve) => this.response.write(part, resolve))
      this.received.sent += part.length
      if (at + chunk > cutAfter) {
        this.response.destroy()
        return
      }
      if (pauseMs) await sleep(pauseMs)
    }
    this.response.end()
  }
}
