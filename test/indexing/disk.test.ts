/** A disk that is full, and folders that may only be read: typed errors, and the index as it was. */
import { spawnSync } from 'node:child_process'
import { chmodSync, readdirSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { Index } from '../../lib/indexing/index.js'

const program = path.join(import.meta.dirname, 'refusing.js')
const temporary = t.testdir()
const ids = Array.from({ length: 50 }, (_, i) => `d${i}`)

async function made(name: string): Promise<string> {
  const dir = path.join(temporary, name)
  const index = await Index.create(dir, { dim: 16 })
  const data = new Float32Array(50 * 4 * 16).fill(1)
  await index.addEmbeddings({ data, offsets: Array.from({ length: 51 }, (_, i) => 4 * i), dim: 16, ids })
  await index.delete(['d49'])
  await index.close()
  return dir
}

async function sound(t: Test, dir: string): Promise<void> {
  const index = await Index.open(dir)
  await index.verify()
  await index.close()
  t.notOk(
    readdirSync(dir).find((name) => name.endsWith('.tmp')),
    'nothing unfinished is left',
  )
}

t.test('no more space: what was kept before stays, and deleting goes on', async (t) => {
  const dir = await made('full')
  // No file may become larger than so many blocks of 512 bytes, which the system refuses as it refuses a full disk.
  const run = `trap '' XFSZ; ulimit -f 40; exec "$0" "$@"`
  const { stdout, status, stderr } = spawnSync('sh', ['-c', run, process.execPath, program, dir], { encoding: 'utf8' })
  t.equal(status, 0, stderr)
  const { errors, documents, hits } = JSON.parse(stdout)
  t.match(errors[0], /^ERR_FILE EFBIG: .* was not written: .*nothing of it is left behind/)
  t.equal(errors[1], null, 'deleting needs little')
  t.equal(documents, 48)
  t.equal(hits, 48)
  await sound(t, dir)
})

// The administrator may write everywhere: then it is another user who tries.
const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}
const sees = spawnSync('test', ['-r', program], user).status === 0
const skip = sees ? false : 'the user nobody cannot reach this folder'
t.test('a folder that may only be read is searched, and every change refused', { skip }, async (t) => {
  const dir = await made('readonly')
  chmodSync(dir, 0o555)
  const { stdout, status, stderr } = spawnSync(process.execPath, [program, dir], { encoding: 'utf8', ...user })
  chmodSync(dir, 0o755)
  t.equal(status, 0, stderr)
  const { errors, documents, hits } = JSON.parse(stdout)
  for (const error of errors) t.match(error, /^ERR_FILE EACCES: /)
  t.equal(documents, 49)
  t.equal(hits, 49)
  await sound(t, dir)
})
