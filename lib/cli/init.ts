import { existsSync } from 'node:fs'
import { stringify } from 'yaml'
import { ArgumentError, didYouMean, FileError } from '../errors.js'
import { writeAtomic } from '../io/atomic.js'
import { includes } from '../train/config/losses.js'
import { type Preset, presets } from '../train/config/presets.js'
import { print, printJson } from './common.js'

/** What the settings of a preset mean, in a few words; docs/guides/train.md has all of them. */
const comments: Readonly<Record<string, string>> = {
  loss: 'contrastive, distillation or margin-mse; or several with weights',
  batch: 'queries of a step, over all devices',
  negatives: 'at most so many documents beside the positive, from the front of a row; 0: those of other queries alone',
  sampleNegatives: 'of them, drawn anew at each step',
  dropAbove: "before both: negatives are left out whose stored score is so many times the positive's, or more",
  epochs: 'passes over the data; or steps',
  steps: 'or epochs',
  learningRate: 'peak of AdamW',
  schedule: 'linear (to 0), cosine or constant',
  scheduleSteps: 'where the schedule comes to 0; the phase stops before',
  warmup: 'steps, or below 1 a share of the schedule',
  weightDecay: 'of matrices only',
  maxGradNorm: 'larger gradients are scaled down to it; 0: none are',
  scores: "MaxSim as the sum over a query's tokens, or as their mean",
  temperature: 'scores are divided by it',
  studentTemperature: "the student's scores, in distillation",
  teacherTemperature: "the teacher's",
  normalizeScores: "true: the student's scores are scaled to 0 to 1 within each query",
  gather: "on several ranks: which side travels; none: a query sees its own rank's documents",
  sampling: 'proportional to rows, or to a power of them',
  smallSources: 'wrap: one with fewer rows than a batch repeats them',
  gradientScale: 'mean: of the mean loss; pylate, pylate-contrastive: as PyLate scales it',
  queryLength: 'most tokens of a query, with markers and prompt; it is filled up to them',
  documentLength: 'most tokens of a document',
  prompts: 'text before every text; a model goes on with those it was trained with',
  checkpoint: 'every so many steps',
}

/** What the data of a loss is. */
function dataOf(phase: Preset['phases'][number]): string {
  if (includes(phase.loss, 'distillation')) return 'query, documents and scores of a teacher; or ids with tables'
  if (phase.dropAbove !== undefined) return 'query, positive, negatives and their scores; or ids with tables'
  return phase.negatives === 0 ? 'pairs: query, document' : 'query, positive, negatives'
}

/** `lateforge init [preset] [file]`: a config to fill in. Without a preset, what there is. */
export async function init(
  name: string | undefined,
  file: string | undefined,
  { json }: { json?: boolean },
): Promise<void> {
  if (name === undefined && json) return printJson([...presets].map(([each, { about }]) => ({ name: each, about })))
  if (name === undefined) return print([...presets].map(([each, { about }]) => `${each}\n  ${about[0]}`).join('\n'))
  const preset = presets.get(name)
  if (!preset)
    throw new ArgumentError('ERR_ARGUMENT', `there is no preset "${name}"; ${didYouMean(name, presets.keys())}`, {
      name,
    })
  const text = configOf(name, preset)
  if (file === '-') return json ? printJson({ preset: name, text }) : print(text)
  const target = file ?? `${name}.yaml`
  if (existsSync(target))
    throw new FileError('ERR_FILE', `${target} is there already; name another file, or - for standard output`, {
      path: target,
    })
  await writeAtomic(target, [text])
  if (json) return printJson({ preset: name, file: target })
  print(`${target}: set model and data, then lateforge check ${target}`)
}

/** The preset as a config, every setting written out, with what it means. */
function configOf(name: string, { about, model, freshProjection, head, recipe, phases }: Preset): string {
  const lines = [
    ...[`${name}, a preset of lateforge`, ...about].flatMap((sentence) => wrapped(sentence)),
    '',
    `model: ${model} # a folder, or a name on the Hub`,
    ...(freshProjection
      ? ['freshProjection: true # the model is an encoder; it gets a new projection to 128 dimensions']
      : []),
    ...(head ? [`${flow({ head })} # its layers`] : []),
    ...(recipe ? [`${flow({ recipe })} # how texts become tokens`] : []),
    `out: runs/${name} # checkpoints, log, and at the end the model`,
    'seed: 42',
    'phases:',
  ]
  for (const phase of phases) {
    const { name: title, ...settings } = phase
    lines.push(`  - name: ${title}`, `    data: data/${title}/*.parquet # ${dataOf(phase)}; docs/guides/data.md`)
    for (const [key, value] of Object.entries(settings)) {
      lines.push(`    ${flow({ [key]: value })}${comments[key] ? ` # ${comments[key]}` : ''}`)
    }
    lines.push('    # evaluate: nanobeir # or { data: a BEIR folder, every: steps }: the best checkpoint is kept')
  }
  return `${lines.join('\n')}\n`
}

/** `key: value` in one line. */
function flow(setting: Record<string, unknown>): string {
  return stringify(setting, { flowCollectionPadding: true, collectionStyle: 'flow', lineWidth: 0 })
    .trim()
    .replace(/^\{\s*/, '')
    .replace(/\s*\}$/, '')
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
