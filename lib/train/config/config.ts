import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { z } from 'zod'
import { isObject, show } from '../../distributed/differences.js'
import { ConfigError, didYouMean, nearest } from '../../errors.js'
import { defaultPrecision, type Precision, precisions } from '../../tensor/device.js'
import { checkAccepted } from '../../text/alignment.js'
import { defaultRecipe } from '../../text/recipe.js'
import { schedules } from '../optim/schedule.js'
import { absolute, column, data, entry, paths, table } from './data.js'
import { gathers, includes, isOwn, lossNames, nameOf } from './losses.js'
import { type ConfigIssue, dotted, type Locate, locateIn, remember, rememberLayers } from './origins.js'
import { presets } from './presets.js'
import type { LossName, ResolvedPhase, ResolvedRun } from './types.js'

const count = z.int().min(1)
const positive = z.number().positive()
/** As the losses take it (`temperatures` of lib/losses); a learned one is clamped at `leastLearned`. */
const temperature = z.number().min(1e-30).max(1e30)
const leastLearned = 0.01

const isExpression = (text: string): boolean => {
  try {
    new RegExp(text)
    return true
  } catch {
    return false
  }
}

const isLossName = (value: unknown): boolean => (lossNames as readonly unknown[]).includes(value)
const loss = z.custom<ResolvedPhase['loss']>(
  (value) =>
    isLossName(value) ||
    (isObject(value) && typeof value.id === 'string' && typeof value.fn === 'function') ||
    (isObject(value) && Object.keys(value).length > 1 && Object.keys(value).every(isLossName) && areWeights(value)),
  {
    error:
      `expected ${lossNames.join(', ')}; two of them or more with weights, as { contrastive: 1, distillation: 1 }; or, ` +
      'from TypeScript, { id, fn }',
  },
)

/** Finite, ≥ 0, and not all of them 0. */
function areWeights(value: object): boolean {
  const weights = Object.values(value)
  return weights.every((weight) => Number.isFinite(weight) && weight >= 0) && weights.some((weight) => weight > 0)
}

const sampling = z.custom<ResolvedPhase['sampling']>(
  (value) =>
    value === 'proportional' ||
    (Array.isArray(value) && value.length > 0 && value.every((weight) => typeof weight === 'number' && weight >= 0)) ||
    (isObject(value) && Object.keys(value).join() === 'tempered' && typeof value.tempered === 'number'),
  { error: 'expected proportional, { tempered: exponent } or a list of weights' },
)

const evaluation = z.strictObject({
  every: count.optional(),
  metric: z.string().min(1).default('ndcg@10'),
  mode: z.enum(['max', 'min']).default('max'),
  patience: count.optional(),
  data: paths(
    z.union([z.string(), z.array(z.string()).min(1)], { error: 'expected a folder, a name, or a list of them' }),
  ).optional(),
  split: z.string().optional(),
})

/** Collections stand for an evaluation on them. */
const evaluate = z.preprocess(
  (value) => (typeof value === 'string' || Array.isArray(value) ? { data: value } : value),
  evaluation,
)

const checkpoint = z.strictObject({ every: count.default(500), keep: z.int().min(0).default(2) })

const card = z.strictObject({ samples: z.int().min(0).default(3) })

const model = z.custom<ResolvedRun['model']>(
  (value) => (typeof value === 'string' && value !== '') || (isObject(value) && typeof value.embed === 'function'),
  { error: 'expected a folder or, from TypeScript, a Colbert' },
)

const recipe = z.record(z.string(), z.unknown(), { error: 'expected fields of a recipe' })

const guide = z.strictObject({
  model: paths(model),
  dense: z.boolean().default(false),
  recipe: recipe.optional(),
  margin: z.number().default(0),
  relative: z.boolean().default(false),
})

const phase = z.strictObject({
  name: z.string().regex(/^[\w.-]+$/, { error: 'expected letters, digits, ".", "_" and "-"' }),
  loss,
  data,
  batch: count,
  negatives: z.int().min(0).optional(),
  sampleNegatives: count.optional(),
  dropAbove: positive.max(1e30).optional(),
  steps: count.optional(),
  epochs: positive.optional(),
  learningRate: positive,
  schedule: z.enum(schedules).default('linear'),
  scheduleSteps: count.optional(),
  warmup: z.number().min(0).default(0),
  scores: z.enum(['sum', 'mean']).optional(),
  temperature: temperature.default(1),
  learnableTemperature: z.boolean().default(false),
  studentTemperature: temperature.optional(),
  teacherTemperature: temperature.optional(),
  temperatureSquared: z.boolean().optional(),
  normalizeScores: z.boolean().default(true),
  maskDuplicates: z.boolean().default(true),
  symmetric: z.boolean().optional(),
  guide: guide.optional(),
  queryLength: count.optional(),
  documentLength: count.optional(),
  prompts: z.strictObject({ query: z.string().optional(), document: z.string().optional() }).optional(),
  sampling: sampling.default('proportional'),
  smallSources: z.enum(['refuse', 'wrap']).default('refuse'),
  freeze: z.array(z.string().refine(isExpression, { error: 'expected a regular expression' })).default([]),
  weightDecay: z.number().min(0).default(0),
  maxGradNorm: z.number().min(0).default(1),
  gradientScale: z
    .union([z.enum(['mean', 'pylate', 'pylate-contrastive']), positive], {
      error: 'expected mean, pylate, pylate-contrastive or a number > 0',
    })
    .default('mean'),
  gather: z.enum(['queries', 'documents', 'none']).default('queries'),
  start: z.enum(['last', 'best']).default('last'),
  evaluate: evaluate.optional(),
  checkpoint: checkpoint.prefault({}),
})

const headLayer = z.strictObject({
  out: z.int().min(8).multipleOf(8, { error: 'expected a multiple of 8' }),
  bias: z.boolean().optional(),
  activation: z.enum(['identity', 'gelu', 'relu', 'tanh', 'sigmoid', 'silu']).optional(),
  residual: z.boolean().optional(),
})

const run = z.strictObject({
  preset: z.string().optional(),
  model: paths(model),
  freshProjection: z.boolean().default(false),
  dense: z.boolean().default(false),
  dim: count.optional(),
  head: z.array(headLayer).min(1, { error: 'expected at least one layer' }).optional(),
  recipe: recipe.optional(),
  acceptRecipeChange: z.array(z.string(), { error: 'expected a list of fields of the recipe' }).default([]),
  out: paths(z.string().regex(/^[^\0]+$/, { error: 'expected the name of a folder' })),
  seed: z.int().min(0).default(42),
  device: z.string().default('cpu'),
  precision: z.enum(precisions).optional(),
  microBatchTokens: count.default(8192),
  activationMemory: z
    .union([z.literal('auto'), z.number().min(0)], { error: 'expected auto or a number of bytes' })
    .default('auto'),
  commDtype: z.enum(['float32', 'float16']).default('float32'),
  cacheDir: paths(z.string()).optional(),
  workers: z.int().min(0).optional(),
  card: card.prefault({}),
  phases: z.array(phase).min(1, { error: 'expected at least one phase' }),
})

/**
 * Checks a run and fills in what it leaves out.
 * @throws ConfigError ERR_CONFIG that lists every problem; `details.issues` has them one by one
 */
export function resolveConfig(config: unknown, locate: Locate = locateIn(config)): ResolvedRun {
  const merged = withPreset(config, locate)
  const parsed = run.safeParse(merged)
  const issues = parsed.success ? [] : parsed.error.issues.flatMap((issue) => issuesOf(issue, merged, locate))
  if (parsed.success) issues.push(...contradictions(parsed.data as ResolvedRun, locate))
  if (issues.length > 0) throw configError(issues)
  const { preset: _, phases, ...rest } = parsed.data as unknown as ResolvedRun & { preset?: string }
  const own = typeof rest.model === 'string' ? rest.precision : (rest.model.precision as Precision)
  const precision = own ?? defaultPrecision(rest.device)
  const resolved = { ...rest, precision, phases: phases.map(resolvePhase) }
  remember(resolved, locate)
  rememberLayers(resolved, { given: config, merged, preset: isObject(config) ? (config.preset as string) : undefined })
  return resolved
}

function resolvePhase(phase: ResolvedPhase): ResolvedPhase {
  const evaluate = phase.evaluate && { ...phase.evaluate, every: phase.evaluate.every ?? phase.checkpoint.every }
  const epochs = phase.steps === undefined ? (phase.epochs ?? 1) : undefined
  return { ...phase, epochs, evaluate }
}

/** Settings that only some losses read: their value without effect, whether one's own reads them, and those losses. */
const onlyFor: readonly (readonly [key: keyof ResolvedPhase, without: unknown, own: boolean, ...losses: LossName[]])[] =
  [
    ['temperature', 1, true, 'contrastive', 'distillation'],
    ['learnableTemperature', false, true, 'contrastive', 'distillation'],
    ['scores', undefined, false, 'contrastive', 'distillation', 'margin-mse'],
    ['studentTemperature', undefined, false, 'distillation'],
    ['teacherTemperature', undefined, false, 'distillation'],
    ['temperatureSquared', undefined, false, 'distillation'],
    ['normalizeScores', true, false, 'distillation'],
    ['maskDuplicates', true, false, 'contrastive'],
    ['symmetric', undefined, false, 'contrastive'],
    ['guide', undefined, false, 'contrastive'],
    ['gather', 'queries', true, 'contrastive'],
  ]

/** What the schema cannot say. */
function contradictions(config: ResolvedRun, locate: Locate): ConfigIssue[] {
  const issues: ConfigIssue[] = []
  const { model } = config
  if (typeof model !== 'string') {
    const made = 'belongs to a model that is read from a folder; this one is given as an object'
    for (const key of ['freshProjection', 'dense'] as const) if (config[key]) issues.push({ path: key, message: made })
    for (const key of ['dim', 'head'] as const) if (config[key] !== undefined) issues.push({ path: key, message: made })
    if (config.recipe !== undefined) issues.push({ path: 'recipe', message: `${made}. Call its setRecipe` })
    // `cuda` is another GPU on each rank of a machine, and then called cuda:1 and so on.
    const on = model.device?.name
    if (config.device !== 'cpu' && config.device !== on && config.device !== on?.split(':')[0])
      issues.push({ path: 'device', message: `is "${config.device}", but the model is on "${on}"` })
    if (model.precision === 'int8')
      issues.push({
        path: 'model',
        message: 'has the precision int8, which encodes only; load it as float32 to train it',
      })
    else if (config.precision !== undefined && config.precision !== model.precision)
      issues.push({ path: 'precision', message: `is "${config.precision}", but the model has "${model.precision}"` })
  } else if (config.precision === 'bfloat16' && defaultPrecision(config.device) !== 'bfloat16')
    issues.push({
      path: 'precision',
      message: `is "bfloat16", for which "${config.device}" has no kernels; leave it out, or train on a GPU`,
      where: locate(['precision']),
    })
  const { recipe = {}, acceptRecipeChange } = config
  const refusal = (check: () => unknown): string | null => {
    try {
      check()
      return null
    } catch (error) {
      return (error as Error).message
    }
  }
  const set = 'tokenizerHash' in recipe && "tokenizerHash is the tokenizer's; it cannot be set"
  const badRecipe = set || refusal(() => defaultRecipe(recipe))
  if (badRecipe) issues.push({ path: 'recipe', message: `is wrong: ${badRecipe}`, where: locate(['recipe']) })
  const badName = refusal(() => checkAccepted(acceptRecipeChange))
  if (badName) issues.push({ path: '', message: badName, where: locate(['acceptRecipeChange']) })
  for (const key of ['dim', 'head'] as const)
    if (typeof model === 'string' && config[key] !== undefined && !config.freshProjection)
      issues.push({
        path: key,
        message: 'has no effect without freshProjection: true; a projection that is there keeps its dimension',
        where: locate([key]),
      })
  if (config.dense && config.freshProjection)
    issues.push({
      path: 'dense',
      message: 'and freshProjection are two kinds of model, with one vector a text or one a token; give one of them',
      where: locate(['dense']),
    })
  if (config.dim !== undefined && config.head !== undefined)
    issues.push({
      path: 'dim',
      message: 'is what the last layer of head says; give one of them',
      where: locate(['dim']),
    })
  if (config.commDtype !== 'float32' && config.phases.every(({ loss, gather }) => !gathers(loss) || gather === 'none'))
    issues.push({
      path: 'commDtype',
      message: 'has no effect: in no phase do embeddings travel; leave it out',
      where: locate(['commDtype']),
    })
  const add = (i: number, key: keyof ResolvedPhase, message: string): void => {
    issues.push({ path: `phases[${i}].${key}`, message, where: locate(['phases', i, key]) })
  }
  for (const [i, phase] of config.phases.entries()) {
    if (config.phases.findIndex(({ name }) => name === phase.name) < i) add(i, 'name', `"${phase.name}" is taken`)
    if (phase.steps !== undefined && phase.epochs !== undefined) add(i, 'epochs', 'give steps or epochs, not both')
    if (phase.start === 'best' && !config.phases[i - 1]?.evaluate)
      add(i, 'start', 'best needs a phase before with `evaluate`')
    if (phase.learnableTemperature && phase.loss !== 'margin-mse' && phase.temperature < leastLearned)
      add(i, 'temperature', `is ${phase.temperature}, and one that is learned stays at ${leastLearned} and above`)
    if (phase.learnableTemperature && phase.temperatureSquared && phase.studentTemperature === undefined)
      add(i, 'temperatureSquared', 'is of a temperature that is given, and this one is learned; leave it out')
    const name = nameOf(phase.loss)
    for (const [key, without, own, ...losses] of onlyFor)
      if (phase[key] !== without && !includes(phase.loss, ...losses) && !(own && isOwn(phase.loss)))
        add(
          i,
          key,
          `has no effect on ${name}, only on ${losses.join(', ')}${own ? ', a loss of your own' : ''}; leave it out`,
        )
    if (
      phase.studentTemperature !== undefined &&
      includes(phase.loss, 'distillation') &&
      !includes(phase.loss, 'contrastive')
    )
      add(i, 'studentTemperature', 'is what temperature says where no contrastive loss is beside; give that')
    if (typeof phase.gradientScale === 'string' && phase.gradientScale !== 'mean' && name !== 'contrastive')
      add(i, 'gradientScale', `"${phase.gradientScale}" has no effect on ${name}, only on contrastive; leave it out`)
    if (phase.gradientScale === 'pylate-contrastive' && phase.gather === 'none')
      add(i, 'gradientScale', '"pylate-contrastive" is that of a loss that gathers, and gather is none; leave it out')
    if (phase.sampleNegatives !== undefined && phase.sampleNegatives >= (phase.negatives ?? Number.POSITIVE_INFINITY))
      add(
        i,
        'sampleNegatives',
        `is ${phase.sampleNegatives}, and has no effect where negatives: ${phase.negatives} leaves no more; take fewer, or ` +
          'leave one of them out',
      )
    if (phase.negatives === 0 && phase.dropAbove !== undefined)
      add(i, 'dropAbove', 'has no effect where negatives is 0; leave it out')
    if (phase.negatives === 0 && includes(phase.loss, 'distillation', 'margin-mse'))
      add(i, 'negatives', `is 0, and ${name} compares the documents of a query; ask for 1 at least, or leave it out`)
    if (phase.negatives === 0 && name === 'contrastive' && phase.batch === 1)
      add(i, 'batch', 'is 1 without negatives: there is nothing to tell the positive from')
    if (phase.smallSources === 'wrap' && includes(phase.loss, 'contrastive') && !phase.maskDuplicates)
      add(i, 'smallSources', 'wrap repeats rows in a batch, which are negatives of themselves without maskDuplicates')
    if (typeof phase.guide?.model === 'object' && (phase.guide.dense || phase.guide.recipe))
      add(i, 'guide', 'is given as an object; dense and recipe belong to one that is read from a folder')
    if (phase.guide?.relative && phase.guide.margin === 0)
      add(i, 'guide', 'is relative, which has no effect without a margin; give one (as 0.05), or leave it out')
    if (phase.scheduleSteps !== undefined && phase.schedule === 'constant')
      add(i, 'scheduleSteps', 'has no effect on a constant schedule, which comes down to nothing; leave it out')
    if (phase.steps !== undefined && phase.scheduleSteps !== undefined && phase.scheduleSteps < phase.steps)
      add(i, 'scheduleSteps', `is ${phase.scheduleSteps}, the phase has ${phase.steps} steps; take as many at least`)
    if (phase.steps !== undefined && phase.warmup > phase.steps)
      add(i, 'warmup', `is ${phase.warmup} steps, the phase has ${phase.steps}; take fewer, or a share (as 0.05)`)
  }
  return issues
}

function withPreset(config: unknown, locate: Locate): unknown {
  if (!isObject(config) || config.preset === undefined) return config
  const name = String(config.preset)
  const base = presets.get(name)
  if (!base) {
    const hint = nearest(name, presets.keys())
    const message = `unknown preset "${name}", ${didYouMean(name, presets.keys())}`
    throw configError([{ path: 'preset', message, where: locate(['preset']), ...(hint && { suggestion: hint }) }])
  }
  const own: unknown[] = Array.isArray(config.phases) ? config.phases : []
  if (own.length > base.phases.length)
    throw configError([
      {
        path: 'phases',
        message: `preset "${name}" has ${base.phases.length} phases, ${own.length} are given`,
        where: locate(['phases', base.phases.length]),
      },
    ])
  const phases = base.phases.map((phase, i) => {
    const given = own[i]
    if (!isObject(given)) return given === undefined || given === null ? phase : given
    const inherited: Record<string, unknown> = { ...phase }
    // The two ways to say how long exclude each other, so the one that is given replaces the preset's.
    if (given.steps !== undefined || given.epochs !== undefined)
      for (const key of ['steps', 'epochs']) delete inherited[key]
    for (const [key, value] of Object.entries(given))
      inherited[key] = mergeable(value) && mergeable(inherited[key]) ? { ...inherited[key], ...value } : value
    return inherited
  })
  // What belongs to a model that is read from a folder.
  const { head, recipe } = typeof config.model === 'string' ? base : ({} as typeof base)
  return {
    ...(head && config.freshProjection === true && config.dim === undefined && { head }),
    ...config,
    ...(recipe && { recipe: isObject(config.recipe) ? { ...recipe, ...config.recipe } : recipe }),
    phases,
  }
}

const mergeable = (value: unknown): value is object =>
  isObject(value) && !Array.isArray(value) && Object.getPrototypeOf(Object.getPrototypeOf(value) ?? {}) === null

function issuesOf(issue: z.core.$ZodIssue, config: unknown, locate: Locate): ConfigIssue[] {
  const path = issue.path as (string | number)[]
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => {
      const suggestion = nearest(key, keysAt(path))
      return {
        path: dotted(path),
        message: `unknown key "${key}", ${didYouMean(key, keysAt(path))}`,
        where: locate([...path, key], key),
        ...(suggestion && { suggestion }),
      }
    })
  const value = path.reduce<unknown>((at, part) => (isObject(at) ? at[part as string] : undefined), config)
  const expected = issue.message.replace(/^(Invalid input|Invalid option|Too small|Too big): /, '')
  const message =
    value === undefined
      ? `is missing; ${expected.replace(/, received undefined$/, '')}`
      : `is ${show(value)}; ${expected}`
  return [{ path: dotted(path), message, where: locate(path) }]
}

function keysAt(path: readonly (string | number)[]): string[] {
  const shapes: Record<string, object> = {
    '': run.shape,
    phases: phase.shape,
    evaluate: evaluation.shape,
    guide: guide.shape,
    checkpoint: checkpoint.shape,
    card: card.shape,
    prompts: { query: 0, document: 0 },
    data: entry.shape,
    columns: column.shape,
    queries: table.shape,
    documents: table.shape,
  }
  const name = path.filter((part) => typeof part === 'string').at(-1) ?? ''
  return Object.keys(shapes[name] ?? {})
}

export function configError(issues: readonly ConfigIssue[]): ConfigError {
  const lines = issues.map(({ path, message, where }) => {
    const text = [path, message].filter(Boolean).join(message.startsWith('unknown') ? ': ' : ' ')
    return where ? `${where}: ${text}` : text
  })
  return new ConfigError('ERR_CONFIG', lines.join('\n'), { issues })
}

/**
 * What decides the numbers of a run: not where it is written, what its card shows, what changes are let pass, which of
 * several GPUs it is on, nor how often it is looked at.
 */
export function decisive(config: ResolvedRun): Record<string, unknown> {
  const { device, phases, model: _, out: __, cacheDir: ___, workers: ____, card: _____, ...others } = config
  const { acceptRecipeChange: ______, ...rest } = others
  return {
    ...rest,
    device: device.split(':')[0],
    phases: phases.map(({ data: _, checkpoint: __, evaluate, loss, smallSources, guide, ...phase }) => ({
      ...phase,
      ...(smallSources !== 'refuse' && { smallSources }), // runs from before there was the setting go on
      loss: isOwn(loss) ? loss.id : loss,
      ...(guide && { guide: { ...guide, model: undefined } }), // which one it is, checkpoints remember by its weights
      // Not where its data is: a path may be written in several ways.
      ...(evaluate?.patience && { evaluate: { ...evaluate, data: undefined } }),
    })),
  }
}

export function fingerprint(config: ResolvedRun): string {
  return createHash('sha256')
    .update(JSON.stringify(sorted(decisive(config))))
    .digest('hex')
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (!isObject(value)) return value
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sorted(value[key])]),
  )
}

/** Absolute, where it is there or a pattern; else it is a name. */
const located = (path: string): string => (existsSync(path) || /[*?]/.test(path) ? resolve(path) : path)

const locatedAll = (paths: string | readonly string[]): string | string[] =>
  typeof paths === 'string' ? located(paths) : paths.map(located)

const plainModel = (model: ResolvedRun['model']) => (typeof model === 'string' ? located(model) : { object: 'Colbert' })

/**
 * The config as plain data, for `config.json` in the run's folder; objects become what stands for them, and paths absolute
 * ones, which mean the same wherever the run is resumed.
 */
export function plainConfig(config: ResolvedRun): Record<string, unknown> {
  const { model, out, cacheDir } = config
  return {
    ...config,
    model: plainModel(model),
    out: resolve(out),
    ...(cacheDir !== undefined && { cacheDir: resolve(cacheDir) }),
    phases: config.phases.map(({ evaluate, guide, ...phase }) => ({
      ...phase,
      loss: isOwn(phase.loss) ? { object: phase.loss.id } : phase.loss,
      data: phase.data.map(absolute),
      ...(guide && { guide: { ...guide, model: plainModel(guide.model) } }),
      ...(evaluate && {
        evaluate: { ...evaluate, ...(evaluate.data !== undefined && { data: locatedAll(evaluate.data) }) },
      }),
    })),
  }
}
