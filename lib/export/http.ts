/**
 * Targets with an HTTP interface: one body that makes the collection, bodies with some documents each, one to a line, and one that
 * searches; and a program that sends them.
 */
import path from 'node:path'
import { writeAtomic } from '../io/atomic.js'
import { type Example, exampleOf, type Outgoing, type Plan, type Target } from './target.js'

/** A request whose body is a file, or each line of one. */
export interface Request {
  method: 'POST' | 'PUT'
  path: string
  file: string
}

/** How a target wants its requests. */
export interface HttpTarget {
  title: string
  /** Where it listens by default. */
  url: string
  /** Makes the collection. */
  create(plan: Plan): { request: Request; body: object }
  /** Sends documents, each line a body. */
  load(plan: Plan): Request
  /** JSON of a document, in as many pieces as a body has lists. @throws DataError ERR_DATA for one that the target cannot hold */
  document(document: Outgoing, plan: Plan): string[]
  /** A body: for each of its lists the pieces of all documents, with commas between. */
  body(lists: readonly string[], plan: Plan): string
  /** A query that finds the example, and where it is sent; without that, `others` has a program that asks it. */
  search(plan: Plan, example: Example): { file: string; body: string; request?: Omit<Request, 'file'> }
  /** Further files by name. */
  others?(plan: Plan): Record<string, string>
  /** JavaScript: whether `answer`, of a request that succeeded by its status, is a refusal; default: none is. */
  refused?: string
}

/** Characters of a body, and documents in it, at most: every target takes that by default. */
const bodyLimits = { characters: 8 << 20, documents: 256 }

/** A target for `exportIndex`. */
export function overHttp(http: HttpTarget): Target {
  return {
    title: http.title,
    async write(folder, documents, plan) {
      let example: Example | undefined
      async function* bodies(): AsyncGenerator<string> {
        let [waiting, characters]: [string[][], number] = [[], 0]
        const take = () => {
          const lists = waiting[0]!.map((_, list) => waiting.map((pieces) => pieces[list]).join(','))
          ;[waiting, characters] = [[], 0]
          return `${http.body(lists, plan)}\n`
        }
        for await (const document of documents) {
          example ??= exampleOf(document, plan.dim)
          const pieces = http.document(document, plan)
          const length = pieces.reduce((sum, piece) => sum + piece.length, 0)
          const full = characters + length > bodyLimits.characters || waiting.length === bodyLimits.documents
          if (full && waiting.length > 0) yield take()
          waiting.push(pieces)
          characters += length
        }
        if (waiting.length > 0) yield take()
      }
      const load = http.load(plan)
      await writeAtomic(path.join(folder, load.file), bodies())
      const create = http.create(plan)
      const { file, body, request } = http.search(plan, example!)
      const search = request && { ...request, file }
      for (const [name, text] of Object.entries({
        [create.request.file]: JSON.stringify(create.body, null, 2),
        [file]: body,
        'load.mjs': program(http, create.request, load, search, example!),
        ...http.others?.(plan),
      }))
        await writeAtomic(path.join(folder, name), [`${text}\n`])
    },
  }
}

/** The program that sends what was written. */
function program(
  { title, url, refused = 'false' }: HttpTarget,
  create: Request,
  load: Request,
  search: Request | undefined,
  { id }: Example,
): string {
  const call = ({ method, path }: Request, body: string) =>
    `await send(${JSON.stringify(method)}, ${JSON.stringify(path)}, ${body})`
  const read = (request: Request) => call(request, `readFileSync(file(${JSON.stringify(request.file)}))`)
  return `// Written by lateforge: makes the collection in ${title} and sends the documents${search ? ', then searches for one of them' : ''}.
// node load.mjs [${url}]      with a key: TOKEN=… node load.mjs
import { createReadStream, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

const [server = '${url}'] = process.argv.slice(2)
const file = (name) => new URL(name, import.meta.url)
const { TOKEN } = process.env

async function send(method, path, body) {
  const headers = { 'content-type': 'application/json', ...(TOKEN && { authorization: \`Bearer \${TOKEN}\` }) }
  const response = await fetch(server + path, { method, headers, body })
  const text = await response.text()
  const answer = /^[[{]/.test(text) ? JSON.parse(text) : text
  if (!response.ok || (${refused})) throw new Error(\`\${method} \${path}: \${response.status} \${text.slice(0, 500)}\`)
  return answer
}

${read(create)}
let sent = 0
for await (const body of createInterface({ input: createReadStream(file(${JSON.stringify(load.file)})) })) {
  ${call(load, 'body')}
  console.error(\`\${++sent} requests sent\`)
}${
    search
      ? `
// The first hit is to be document ${JSON.stringify(id)}.
console.log(JSON.stringify(${read(search)}))`
      : ''
  }`
}
