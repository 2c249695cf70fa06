/** The report of a run while it goes on: the same page, served on loopback, with news by server-sent events. */
import { existsSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { StringDecoder } from 'node:string_decoder'
import { typed } from '../errors.js'
import { html } from './html.js'
import { type QueryMaps, queryMaps } from './query-maps.js'
import { type ReportContent, reportContent, reportPage } from './report.js'
import { RunLog } from './run-log.js'
import { openRun, type RunRecord } from './run-record.js'
import { curveNumbers, curveSection, listedId } from './sections.js'

/** Options of `serveRun`. */
export interface LiveOptions {
  /** 0: one that is free. */
  port: number
  /** Best and worst queries that are mapped once the run is done. */
  queries: number
  /** Where their model runs. */
  device: string
  /** Between two looks at the log. Default 1 s. */
  everyMs?: number
}

/** A page that is served. */
export interface LiveReport {
  /** Where it is. */
  url: string
  close(): Promise<void>
}

/** Serves the page of a run. @throws DataError ERR_DATA for a folder that is none; FileError ERR_FILE for a port in use */
export async function serveRun(folder: string, options: LiveOptions): Promise<LiveReport> {
  const run = new LiveRun(folder, options)
  await run.look()
  const server = createServer((request, response) => run.answer(request, response))
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(typed(error)))
    server.listen(options.port, '127.0.0.1', resolve)
  })
  run.serves(server)
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, close: () => run.close() }
}

class LiveRun {
  private record!: RunRecord
  private content!: ReportContent
  private maps: QueryMaps = { html: html`<p class="note">They are mapped once the run is done.</p>`, data: {} }
  private mapping: Promise<void> | null = null
  private readonly folder: string
  private readonly options: LiveOptions
  /** With what each was told last, by id of its place on the page. */
  private readonly readers = new Map<ServerResponse, Map<string, string>>()
  /** Bytes of the log that are taken in, and the beginning of a line behind them. */
  private at = 0
  private tail = ''
  private decoder = new StringDecoder('utf8')
  private server: Server | null = null
  private timer: NodeJS.Timeout | undefined
  private readonly controller = new AbortController()

  constructor(folder: string, options: LiveOptions) {
    this.folder = folder
    this.options = options
  }

  serves(server: Server): void {
    this.server = server
    const again = () => {
      this.timer = setTimeout(
        () =>
          this.look()
            .catch(() => {}) // a file that is being replaced is there again the next time
            .finally(() => this.controller.signal.aborted || again()),
        this.options.everyMs ?? 1000,
      )
    }
    again()
  }

  async close(): Promise<void> {
    this.controller.abort()
    clearTimeout(this.timer)
    for (const reader of this.readers.keys()) reader.end()
    this.server?.closeAllConnections()
    await new Promise<void>((resolve) => this.server?.close(() => resolve()))
    await this.mapping
  }

  /** Takes in what was written since, and tells it. */
  async look(): Promise<void> {
    const starts = this.record?.log.starts.length
    const news = await this.read()
    const locked = existsSync(join(this.folder, 'lock'))
    if (this.content && !news && locked === this.record.locked) return
    this.record.locked = locked
    // A run that was taken up again may have another config.
    if (starts !== this.record.log.starts.length)
      this.record = { ...(await openRun(this.folder)), log: this.record.log }
    this.show()
    if (this.record.log.done && !this.mapping) this.mapping = this.map()
  }

  /** @returns whether there was something */
  private async read(): Promise<boolean> {
    this.record ??= await openRun(this.folder)
    const file = await open(join(this.folder, 'events.ndjson')).catch(() => null)
    if (!file) return false
    try {
      const { size } = await file.stat()
      if (size < this.at) {
        // It was cut back to a checkpoint, from which the run goes on.
        this.record.log = new RunLog()
        this.decoder = new StringDecoder('utf8')
        ;[this.at, this.tail] = [0, '']
      }
      if (size === this.at) return false
      while (this.at < size) {
        const bytes = Buffer.alloc(Math.min(size - this.at, 1 << 22))
        const { bytesRead } = await file.read(bytes, 0, bytes.length, this.at)
        if (bytesRead === 0) break
        this.at += bytesRead
        const lines = (this.tail + this.decoder.write(bytes.subarray(0, bytesRead))).split('\n')
        this.tail = lines.pop()!
        for (const line of lines) this.record.log.add(line)
      }
      return true
    } finally {
      await file.close()
    }
  }

  private async map(): Promise<void> {
    const { queries, device } = this.options
    const { signal } = this.controller
    // Whoever closes the page ends it; its other failures are told on the page.
    this.maps = await queryMaps(this.record, 0, { queries, device, signal }).catch((error) => ({
      html: html`<p class="note">${(error as Error).message}</p>`,
      data: {},
    }))
    if (!signal.aborted) this.show()
  }

  private show(): void {
    this.content = reportContent([this.record], [this.maps])
    for (const [reader, told] of this.readers) if (!reader.writableNeedDrain) reader.write(this.news(told))
  }

  /** What has changed since `told`, which then knows it. */
  private news(told: Map<string, string>): string {
    const { sections, curves, maps } = this.content
    const changed: Record<string, string> = {}
    const tell = (id: string, markup: string, mark = markup): boolean => {
      if (told.get(id) === mark) return false
      told.set(id, mark)
      changed[id] = markup
      return true
    }
    for (const [id, { markup }] of Object.entries(sections)) {
      // Curves are drawn anew; their places stay as long as they are the same ones.
      if (id !== 'curves') tell(id, markup)
      else if (!tell(id, markup, curveSection(curves, false).markup))
        for (const [name, curve] of Object.entries(curves)) tell(listedId(name), curveNumbers(curve).markup)
    }
    return `event: news\ndata: ${JSON.stringify({ sections: changed, curves, maps })}\n\n`
  }

  answer(request: IncomingMessage, response: ServerResponse): void {
    const { port } = this.server!.address() as AddressInfo
    // A name that somebody else's page has made point here is not this server's.
    const known = [`127.0.0.1:${port}`, `localhost:${port}`].includes(request.headers.host ?? '')
    const [pathname] = (request.url ?? '/').split('?')
    if (!known) end(response, 403, 'This server answers to 127.0.0.1 and localhost alone.\n')
    else if (request.method !== 'GET') end(response, 405, 'GET is all there is.\n')
    else if (pathname === '/') end(response, 200, reportPage([this.record], this.content, true), 'text/html')
    else if (pathname === '/events') this.tell(response)
    else end(response, 404, 'There is / and /events.\n')
  }

  /** News to one more reader: at first all there is, since its page may be older. */
  private tell(reader: ServerResponse): void {
    reader.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    const told = new Map<string, string>()
    reader.write(this.news(told))
    this.readers.set(reader, told)
    reader.on('close', () => this.readers.delete(reader))
  }
}

function end(response: ServerResponse, status: number, text: string, type = 'text/plain'): void {
  response.writeHead(status, {
    'content-type': `${type}; charset=utf-8`,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cross-origin-resource-policy': 'same-origin',
  })
  response.end(text)
}
