/**
 * Targets with an HTTP interface: one body that makes the collection, bodies with some documents each, one to a line, and one that
 * searches; and programs that send them.
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
  /** As its makers write it. */
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

/** Characters of a body, and documents in it, at most: Qdrant takes 32 MiB by default, next-plaid 100. */
const bodyLimits = { characters: 8 << 20, documents: 256 }

/** A target for `exportIndex`. */
export function overHttp(http: HttpTarget): Target {
  return {
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
      for (const [name, text] of Object.entries({
        [create.request.file]: JSON.stringify(create.body, null, 2),
        [file]: body,
        [clientFile]: client(http),
        'load.mjs': loader(http, create.request, load),
        ...(request && { 'query.mjs': searcher({ ...request, file }, example!) }),
        ...http.others?.(plan),
      }))
        await writeAtomic(path.join(folder, name), [`${text}\n`])
    },
  }
}

const clientFile = 'client.mjs'
const importing = `import { file, send } from ${JSON.stringify(`./${clientFile}`)}`

/** What the programs share: a request, sent again while the server is busy. */
const client = ({ url, refused = 'false' }: HttpTarget): string => `// Written by lateforge.
import { setTimeout } from 'node:timers/promises'

const [server = '${url}'] = process.argv.slice(2)
const { TOKEN } = process.env
const busy = [429, 503]

export const file = (name) => new URL(name, import.meta.url)

export async function send(method, path, body) {
  const headers = { 'content-type': 'application/json', ...(TOKEN && { authorization: \`Bearer \${TOKEN}\` }) }
  for (let tries = 1; ; tries++) {
    const response = await fetch(server + path, { method, headers, body })
    const text = await response.text()
    if (busy.includes(response.status) && tries < 600) {
      await setTimeout(1000)
      continue
    }
    const answer = /^[[{]/.test(text) ? JSON.parse(text) : text
    if (!response.ok || (${refused}))
      throw new Error(\`\${method} \${path}: \${response.status} \${text.slice(0, 500)}\`)
    return answer
  }
}`

/** A call of `send` with a body, which is JavaScript. */
const sending = ({ method, path }: Omit<Request, 'file'>, body: string): string =>
  `await send(${JSON.stringify(method)}, ${JSON.stringify(path)}, ${body})`
const contents = ({ file }: Request): string => `readFileSync(file(${JSON.stringify(file)}))`

/** The program that makes the collection and fills it. */
const loader = (
  { title, url }: HttpTarget,
  create: Request,
  load: Request,
): string => `// Written by lateforge: makes the collection in ${title}, and sends the documents.
// node load.mjs [${url}]      with a key: TOKEN=… node load.mjs
import { createReadStream, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
${importing}

${sending(create, contents(create))}
let sent = 0
for await (const body of createInterface({ input: createReadStream(file(${JSON.stringify(load.file)})) })) {
  ${sending(load, 'body')}
  console.error(\`\${++sent} requests sent\`)
}`

/** The program that asks for the example. */
const searcher = (search: Request, { id }: Example): string => `// Written by lateforge: node query.mjs, as load.mjs
import { readFileSync } from 'node:fs'
${importing}

console.error('the first hit is to be document', ${JSON.stringify(id)})
console.log(JSON.stringify(${sending(search, contents(search))}))`
