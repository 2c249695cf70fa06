/** A rank is lost while another one has reads under way: each of these is caught, and the end is the group's. */
import path from 'node:path'
import t from 'tap'
import { folder, saveTinyModel } from '../train/tiny.js'
import { mpirun, withoutRanks } from './launch.js'

t.test('under a learned temperature: ERR_GROUP and exit code 9', { skip: withoutRanks }, async (t) => {
  const dir = folder(t)
  await saveTinyModel(path.join(dir, 'base'))
  const { status, stdout, stderr } = mpirun(2, 'lost', [dir], 60, { LATEFORGE_RANK_SILENCE: '2' })
  t.equal(stdout.trim(), 'caught ERR_GROUP', stderr)
  t.equal(status, 9)
})
