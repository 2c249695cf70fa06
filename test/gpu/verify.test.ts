/** The check for a GPU machine: what it says without one, and its stages in the host emulation. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { gpu } from '../tensor/gpu.js'

function verify(folder: string, stages: string, device = 'cuda') {
  const { status, stdout } = spawnSync(
    process.execPath,
    ['build/js/test/gpu/verify.js', '--out', folder, '--only', stages],
    {
      encoding: 'utf8',
      env: { ...process.env, LATEFORGE_VERIFY_DEVICE: device },
    },
  )
  const read = (name: string) => JSON.parse(readFileSync(path.join(folder, `${name}.json`), 'utf8'))
  return { status, stdout, read }
}

t.test('without a GPU every stage says so', { skip: gpu().device ? 'there is one' : false }, async (t) => {
  const { status, stdout, read } = verify(t.testdir({}), 'device,ops')
  t.equal(status, 3)
  t.match(stdout, /^device +no GPU: 0 \(.+\)/m)
  t.match(stdout, /^ops +no GPU: 0 \(.+\)/m)
  t.same(read('verify').devices, 0)
  t.match(read('ops'), { ok: false, skipped: /^0 \(/ })
})

t.test('the stages in the host emulation', async (t) => {
  const { status, read } = verify(
    t.testdir({}),
    'device,stream,ops,scoring,largeBatches,trainingSpeed,demo',
    'cuda-host',
  )
  t.equal(status, 0)
  for (const name of ['device', 'stream', 'ops', 'scoring', 'largeBatches', 'trainingSpeed', 'demo'])
    t.equal(read(name).ok, true, name)
  t.equal(read('verify').target, 'cuda-host')
  t.ok(read('ops').results.length > 25)
  t.same(
    read('trainingSpeed').rows.map((row: { ours: { precision: string } }) => row.ours.precision),
    ['bfloat16', 'bfloat16', 'bfloat16'],
  )
})

t.test('a stage that fails is reported, and stops no other', async (t) => {
  const { status, read } = verify(t.testdir({}), 'gemm,stream', 'nowhere')
  t.equal(status, 1)
  t.equal(read('gemm').ok, false)
  t.equal(read('stream').ok, false)
})
