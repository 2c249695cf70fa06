/** A run of three phases with an evaluation, of a tiny model and texts that would like to be more than text. */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { writeBeir } from '../../lib/eval/collections.js'
import { beirEvaluator } from '../../lib/eval/model.js'
import { train } from '../../lib/train/loop/run.js'
import { saveTinyModel, threePhases, tinyRun } from '../train/tiny.js'

/** Markup, a script, the other direction of writing, a control sequence of terminals, an emoji. */
export const hostile =
  '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 2"> \u202eevil שלום \u001b[31m 🎉'

/** Runs it in `dir`/`out`. */
export async function reportedRun(dir: string, out: string, seed = 7): Promise<string> {
  const model = path.join(dir, 'model')
  await saveTinyModel(model)
  const collection = path.join(dir, 'beir')
  await writeBeir(collection, {
    documents: Array.from({ length: 12 }, (_, i) => ({
      id: `d${i}`,
      text: i === 3 ? `w3 ${hostile}` : `w${i} w${i + 1} w${i + 2}`,
    })),
    queries: Array.from({ length: 6 }, (_, i) => ({
      id: `q${i}`,
      text: i === 3 ? `w3 ${hostile}` : `w${i} w${i + 1}`,
    })),
    qrels: { dev: new Map(Array.from({ length: 6 }, (_, i) => [`q${i}`, new Map([[`d${i}`, 1]])])) },
  })
  const evaluate = { every: 2, data: collection, split: 'dev' }
  const phases = threePhases(dir, 4, { evaluate })
  const pairs = phases[0]!.data as string
  const rows = readFileSync(pairs, 'utf8')
  writeFileSync(pairs, `${JSON.stringify({ query: `w1 ${hostile}`, document: `w1 ${hostile}` })}\n${rows}`)
  phases[1] = { ...phases[1]!, prompts: { query: 'w9 ' } }
  const config = { ...tinyRun(dir, model, out, phases), seed, acceptRecipeChange: ['queryPrompt' as const] }
  const run = train(config, { evaluate: await beirEvaluator(collection, { split: 'dev' }) })
  const { model: trained } = await run.result
  trained.dispose()
  return config.out
}

/** A line of a log for each of so many steps, as a run would write them. */
export function stepLines(count: number, first = 1): string {
  const lines: string[] = []
  for (let step = first; step < first + count; step++)
    lines.push(
      JSON.stringify({
        time: '2026-11-30T00:00:00.000Z',
        type: 'step',
        phase: 'one',
        step,
        globalStep: step,
        steps: 100_000,
        loss: step === 54_321 ? 99 : 1 + 10 / step + Math.sin(step) / 10,
        learningRate: 1e-3 * (1 - step / 200_000),
        gradientNorm: 1 + Math.abs(Math.cos(step)),
        temperature: 0.05,
        tokens: 4096,
        tokensPerSecond: 1000 + (step % 7),
        dataWaitMs: step % 3,
        memory: 2 ** 30,
        etaSeconds: 1,
        source: step % 2 ? 'pairs' : 'more',
      }),
    )
  return `${lines.join('\n')}\n`
}
