/** One rank of train.test.ts: a training whose config, data or weights differ between ranks. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { LateforgeError } from '../../lib/errors.js'
import { train } from '../../lib/train/loop/run.js'
import { tinyModel, tinyRun } from '../train/tiny.js'
import { group } from './rank.js'

const dir = process.argv[2]!
const { rank } = group

const kind = process.argv[3]! as 'seed' | 'data' | 'weights'
const shared = path.join(dir, 'pairs.jsonl')
const own = path.join(dir, kind, `${rank}`)
mkdirSync(own, { recursive: true })
const mine = path.join(own, 'pairs.jsonl')
if (rank === 1) writeFileSync(mine, readFileSync(shared, 'utf8').replaceAll('w1', 'w2'))
else copyFileSync(shared, mine)

const model = await tinyModel(kind === 'weights' && rank === 1 ? 2 : 1)
const data = kind === 'data' ? mine : shared
const phase = { name: 'one', loss: 'contrastive' as const, data, batch: 8, steps: 1, learningRate: 1e-3 }
const config = { ...tinyRun(dir, model, `run-${kind}`, [phase]), cacheDir: path.join(own, 'cache') }
try {
  await train({ ...config, seed: kind === 'seed' && rank === 2 ? 8 : 7 }, { group }).result
} catch (error) {
  const { code, message } = error as LateforgeError
  process.stdout.write(`${JSON.stringify({ rank, code, message })}\n`)
}
