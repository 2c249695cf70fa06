/** Everything about a run that can be known before its first step. */
import { constants } from 'node:fs'
import { access, stat, statfs } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { FileError, type LateforgeError } from '../../errors.js'
import type { HubOptions } from '../../hub/repository.js'
import { Colbert } from '../../models/colbert.js'
import { checkReplaceable } from '../../models/formats/save.js'
import { acceptedChanges } from '../../text/alignment.js'
import type { Featurizer } from '../../text/featurizer.js'
import type { Recipe } from '../../text/recipe.js'
import { listCheckpoints } from '../checkpoint/checkpoint.js'
import { recipeOf } from '../config/recipe.js'
import type { ResolvedRun } from '../config/types.js'
import type { WarningEvent } from '../events.js'
import { checkPhase, type PhaseCheck, type PhaseContext } from './check-phase.js'
import type { Fault, Faults } from './faults.js'
import { gibibytes, graphBytesOfToken } from './memory.js'
import { noEffect } from './notes.js'

/** What `checkRun` found. */
export interface RunCheck {
  /** No fault was found. */
  ok: boolean
  /** What `train` would refuse the run for. */
  faults: Fault[]
  /** What `train` would warn of. */
  warnings: WarningEvent[]
  /** The run's folder. */
  out: {
    /** Its absolute path. */
    path: string
    /** Whether the folder is there, and the last step of an earlier run in it. */
    exists: boolean
    /** Last step of an earlier run in it, or null. */
    lastCheckpoint: number | null
    /** Free space of its file system. */
    freeBytes: number
  }
  /** The model; null where it could not be loaded. */
  model: {
    /** Number of parameters. */
    parameters: number
    /** Longest sequence, in tokens. */
    positions: number
    /** Dimension of a token embedding. */
    dim: number
    /** Name of its device. */
    device: string
    /** What it computes with. */
    precision: string
  } | null
  /** One per phase. */
  phases: PhaseCheck[]
}

/** How a run is checked. */
export interface CheckContext
  extends Pick<
    PhaseContext,
    'rows' | 'ranks' | 'signal' | 'onProgress' | 'onSurvey' | 'thorough' | 'leaks' | 'onMeasured'
  > {
  /** The first phase that is still to be trained. */
  first?: number
}

/** How a model is opened: as a folder of the run, or from where the config says. */
interface OpenModelOptions extends HubOptions {
  /** Folder of a checkpoint. */
  folder?: string | undefined
  onNote: (message: string) => void
}

/** The model that a run starts from, or goes on with from `folder`. */
export async function openModel(config: ResolvedRun, { folder, ...rest }: OpenModelOptions): Promise<Colbert> {
  const { model, freshProjection, dense, dim, head, precision, seed, recipe = {} } = config
  if (typeof model !== 'string') return model
  const options = { device: config.device, precision, dense, ...rest }
  if (folder !== undefined) return Colbert.load(folder, options)
  return Colbert.load(model, {
    ...options,
    recipe,
    acceptRecipeChange: config.acceptRecipeChange.filter((field) => field in recipe),
    ...(freshProjection && { freshProjection, dim, head, seed }),
  })
}

/** @param model null where it could not be had: then what depends on it is left out */
export async function checkPhases(
  config: ResolvedRun,
  model: Colbert | null,
  faults: Faults,
  context: CheckContext = {},
): Promise<RunCheck> {
  const { first = 0, ranks } = context
  const warnings: WarningEvent[] = []
  if (config.commDtype !== 'float32' && ranks === 1)
    warnings.push(noEffect('commDtype', 'one rank sends nothing', { key: 'commDtype' }))
  const out = await checkOut(config, model, faults, warnings)
  const graphBytes = model && graphBytesOfToken(model)
  const phases: PhaseCheck[] = []
  let recipe = model?.recipe
  /** What the weights have learned when a phase begins; null before anything was trained. */
  let trained = model?.trainedRecipe ?? null
  const accepted = new Set<string>(model?.recipeChanges.map(({ field }) => field))
  for (let index = first; index < config.phases.length; index++) {
    // Lengths and prompts stay as a phase set them.
    const next = recipe && { ...recipe, ...recipeOf(config.phases[index]!) }
    const featurizer = model && (await textRules(model, next!, index, config, faults))
    if (trained && next) {
      const unknown = index === first ? (model?.unknownRecipe ?? []) : []
      const [before, after] = [
        { ...trained, ...Object.fromEntries(unknown.map((field) => [field, next[field]])) },
        next,
      ]
      const changes = await faults.try(index, 'prompts', () =>
        acceptedChanges(
          index === first ? 'the model' : 'the model of the phase before',
          before,
          after,
          config.acceptRecipeChange,
        ),
      )
      for (const { field } of changes ?? []) accepted.add(field)
    }
    if (featurizer) trained = recipe = featurizer.recipe
    const leaks = context.leaks?.anew()
    phases.push(await checkPhase({ ...context, config, index, model, featurizer, graphBytes, faults, warnings, leaks }))
  }
  const idle = config.acceptRecipeChange.filter((field) => model && !accepted.has(field))
  if (idle.length > 0)
    warnings.push(noEffect('acceptRecipeChange', `${idle.join(', ')} stays as trained`, { key: 'acceptRecipeChange' }))
  return {
    ok: faults.list.length === 0,
    faults: faults.list,
    warnings,
    out,
    model: model && {
      parameters: model.parameters.count,
      positions: model.positions,
      dim: model.dim,
      device: model.device.name,
      precision: model.precision,
    },
    phases,
  }
}

/** The text rules of a phase, or null where they are none. */
async function textRules(
  model: Colbert,
  recipe: Recipe,
  index: number,
  config: ResolvedRun,
  faults: Faults,
): Promise<Featurizer | null> {
  const { prompts } = config.phases[index]!
  const before = faults.list.length
  for (const key of ['queryLength', 'documentLength'] as const)
    if (recipe[key] > model.positions)
      faults.add(index, key, 'ERR_RECIPE', `${recipe[key]} tokens, but the model's positions end at ${model.positions}`)
  if (faults.list.length > before) return null
  const tooShort = ({ details }: LateforgeError): string => `${details.role}Length`
  const featurizer = await faults.try(index, tooShort, () => model.featurizerWith(recipe))
  if (!featurizer) return null
  for (const role of ['query', 'document'] as const) {
    const limit = featurizer.recipe[`${role}Length`]
    if (prompts?.[role] && featurizer.features('', role).ids.length >= limit)
      faults.add(index, `prompts.${role}`, 'ERR_RECIPE', `the prompt fills all of ${role}Length ${limit}; no text fits`)
  }
  return featurizer
}

/** Whether the run's folder can be written, all of it. */
async function checkOut(
  config: ResolvedRun,
  model: Colbert | null,
  faults: Faults,
  warnings: WarningEvent[],
): Promise<RunCheck['out']> {
  const path = resolve(config.out)
  const exists = await isThere(path)
  let holder = path
  while (!(await isThere(holder))) holder = dirname(holder)
  const writable = await faults.try(null, 'out', async () => {
    const folder = (await stat(holder)).isDirectory()
    if (!folder) throw new FileError('ERR_FILE', `ENOTDIR: ${holder} is a file, so ${path} cannot be a folder in it`)
    await access(holder, constants.W_OK | constants.X_OK)
    return true
  })
  if (!writable) return { path, exists, lastCheckpoint: null, freeBytes: 0 }
  await faults.try(null, 'out', () => checkReplaceable(join(path, 'model')))
  const folders = ['checkpoints', 'evaluations', 'tensorboard']
  for (const name of [...folders, 'config.json', 'origins.json', 'check.json', 'events.ndjson'])
    if ((await isThere(join(path, name))) && (await stat(join(path, name))).isDirectory() !== folders.includes(name))
      faults.add(null, 'out', 'ERR_FILE', `${join(path, name)} is in the way: the run writes its own`)
  const checkpoints = await faults.try(null, 'out', () => listCheckpoints(join(path, 'checkpoints')))
  const { bavail, bsize } = await statfs(holder)
  const freeBytes = bavail * bsize
  const needed = model ? 3 * 4 * model.parameters.count : 0 // values and two moments, float32
  if (freeBytes < 2 * needed)
    warnings.push({
      type: 'warning',
      code: 'disk-space',
      message: `${holder} has ${gibibytes(freeBytes)} GiB free; a checkpoint has ${gibibytes(needed)}, and there are two at times`,
      details: { path: holder, freeBytes, checkpointBytes: needed },
    })
  return { path, exists, lastCheckpoint: checkpoints?.at(-1)?.step ?? null, freeBytes }
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    (error) => error.code !== 'ENOENT' && error.code !== 'ENOTDIR',
  )
