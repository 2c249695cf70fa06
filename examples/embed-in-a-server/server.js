// @ts-check
/** Search over HTTP: node:http and the public API, nothing else. README.md says how to call it. */
import { createReadStream } from 'node:fs'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { createGunzip } from 'node:zlib'
import { Colbert, LateforgeError } from 'lateforge'

const usage = 'node server.js MODEL-FOLDER CORPUS.jsonl(.gz) [--port 8080] [--device cpu]'
const { values: options, positionals } = parseArgs({
  options: { port: { type: 'string', default: '8080' }, device: { type: 'string', default: 'cpu' } },
  allowPositionals: true,
})
const [folder, corpus] = positionals
if (!folder || !corpus) throw new Error(`usage: ${usage}`)

/** @param {string} file @returns {Promise<{ ids: string[], texts: string[] }>} rows of {"_id", "text"} */
async function readCorpus(file) {
  const raw = createReadStream(file)
  const input = file.endsWith('.gz') ? raw.pipe(createGunzip()) : raw
  raw.on('error', (error) => input.destroy(error))
  /** @type {{ ids: string[], texts: string[] }} */
  const read = { ids: [], texts: [] }
  for await (const line of createInterface({ input })) {
    if (line.trim() === '') continue
    const row = JSON.parse(line)
    read.ids.push(String(row._id))
    read.texts.push(row.text)
  }
  return read
}

const { ids, texts } = await readCorpus(corpus)
const model = await Colbert.load(folder, { device: options.device })
const embeddings = await model.encodeDocuments(texts, { ids })
// The documents go to the device once; each search copies its query only.
const documents = await model.upload(embeddings)

/** What the caller did wrong, with the HTTP status that says so. */
class BadRequest extends Error {
  /** @param {string} message @param {number} [status] */
  constructor(message, status = 400) {
    super(message)
    this.status = status
  }
}

/** @param {unknown} value @param {number} fallback */
function topKOf(value, fallback) {
  const k = Number(value ?? fallback)
  if (!Number.isInteger(k) || k < 1) throw new BadRequest('topK: expected a whole number of at least 1')
  return k
}

/** @param {import('node:http').IncomingMessage} request @returns {Promise<any>} its JSON, of at most 1 MiB */
async function bodyOf(request) {
  const parts = []
  let size = 0
  for await (const part of request) {
    size += part.length
    if (size > 1 << 20) throw new BadRequest('the body is larger than 1 MiB', 413)
    parts.push(part)
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString())
  } catch {
    throw new BadRequest('the body is not JSON')
  }
}

/** @type {Record<string, (request: import('node:http').IncomingMessage, url: URL, signal: AbortSignal) => Promise<object>>} */
const routes = {
  async 'GET /health'() {
    return { model: folder, recipe: model.recipeHash, device: model.device.name, documents: ids.length }
  },

  async 'GET /search'(_request, url, signal) {
    const query = url.searchParams.get('q')
    if (!query) throw new BadRequest('q: expected a query')
    const topK = topKOf(url.searchParams.get('topK'), 10)
    const queries = await model.encodeQueries([query], { signal })
    const [hits = []] = await model.search(queries, documents, { topK, signal })
    return { hits: hits.map(({ index, id, score }) => ({ id, score, text: texts[index] })) }
  },

  async 'POST /rank'(request, _url, signal) {
    const { query, texts, topK } = await bodyOf(request)
    const isText = (/** @type {unknown} */ text) => typeof text === 'string'
    if (!isText(query) || !Array.isArray(texts) || !texts.every(isText))
      throw new BadRequest('expected { "query": text, "texts": [text, …] }')
    return { hits: await model.rank(query, texts, { topK: topKOf(topK, Math.max(1, texts.length)), signal }) }
  },
}

const server = createServer(async (request, response) => {
  const url = new URL(request.url ?? '/', 'http://localhost')
  const route = routes[`${request.method} ${url.pathname}`]
  // A client that leaves frees the device for the next one.
  const gone = new AbortController()
  response.on('close', () => gone.abort())
  /** @param {number} status @param {object} body */
  const answer = (status, body) => {
    if (response.destroyed) return
    response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`)
  }
  try {
    if (!route) return answer(404, { error: `there are: ${Object.keys(routes).join(', ')}` })
    answer(200, await route(request, url, gone.signal))
  } catch (error) {
    if (error instanceof BadRequest) return answer(error.status, { error: error.message })
    const code = error instanceof LateforgeError ? error.code : 'ERR_INTERNAL'
    if (code === 'ERR_ABORTED') return
    console.error(error)
    answer(500, { error: 'the request failed', code })
  }
})

server.listen(Number(options.port), '127.0.0.1', () => {
  const address = /** @type {import('node:net').AddressInfo} */ (server.address())
  console.log(`${ids.length} documents on http://127.0.0.1:${address.port}`)
})

for (const name of /** @type {const} */ (['SIGINT', 'SIGTERM']))
  process.once(name, () => {
    // Requests under way are answered first.
    server.close(() => {
      documents.dispose()
      model.dispose()
    })
    server.closeIdleConnections()
  })
