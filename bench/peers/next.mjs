// The route of examples/serve/next in a real Next: built, started, and asked as any server is.
//
// usage: node bench/peers/next.mjs FOLDER MODEL      after npm run setup
//   FOLDER  where `npm install next react react-dom` has run, its package.json without a "type" as of create-next-app; the example
//           and lateforge, as packed, are put there
//   MODEL   a folder of a model
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { Colbert } from 'lateforge'
import { createClient } from 'lateforge/client'

const [folder, modelDir] = process.argv.slice(2).map((name) => path.resolve(name))
const root = path.join(import.meta.dirname, '../..')
const port = 18_080
const url = `http://127.0.0.1:${port}`
const check = (what, holds) => {
  console.log(`${holds ? 'ok' : 'NOT OK'}  ${what}`)
  if (!holds) process.exitCode = 1
}

const [{ filename }] = JSON.parse(
  execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], { cwd: root }),
)
execFileSync('npm', ['install', '--ignore-scripts', '--no-save', `./${filename}`], { cwd: folder, stdio: 'inherit' })
cpSync(path.join(root, 'build/Release'), path.join(folder, 'node_modules/lateforge/build/Release'), { recursive: true })
for (const made of ['app', '.next']) rmSync(path.join(folder, made), { recursive: true, force: true })
cpSync(path.join(root, 'examples/serve/next'), folder, { recursive: true })

const env = { ...process.env, RETRIEVAL_MODEL: modelDir, NEXT_TELEMETRY_DISABLED: '1' }
const next = createRequire(path.join(folder, 'package.json')).resolve('next/dist/bin/next')
execFileSync(process.execPath, [next, 'build'], { cwd: folder, env, stdio: 'inherit' })
const server = spawn(process.execPath, [next, 'start', '-p', `${port}`], { cwd: folder, env, stdio: 'inherit' })
const exit = once(server, 'exit')
try {
  while (!(await fetch(`${url}/api/retrieval/ready`).catch(() => null))?.ok) {
    if (server.exitCode !== null) throw new Error('next has ended')
    await setTimeout(100)
  }
  const client = createClient(`${url}/api/retrieval`, { retries: 0 })
  const model = await Colbert.load(modelDir, { onNote: () => {} })
  const texts = ['late interaction keeps a vector for each token', 'oranges are rich in vitamin c']
  const refusal = (promise) =>
    promise.then(
      () => 'none',
      ({ details }) => `${details.status} ${details.reason}`,
    )
  const { hits } = await client.rank({ query: 'vitamin', texts })
  check("rank is the library's", isDeepStrictEqual(hits, await model.rank('vitamin', texts)))
  const { offsets } = await client.embed({ role: 'document', texts })
  check("embed has the library's rows", isDeepStrictEqual(offsets, [...(await model.encodeDocuments(texts)).offsets]))
  check('bad input: 400', (await refusal(client.rank({ query: 'vitamin', texts: [] }))) === '400 invalid')
  check('no index: 404', (await refusal(client.search({ queries: ['vitamin'] }))) === '404 index')
  check('nothing there: 404', (await fetch(`${url}/api/retrieval/nothing`)).status === 404)
  check('/health, with HEAD', (await fetch(`${url}/api/retrieval/health`, { method: 'HEAD' })).status === 200)
  const calls = Array.from({ length: 50 }, () => client.rank({ query: 'vitamin', texts }))
  check(
    '50 at once',
    (await Promise.all(calls)).every((answer) => isDeepStrictEqual(answer.hits, hits)),
  )
  const gone = new AbortController()
  const long = client.embed({ role: 'document', texts: new Array(1000).fill(texts.join(' ')) }, { signal: gone.signal })
  const left = refusal(long).catch(() => {})
  while ((await client.health()).inFlight === 0) await setTimeout(1)
  gone.abort()
  await left
  for (let tries = 0; tries < 200 && (await client.health()).inFlight > 0; tries++) await setTimeout(50)
  check('a client that leaves takes its work with it', (await client.health()).inFlight === 0)
  model.dispose()
} finally {
  server.kill('SIGTERM')
  await exit
}
