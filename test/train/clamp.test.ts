/**
 * A model is trained with the score it is searched with: through `train`, against PyLate's losses (negatives clamped) and
 * sentence-transformers' (not); test/fixtures/mask has their steps, made by mask.py.
 */
import path from 'node:path'
import t from 'tap'
import { Colbert } from '../../lib/models/colbert.js'
import { memorySource } from '../../lib/train/index.js'
import { train } from '../../lib/train/loop/run.js'
import { fixtures, json } from '../models/fixture.js'
import { folder } from './tiny.js'

const about = json('mask', 'about.json')
const rows = memorySource('rows', about.rows)
const rule = (clampNegatives: boolean): 'zero' | 'exclude' => (clampNegatives ? 'zero' : 'exclude')

for (const clampNegatives of [true, false])
  for (const loss of ['contrastive', 'distillation'] as const)
    t.test(`${loss} with clampNegatives ${clampNegatives}`, async (t) => {
      const dir = folder(t)
      const model = await Colbert.load(path.join(fixtures, 'mask', 'model'), {
        recipe: { clampNegatives },
      })
      t.teardown(() => model.dispose())
      const run = train({
        model,
        out: path.join(dir, 'out'),
        cacheDir: path.join(dir, 'cache'),
        workers: 0,
        microBatchTokens: 100,
        phases: [
          {
            ...{ name: 'all', loss, data: [rows], batch: about.rows.length, steps: about.steps },
            ...{ learningRate: about.learningRate, schedule: 'constant', maxGradNorm: 0 },
            ...(loss === 'contrastive' ? { temperature: about.temperature } : { normalizeScores: false }),
          },
        ],
      })
      const losses: number[] = []
      for await (const event of run)
        if (event.type === 'step') {
          losses.push(event.loss)
          t.equal(
            event.temperature,
            loss === 'contrastive' ? about.temperature : 1,
            'the temperature in force is shown',
          )
        }
      await run.result
      const expected: number[] = about.losses[rule(clampNegatives)][loss]
      const other: number[] = about.losses[rule(!clampNegatives)][loss]
      t.equal(losses.length, about.steps)
      for (const [step, value] of losses.entries()) {
        const tolerance = step === 0 ? 1e-5 : 2e-4
        const want = expected[step]!
        t.ok(Math.abs(value - want) <= tolerance * (1 + want), `step ${step + 1}: ${value}, expected ${want}`)
      }
      t.ok(
        losses.some((value, step) => Math.abs(value - other[step]!) > 0.002),
        'the other rule is told apart',
      )
    })
