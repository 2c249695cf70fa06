import { existsSync } from 'node:fs'
import { stringify } from 'yaml'
import { ArgumentError, didYouMean, FileError } from '../errors.js'
import { writeAtomic } from '../io/atomic.js'
import { type Preset, presets } from '../train/config/presets.js'
import { print } from './common.js'

/** What the settings of a preset mean, in a few words; docs/guides/train.md has all of them. */
const comments: Readonly<Record<string, string>> = {
  loss: 'contrastive, distillation or margin-mse',
  batch: 'queries of a step, over all devices',
  negatives: 'at most so many documents beside the positive, from the front of a row; 0: those of other queries alone',
  sampleNegatives: 'of them, drawn anew at each step',
  epochs: 'passes over the data; or steps',
  steps: 'or epochs',
  learningRate: 'peak of AdamW',
  schedule: 'linear (to 0), cosine or constant',
  warmup: 'steps, or below 1 a share of the phase',
  weightDecay: 'of matrices only',
  maxGradNorm: 'larger gradients are scaled down to it; 0: none are',
  temperature: 'scores are divided by it',
  gradientScale: 'mean: of the mean loss; pylate, pylate-contrastive: as PyLate scales it',
  queryLength: 'most tokens of a query, with markers and prompt; it is filled up to them',
  documentLength: 'most tokens of a document',
  prompts: 'text before every text; a model goes on with those it was trained with',
  checkpoint: 'every so many steps',
}

/** What the data of a loss is. */
function dataOf(phase: Preset['phases'][number]): string {
  if (phase.loss === 'distillation') return 'query, documents and scores of a teacher; or ids with tables'
  return phase.negatives === 0 ? 'pairs: query, document' : 'query, positive, negatives'
}

/** `lateforge init [preset] [file]`: a config to fill in. Without a preset, what there is. */
export async function init(name: string | undefined, file: string | undefined): Promise<void> {
  if (name === undefined) return print([...presets].map(([each, { about }]) => `${each}\n  ${about[0]}`).join('\n'))
  const preset = presets.get(name)
  if (!preset)
    throw new ArgumentError('ERR_ARGUMENT', `there is no preset "${name}"; ${didYouMean(name, presets.keys())}`, {
      name,
    })
  const text = configOf(name, preset)
  if (file === '-') return print(text)
  const target = file ?? `${name}.yaml`
  if (existsSync(target))
    throw new FileError('ERR_FILE', `${target} is there already; name another file, or - for standard output`, {
      path: target,
    })
  await writeAtomic(target, [text])
  print(`${target}: set model and data, then lateforge check ${target}`)
}

/** The preset as a config, every setting written out, with what it means. */
function configOf(name: string, { about, model, freshProjection, phases }: Preset): string {
  const lines = [
    ...[`${name}, a preset of lateforge`, ...about].flatMap((sentence) => wrapped(sentence)),
    '',
    `model: ${model} # a folder, or a name on the Hub`,
    ...(freshProjection
      ? ['freshProjection: true # the model is an encoder; it gets a new projection to 128 dimensions']
      : []),
    `out: runs/${name} # checkpoints, log, and at the end the model`,
    'seed: 42',
    'phases:',
  ]
  for (const phase of phases) {
    const { name: title, ...settings } = phase
    lines.push(`  - name: ${title}`, `    data: data/${title}/*.parquet # ${dataOf(phase)}; docs/guides/data.md`)
    for (const [key, value] of Object.entries(settings)) {
      const written = stringify({ [key]: value }, { flowCollectionPadding: true, collectionStyle: 'flow' })
      const inner = written
        .trim()
        .replace(/^\{\s*/, '')
        .replace(/\s*\}$/, '')
      lines.push(`    ${inner}${comments[key] ? ` # ${comments[key]}` : ''}`)
    }
    lines.push('    # evaluate: nanobeir # or { data: a BEIR folder, every: steps }: the best checkpoint is kept')
  }
  return `${lines.join('\n')}\n`
}

/** Comment lines of at most 100 letters. */
function wrapped(sentence: string): string[] {
  const lines = ['#']
  for (const word of sentence.split(' ')) {
    if (`${lines.at(-1)} ${word}`.length > 100) lines.push('#')
    lines[lines.length - 1] += ` ${word}`
  }
  return lines
}
