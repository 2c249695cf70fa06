// `lateforge serve` under load, in a process of its own: as many callers at once as asked for, then three times what it can take
// for a minute. Every answer is compared with the library's. Prints one JSON object.
//
// usage: node bench/serve.mjs [MODEL] [--concurrent 2000] [--seconds 60] [--max-requests 256]      after npm run setup
//   MODEL a folder; default: random values, 4 layers of width 128. --max-requests: of the server in the second part.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import http from 'node:http'
import os from 'node:os'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Colbert, trainWordPiece } from 'lateforge'
import { Random } from '../dist/io/random.js'

const { values, positionals } = parseArgs({
  options: {
    concurrent: { type: 'string', default: '2000' },
    seconds: { type: 'string', default: '60' },
    'max-requests': { type: 'string', default: '256' },
  },
  allowPositionals: true,
})
const [concurrent, seconds] = [Number(values.concurrent), Number(values.seconds)]
const temporary = mkdtempSync(path.join(os.tmpdir(), 'lateforge-serve-'))
process.on('exit', () => rmSync(temporary, { recursive: true, force: true }))
const random = new Random(1)
const words = Array.from({ length: 2000 }, (_, i) => (i * 7919).toString(36))
const phrase = (length) => Array.from({ length }, () => words[random.integer(words.length)]).join(' ')

async function madeModel() {
  const tokenizer = await trainWordPiece(
    Array.from({ length: 2000 }, () => phrase(10)),
    { vocabSize: 4000 },
  )
  const shape = { architecture: 'modernbert', layers: 4, width: 128, heads: 2, dim: 64, tokenizer }
  const made = await Colbert.create(shape, { seed: 1 })
  await made.save(path.join(temporary, 'model'))
  made.dispose()
  return path.join(temporary, 'model')
}

const folder = positionals[0] ?? (await madeModel())
const model = await Colbert.load(folder, { onNote: () => {} })
const requests = []
for (let i = 0; i < 64; i++) {
  const [query, texts] = [phrase(4), Array.from({ length: 4 }, () => phrase(5 + random.integer(30)))]
  const body = JSON.stringify({ query, texts })
  requests.push({ body, expected: JSON.stringify(await model.rank(query, texts)) })
}
model.dispose()

async function started(...args) {
  const command = ['dist/cli/main.js', 'serve', folder, '--port', '0', '--json', ...args]
  const child = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data')
  return { child, url: JSON.parse(line).url }
}

// Connections stay, as those of a proxy do: Node takes one new one each time that its loop comes round.
const most = Number.POSITIVE_INFINITY
const agent = new http.Agent({ keepAlive: true, maxSockets: most, maxFreeSockets: most })

/** One request: when its answer was there, and what it was. */
function ask(url, { body, expected }) {
  const from = performance.now()
  return new Promise((resolve) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    const request = http.request(`${url}/v1/rank`, { method: 'POST', agent, headers }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part) => (text += part))
      response.on('end', () => {
        const { statusCode } = response
        const right = statusCode !== 200 || JSON.stringify(JSON.parse(text).hits) === expected
        const tells = statusCode === 200 || Number(response.headers['retry-after']) >= 1
        resolve({ status: statusCode, right: right && tells, took: performance.now() - from })
      })
    })
    request.on('error', (error) => resolve({ status: error.code, right: true, took: performance.now() - from }))
    request.end(body)
  })
}

const at = (sorted, share) => Number((sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN).toFixed(1))
const spread = (list) => {
  const sorted = [...list].sort((a, b) => a - b)
  return { p50: at(sorted, 0.5), p99: at(sorted, 0.99), worst: at(sorted, 1) }
}

function summary(answers, from) {
  const by = (which) => answers.filter(({ status }) => which(status))
  const [served, refused] = [by((s) => s === 200), by((s) => s === 429)]
  const took = (performance.now() - from) / 1000
  return {
    ...{ sent: answers.length, answered: served.length, refused: refused.length },
    lost: answers.length - served.length - refused.length,
    wrong: answers.filter(({ right }) => !right).length,
    perSecond: Number((served.length / took).toFixed(1)),
    answeredMs: spread(served.map(({ took }) => took)),
    ...(refused.length > 0 && { refusedMs: spread(refused.map(({ took }) => took)) }),
  }
}

/** Always so many under way. */
async function closed(url, total, width) {
  const answers = []
  const from = performance.now()
  let next = 0
  const caller = async () => {
    while (next < total) answers.push(await ask(url, requests[next++ % requests.length]))
  }
  await Promise.all(Array.from({ length: width }, caller))
  return summary(answers, from)
}

/** So many a second, whatever comes of them. */
async function open(url, rate, duration) {
  const under = []
  const from = performance.now()
  while (performance.now() - from < duration * 1000) {
    const due = Math.floor(((performance.now() - from) / 1000) * rate)
    while (under.length < due) under.push(ask(url, requests[under.length % requests.length]))
    await setTimeout(2)
  }
  return summary(await Promise.all(under), from)
}

/** Memory of the process, and how long `/health` takes, while something runs. */
async function watched(pid, url, work) {
  const [memory, health] = [[], []]
  let going = true
  const look = async () => {
    while (going) {
      const [, kilobytes] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
      memory.push(Math.round(Number(kilobytes) / 1024))
      const from = performance.now()
      await (await fetch(`${url}/health`)).arrayBuffer()
      health.push(performance.now() - from)
      await setTimeout(250)
    }
  }
  const looking = look()
  const result = await work()
  going = false
  await looking
  const quarter = Math.ceil(memory.length / 4)
  const mean = (list) => Math.round(list.reduce((sum, x) => sum + x, 0) / list.length)
  const residentMiB = {
    secondQuarter: mean(memory.slice(quarter, 2 * quarter)),
    lastQuarter: mean(memory.slice(-quarter)),
  }
  return { ...result, healthMs: spread(health), residentMiB: { ...residentMiB, most: Math.max(...memory) } }
}

async function stopped({ child }) {
  child.kill('SIGTERM')
  const [code] = await once(child, 'exit')
  return code
}

const many = await started('--max-queue-tokens', '1000000')
await closed(many.url, 500, 50) // warm
const concurrency = await watched(many.child.pid, many.url, () => closed(many.url, 1.5 * concurrent, concurrent))
const exits = [await stopped(many)]
const few = await started('--max-requests', values['max-requests'])
await closed(few.url, 500, 50)
const capacity = await closed(few.url, 1000, 128)
const rate = 3 * capacity.perSecond
await closed(few.url, 1000, 1000) // opens connections enough
const overload = await watched(few.child.pid, few.url, () => open(few.url, rate, seconds))
const after = await closed(few.url, 200, 10)
exits.push(await stopped(few))
const machine = `${os.cpus()[0].model.trim()}, ${os.availableParallelism()} cores, with the callers; load ${os.loadavg()[0].toFixed(1)}`
console.log(
  JSON.stringify(
    {
      ...{
        machine,
        node: process.version,
        model: positionals[0] ? path.basename(folder) : '4 layers of width 128, random',
      },
      concurrent: { callers: concurrent, ...concurrency },
      capacity,
      overload: {
        ratePerSecond: Number(rate.toFixed(1)),
        seconds,
        maxRequests: Number(values['max-requests']),
        ...overload,
      },
      ...{ after, exits },
    },
    null,
    2,
  ),
)
process.exit()
