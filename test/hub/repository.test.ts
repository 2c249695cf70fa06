/** Repositories into the cache: what is fetched, where it lies, what goes wrong and how it goes on. */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { HubError } from '../../lib/errors.js'
import { type HubProgress, Repository } from '../../lib/hub/repository.js'
import type { HubSettings } from '../../lib/hub/settings.js'
import { ended, read } from '../command.js'
import { failure, filesOf, hub, variables } from './hub.js'

const model = { type: 'model', name: 'org/name' } as const
/** Large enough for several chunks. */
const weights = randomBytes(600_000)
const files = { 'config.json': '{}', 'a b/ü#?.json': '[1]', 'model.safetensors': weights, empty: '' }

async function fetchAll(settings: HubSettings, options: object = {}, name: object = model): Promise<string> {
  const repository = await Repository.open({ ...model, ...name }, { settings, ...options })
  return repository.fetch(repository.files.keys())
}

t.test('the layout of the cache', async (t) => {
  const { server, settings } = await hub(t)
  const commit = server.commit('models/org/name', files)
  server.pageSize = 2
  const told: HubProgress[] = []
  const folder = await fetchAll(settings, { onProgress: (progress: HubProgress) => told.push(progress) })
  const root = path.join(settings.cache, 'models--org--name')
  t.equal(folder, path.join(root, 'snapshots', commit))
  t.same(filesOf(folder), Object.fromEntries(Object.entries(files).map(([name, text]) => [name, Buffer.from(text)])))
  t.equal(readFileSync(path.join(root, 'refs/main'), 'utf8'), commit)
  t.match(readlinkSync(path.join(folder, 'model.safetensors')), /^\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/)
  t.match(readlinkSync(path.join(folder, 'a b/ü#?.json')), /^\.\.\/\.\.\/\.\.\/blobs\/[0-9a-f]{40}$/)
  t.equal(readdirSync(path.join(root, 'blobs')).length, 4, 'nothing unfinished')
  const kept = readdirSync(settings.cache, { recursive: true, encoding: 'utf8' })
  t.same(
    kept.filter((name) => name.endsWith('.lateforge')),
    [],
    'no lock; the folders of the locks stay or not, by which file was finished last',
  )
  const last = told.at(-1)!
  t.match(last, { stage: 'downloading', name: 'org/name', unit: 'bytes', whole: true, files: 4, filesDone: 4 })
  t.equal(last.done, last.total)
  t.equal(told.filter(({ whole }) => whole).length, 4)

  const before = server.received.length
  t.equal(await fetchAll(settings), folder)
  t.equal(server.received.length, before + 1, 'the second time main alone is looked up')
  t.equal(await fetchAll(settings, {}, { revision: commit }), folder)
  t.equal(server.received.length, before + 1, 'a commit needs no request')

  const newer = server.commit('models/org/name', { ...files, 'config.json': '{"new":1}' })
  server.commit('models/org/name', { 'config.json': 'a branch' }, { branch: 'v1/x' })
  t.equal(path.basename(await fetchAll(settings)), newer)
  t.equal(
    server.asked(/GET \/org\/name\/resolve\/.*safetensors/).length,
    1,
    'what has not changed is not fetched again',
  )
  const branch = await fetchAll(settings, {}, { revision: 'v1/x' })
  t.same(filesOf(branch), { 'config.json': Buffer.from('a branch') })
})

t.test('offline, and a Hub that is down', async (t) => {
  const { server, settings } = await hub(t)
  const offline = { ...settings, offline: true }
  const commit = server.commit('models/org/name', files)
  t.match(await failure(Repository.open(model, { settings: offline })), {
    code: 'ERR_HUB',
    message: /^model org\/name: HF_HUB_OFFLINE is set, and nothing of it is in .*hub\. Fetch it once/,
    details: { reason: 'offline' },
  })
  const some = await Repository.open(model, { settings })
  await some.fetch(['config.json'])
  const half = await Repository.open(model, { settings: offline })
  t.equal(half.listed, true)
  t.match(await failure(half.fetch(['config.json', 'model.safetensors', 'empty'])), {
    message: /lacks model\.safetensors, empty\. Fetch/,
    details: { reason: 'offline', missing: ['model.safetensors', 'empty'] },
  })
  const folder = await fetchAll(settings)
  const before = server.received.length
  t.equal(await fetchAll(offline), folder)
  t.equal(server.received.length, before)

  await server.stop()
  const warnings: Error[] = []
  const listen = (warning: Error) => warnings.push(warning)
  process.on('warning', listen)
  t.equal(await fetchAll(settings), folder, 'what is there is used')
  await sleep(0)
  process.off('warning', listen)
  t.match(warnings, [
    { code: 'LATEFORGE_HUB', message: new RegExp(`cannot be reached.*in the cache is used, commit ${commit}`) },
  ])
  t.match(await failure(fetchAll(settings, {}, { name: 'org/other' })), {
    message: /^model org\/other: 127\.0\.0\.1:\d+ cannot be reached: .*ECONNREFUSED/,
    details: { reason: 'unreachable' },
  })
})

t.test('a cache without lists, as older versions of huggingface_hub leave it', async (t) => {
  const { server, settings } = await hub(t)
  server.commit('models/org/name', files)
  const folder = await fetchAll(settings)
  rmSync(path.join(settings.cache, 'models--org--name/trees'), { recursive: true })
  const repository = await Repository.open(model, { settings: { ...settings, offline: true } })
  t.equal(repository.listed, false)
  t.same([...repository.files.keys()], ['a b/ü#?.json', 'config.json', 'empty', 'model.safetensors'])
  t.equal(await repository.fetch(['config.json']), folder)
})

t.test('without links', async (t) => {
  const { server, settings } = await hub(t, { symlinks: false })
  server.commit('models/org/name', files)
  const folder = await fetchAll(settings)
  t.ok(lstatSync(path.join(folder, 'model.safetensors')).isFile())
  t.same(filesOf(folder)['model.safetensors'], weights)
})

t.test('the token goes to the Hub alone', async (t) => {
  const { server, settings } = await hub(t)
  server.commit('models/org/name', files, { private: true })
  const refused = await failure(fetchAll(settings))
  t.match(refused, {
    message: /there is none at .*, or it is private.*set HF_TOKEN/,
    details: { reason: 'repository', status: 401 },
  })
  await fetchAll({ ...settings, token: server.token, tokenFrom: 'HF_TOKEN' })
  const tokens = (host: string) => [...new Set(server.received.filter((r) => r.host === host).map((r) => r.token))]
  t.same(tokens('hub'), [undefined, server.token])
  t.same(tokens('cdn'), [undefined])
  const wrong = await failure(
    fetchAll({ ...settings, cache: `${settings.cache}2`, token: 'hf_wrong', tokenFrom: 'HF_TOKEN' }),
  )
  t.match(wrong, {
    message: /the token of HF_TOKEN was not accepted: Invalid credentials.*settings\/tokens/,
    details: { reason: 'unauthorized' },
  })
  t.notMatch(JSON.stringify([wrong.message, wrong.details]), /hf_wrong/)
})

t.test('what is not there or not allowed', async (t) => {
  const { server, settings } = await hub(t)
  server.commit('models/org/name', files)
  server.commit('models/org/gated', files, { gated: true })
  const token = { ...settings, token: server.token, tokenFrom: '/home/token' }
  const cases: [() => Promise<unknown>, string, RegExp][] = [
    [
      () => fetchAll(settings, {}, { name: 'org/none' }),
      'repository',
      /^model org\/none: there is none at http.*Check the name/,
    ],
    [() => fetchAll(token, {}, { name: 'org/none' }), 'repository', /the token is that of \/home\/token/],
    [
      () => fetchAll(settings, {}, { revision: 'v9' }),
      'revision',
      /^model org\/name@v9: it has no revision "v9".*org\/name\/tree\/main/,
    ],
    [() => fetchAll(settings, {}, { name: 'org/gated' }), 'gated', /Ask for it at http.*org\/gated and set HF_TOKEN/],
    [() => fetchAll(token, {}, { name: 'org/gated' }), 'gated', /check whose token \/home\/token holds/],
    [() => Repository.open(model, { settings }).then((r) => r.fetch(['x.json'])), 'file', /it has no file x\.json/],
  ]
  for (const [work, reason, message] of cases) {
    const error = await failure(work())
    t.type(error, HubError)
    t.match(error, { code: 'ERR_HUB', message, details: { reason } })
  }
})

t.test('faults that pass', async (t) => {
  const { server, settings } = await hub(t)
  server.commit('models/org/name', files)
  const waits: string[] = []
  server.faults.push(
    { match: /\/api\/models/, status: 503 },
    { match: /\/api\/models/, status: 429, headers: { 'retry-after': '0' } },
    { match: /\/api\/models/, status: 429, headers: { ratelimit: '"api";r=0;t=0' } },
    { match: /\/tree\//, cutAfter: 10 },
    { match: /resolve.*config/, status: 500, times: 4 },
    { match: /resolve.*model/, status: 502 },
    { match: /^GET \/[0-9a-f]{64}/, cutAfter: 100_000 },
    { match: /^GET \/[0-9a-f]{64}/, cutAfter: 0 },
    { match: /^GET \/[0-9a-f]{64}/, cutAfter: 150_000, ignoreRange: true },
    { match: /^GET \/[0-9a-f]{64}/, silentMs: 400 },
  )
  const folder = await fetchAll(
    { ...settings, timeoutMs: 200 },
    { onProgress: ({ waiting }: HubProgress) => waiting && waits.push(waiting) },
  )
  t.same(filesOf(folder)['model.safetensors'], weights)
  t.same(server.faults, [])
  t.match(waits.join('\n'), /answered 503[\s\S]*answered 429[\s\S]*silent for 0\.2 s; once more in 1 s/)
  const ranges = server.asked(/^GET \/[0-9a-f]{64}/).map(({ range }) => range)
  t.equal(ranges[0], undefined)
  for (const range of ranges.slice(1)) t.match(range, /^bytes=[1-9]\d+-599999$/, 'it goes on')
})

t.test('faults that do not', async (t) => {
  const { server, settings } = await hub(t)
  server.commit('models/org/name', files)
  const always = async (fault: object, changes: Partial<HubSettings> = {}): Promise<HubError> => {
    server.faults.splice(0, server.faults.length, { match: /^GET \/([0-9a-f]{64}|api)/, times: 100, ...fault })
    return failure(fetchAll({ ...settings, ...changes }))
  }
  t.match(await always({ status: 500 }), {
    message: /127\.0\.0\.1:\d+ answered 500: a fault of the test/,
    details: { reason: 'server' },
  })
  t.match(await always({ status: 429 }), {
    message: /too many requests, 5 times in a row\. With a token/,
    details: { reason: 'rate-limit' },
  })
  t.match(await always({ status: 429, headers: { 'retry-after': '3600' } }), { message: /asks to wait 60 minutes/ })
  t.equal(server.asked(/api/).length, 11, 'such a long wait is not begun')
  t.match(await always({ status: 418 }), { message: /answered 418/, details: { reason: 'refused' } })
  server.faults.length = 0
  await (await Repository.open(model, { settings })).fetch(['config.json'])
  const blobs = path.join(settings.cache, 'models--org--name/blobs')
  const cdn = { match: /^GET \/[0-9a-f]{64}/ }
  t.match(await always({ ...cdn, cutAfter: 0 }), { message: /cannot be reached/, details: { reason: 'unreachable' } })
  t.match(await always({ ...cdn, status: 403 }), { details: { reason: 'forbidden', url: /^[^?]+$/ } }, 'no signature')
  t.match(await always({ ...cdn, silentMs: 150 }, { timeoutMs: 50 }), { message: /silent for 0\.05 s/ })
  t.match(await always({ ...cdn, wrong: true }), {
    message: /model\.safetensors did not arrive as it is at the Hub: its checksum is not [0-9a-f]{64}/,
    details: { reason: 'checksum', file: 'model.safetensors' },
  })
  t.notOk(
    readdirSync(blobs).some((name) => name.endsWith('.incomplete')),
    'nothing wrong is kept',
  )
  t.match(await always({ match: /resolve.*config/, wrong: true }, { cache: `${settings.cache}2` }), {
    details: { reason: 'checksum', file: 'config.json', expected: /^[0-9a-f]{40}$/ },
  })
})

t.test('names that would lead out of the cache', async (t) => {
  const { server, settings } = await hub(t)
  for (const name of ['../../escaped', 'a/../../../b', '/absolute', 'a//b']) {
    server.commit('models/org/name', { [name]: 'x' })
    t.match(await failure(fetchAll(settings)), { details: { reason: 'response' }, message: /the Hub lists a file/ })
  }
})

t.test('what was begun is gone on with, damaged or not', async (t) => {
  const { server, settings } = await hub(t)
  server.commit('models/org/name', { 'model.safetensors': weights })
  const folder = await fetchAll(settings)
  const [blob] = readdirSync(path.join(folder, '../../blobs'))
  const target = path.join(folder, '../../blobs', blob!)
  const again = async (begun: Buffer): Promise<number> => {
    rmSync(target)
    writeFileSync(`${target}.lateforge.incomplete`, begun)
    const before = server.sent(/^GET \/[0-9a-f]{64}/)
    await fetchAll(settings)
    t.same(readFileSync(path.join(folder, 'model.safetensors')), weights)
    return server.sent(/^GET \/[0-9a-f]{64}/) - before
  }
  t.equal(await again(weights.subarray(0, 400_000)), 200_000)
  t.equal(await again(weights), 0, 'whole, and not renamed yet')
  t.equal(await again(Buffer.alloc(400_000)), 800_000, 'wrong: the rest, then all of it')
  t.equal(await again(Buffer.alloc(700_000)), 600_000, 'too long')
  truncateSync(target, 5)
  await fetchAll(settings)
  t.equal(statSync(target).size, weights.length, 'a blob that was cut off')
})

t.test('a signal', async (t) => {
  const { server, settings } = await hub(t)
  server.commit('models/org/name', files)
  server.faults.push({ match: /^GET \/[0-9a-f]{64}/, chunk: 10_000, pauseMs: 20 })
  const controller = new AbortController()
  const onProgress = ({ file, bytes }: HubProgress) => {
    if (file === 'model.safetensors' && bytes! > 0) controller.abort()
  }
  t.match(await failure(fetchAll(settings, { signal: controller.signal, onProgress })), { code: 'ERR_ABORTED' })
  const folder = await fetchAll(settings)
  t.same(filesOf(folder)['model.safetensors'], weights)
  t.match(server.asked(/^GET \/[0-9a-f]{64}/)[1]!.range, /^bytes=[1-9]/)
  t.match(await failure(fetchAll(settings, { signal: AbortSignal.abort() })), { code: 'ERR_ABORTED' })
})

t.test('a disk that fills up', async (t) => {
  const { server, settings } = await hub(t)
  server.commit('models/org/name', { 'model.safetensors': weights })
  const repository = await Repository.open(model, { settings })
  const probe = await open(fileURLToPath(import.meta.url))
  const handle = Object.getPrototypeOf(probe) as { write: (...args: unknown[]) => Promise<unknown> }
  await probe.close()
  const { write } = handle
  t.teardown(() => {
    handle.write = write
  })
  handle.write = function (bytes, start, length, position) {
    if ((position as number) < 200_000) return write.call(this, bytes, start, length, position)
    const full = { code: 'ENOSPC', syscall: 'write' }
    return Promise.reject(Object.assign(new Error('ENOSPC: no space left on device, write'), full))
  }
  t.match(await failure(repository.fetch(['model.safetensors'])), {
    code: 'ERR_FILE',
    message: /no space left on device.*let HF_HUB_CACHE name.*is gone on with/,
    details: { code: 'ENOSPC' },
  })
  handle.write = write
  await repository.fetch(['model.safetensors'])
  t.same(filesOf(repository.folder)['model.safetensors'], weights)
  t.match(server.asked(/^GET \/[0-9a-f]{64}/)[1]!.range, /^bytes=2\d{5}-/)
})

t.test('more than the disk has room for', async (t) => {
  const { server, settings } = await hub(t)
  const commit = server.commit('models/org/name', { 'model.safetensors': weights })
  await Repository.open(model, { settings })
  const tree = path.join(settings.cache, 'models--org--name/trees', `${commit}.json`)
  writeFileSync(tree, readFileSync(tree, 'utf8').replaceAll('600000', `${2 ** 52}`))
  t.match(await failure(fetchAll(settings)), {
    code: 'ERR_FILE',
    message: /1 files of 4194304\.0 GiB do not fit into .*GiB free; free some space, or let HF_HUB_CACHE/,
    details: { code: 'ENOSPC' },
  })
  t.equal(server.asked(/resolve/).length, 0)
})

const child = (settings: HubSettings) =>
  spawn(process.execPath, [fileURLToPath(new URL('./child.js', import.meta.url)), 'org/name'], {
    env: { ...process.env, ...variables(settings) },
    stdio: ['ignore', 'pipe', 'pipe'],
  })

t.test('killed in the middle, and once more', async (t) => {
  const { server, settings } = await hub(t)
  server.commit('models/org/name', files)
  const blobs = path.join(settings.cache, 'models--org--name/blobs')
  const part = (): string | undefined =>
    existsSync(blobs) ? readdirSync(blobs).find((name) => name.endsWith('.incomplete')) : undefined
  for (const share of [0.2, 0.6]) {
    server.faults.push({ match: /^GET \/[0-9a-f]{64}/, chunk: 10_000, pauseMs: 20 })
    const process = child(settings)
    while (!part() || statSync(path.join(blobs, part()!)).size < share * weights.length) await sleep(5)
    process.kill('SIGKILL')
    await ended(process)
    t.ok(part(), 'what is there stays')
  }
  const process = child(settings)
  const said = read(process)
  t.equal(await ended(process), 0, said.err)
  t.same(readFileSync(path.join(said.out.trim(), 'model.safetensors')), weights)
  const asked = server.asked(/^GET \/[0-9a-f]{64}/)
  t.equal(asked.length, 3)
  const begins = asked.map(({ range }) => Number(/^bytes=(\d+)/.exec(range ?? 'bytes=0')![1]))
  t.equal(asked[2]!.sent, weights.length - begins[2]!, 'the rest alone is sent')
  t.ok(begins[1]! > 0.19 * weights.length && begins[2]! > 0.59 * weights.length, begins.join())
})

t.test('several processes at once', async (t) => {
  const { server, settings } = await hub(t)
  server.commit('models/org/name', files)
  server.faults.push({ match: /^GET \/[0-9a-f]{64}/, chunk: 50_000, pauseMs: 50 })
  const outcomes = await Promise.all(
    [1, 2, 3].map(async () => {
      const process = child(settings)
      const said = read(process)
      return [await ended(process), said.out, said.err]
    }),
  )
  for (const outcome of outcomes) t.same(outcome, [0, outcomes[0]![1], ''])
  t.equal(server.sent(/^GET \/[0-9a-f]{64}/), weights.length, 'one of them fetched it')
})
