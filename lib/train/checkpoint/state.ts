import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CheckpointError, RecipeError, typed } from '../../errors.js'
import { writeAtomic } from '../../io/atomic.js'
import type { Colbert } from '../../models/colbert.js'
import type { TrainingRecord } from '../../models/options.js'
import type { Parameters } from '../../nn/parameters.js'
import { checkOptions, kind, object, required, whole } from '../../options.js'
import type { Tensor } from '../../tensor/tensor.js'
import { describeChange, recipeChanges } from '../../text/alignment.js'
import type { AdamW } from '../optim/adamw.js'
import { latestCheckpoint, listCheckpoints, verifyCheckpoint, writeCheckpoint } from './checkpoint.js'

/** What a training is made of: everything that its next step depends on besides the data. */
export interface TrainingState {
  /** The model. */
  model: Colbert
  /** Its optimiser. */
  opt: AdamW
  /** Steps done. */
  step: number
  /** Parameters beside the model's, by name, as a learned temperature. */
  parameters?: Readonly<Record<string, Parameters>>
  /** Anything else that JSON can hold. */
  extra?: unknown
  /** How the model was trained, for its card. */
  training?: TrainingRecord
}

const stateOptions = { model: object, opt: object, parameters: object, training: object }
const anything = kind('anything', () => true)

/**
 * Writes `dir/step-N`: the model in PyLate's layout, the optimiser's moments, and the rest. It appears whole or not at
 * all, whenever the process dies.
 * @returns its path
 * @throws CheckpointError ERR_CHECKPOINT when `dir/step-N` exists; FileError ERR_FILE when it cannot be written
 */
export async function saveState(dir: string, state: TrainingState): Promise<string> {
  checkOptions('saveState', state, { ...stateOptions, step: whole(0), extra: anything })
  for (const key of ['model', 'opt'] as const) required('saveState', key, state[key], object)
  required('saveState', 'step', state.step, whole(0))
  const written = writeCheckpoint(dir, state.step, async (folder) => {
    const { writeSafetensors } = await import('../../io/safetensors.js')
    await state.model.save(join(folder, 'model'), { training: state.training })
    const tensors: { name: string; tensor: Tensor }[] = [...state.opt.state()].map(([name, tensor]) => ({
      name,
      tensor,
    }))
    for (const [name, { values }] of Object.entries(state.parameters ?? {}))
      tensors.push({ name: `parameters.${name}`, tensor: values })
    const entries = []
    for (const { name, tensor } of tensors) entries.push({ name, shape: tensor.shape, data: await tensor.values() })
    await writeSafetensors(join(folder, 'optimizer.safetensors'), entries)
    const { step, extra = null } = state
    const file = { step, optimizerSteps: state.opt.stepCount, extra }
    await writeAtomic(join(folder, 'state.json'), [`${JSON.stringify(file)}\n`])
  })
  return written.catch((error) => {
    throw typed(error)
  })
}

/**
 * Puts a training back to where it was. `path` is a checkpoint (`…/step-N`) or a folder of them, of which the latest is
 * taken. The model must have the shape of the saved one and its recipe, of which lengths may differ.
 * @throws CheckpointError ERR_CHECKPOINT when there is none, it is damaged, or it belongs to another model; RecipeError
 *   ERR_RECIPE for a model that reads texts in another way than the saved one
 */
export async function loadState(
  path: string,
  training: Pick<TrainingState, 'model' | 'opt' | 'parameters'>,
): Promise<{ step: number; extra: unknown; path: string }> {
  checkOptions('loadState', training, stateOptions)
  for (const key of ['model', 'opt'] as const) required('loadState', key, training?.[key], object)
  const { model, opt, parameters = {} } = training
  const entries = await listCheckpoints(path)
  const entry = entries.length > 0 ? await latestCheckpoint(path) : null
  const folder = entry?.path ?? path
  if (!entry) await verifyCheckpoint(folder)
  const state = await readStateFile(folder)
  await readWeights(model, join(folder, 'model'), (saved) => takeRecipe(model, saved, folder))
  await readOptimizer(folder, state.optimizerSteps, opt, parameters)
  return { step: state.step, extra: state.extra, path: folder }
}

/** What is known of the recipe that the weights have learned comes with them. */
function takeRecipe(model: Colbert, saved: Colbert, folder: string): void {
  const problem = recipeChanges(saved.recipe, model.recipe)
  if (problem.length > 0)
    throw new RecipeError(
      'ERR_RECIPE',
      `${folder} was trained with another recipe:\n  ${problem.map((change) => describeChange(change)).join('\n  ')}\n` +
        `Give it a model of the same: Colbert.load('${join(folder, 'model')}')`,
      { changes: problem },
    )
  const { queryLength, documentLength } = model.recipe
  model.takeRecipe(saved)
  model.setRecipe({ queryLength, documentLength })
}

/** The newest checkpoint of a run's folder (or of a folder of checkpoints) that is intact, or null. */
export async function latest(out: string): Promise<string | null> {
  for (const root of [join(out, 'checkpoints'), out]) {
    const entry = await latestCheckpoint(root, () => {})
    if (entry) return entry.path
  }
  return null
}

export interface StateFile {
  step: number
  optimizerSteps: number
  extra: unknown
}

/** state.json of a checkpoint that was verified. */
export async function readStateFile(folder: string): Promise<StateFile> {
  try {
    return JSON.parse(await readFile(join(folder, 'state.json'), 'utf8'))
  } catch (cause) {
    throw new CheckpointError(
      'ERR_CHECKPOINT',
      `${folder} has no readable state.json: ${(cause as Error).message}`,
      { path: folder },
      { cause },
    )
  }
}

export async function readOptimizer(
  folder: string,
  steps: number,
  opt: AdamW,
  parameters: Readonly<Record<string, Parameters>>,
): Promise<void> {
  const { SafetensorsFile } = await import('../../io/safetensors.js')
  await using file = await SafetensorsFile.open(join(folder, 'optimizer.safetensors'))
  const read = (name: string): Promise<Float32Array | Float64Array> =>
    file.tensor(name).dtype === 'F64' ? file.numbers(name) : file.floats(name)
  const state = new Map<string, Float32Array | Float64Array>()
  for (const name of opt.state().keys()) if (file.has(name)) state.set(name, await read(name))
  opt.restore(state, steps)
  for (const [name, store] of Object.entries(parameters)) {
    if (!file.has(`parameters.${name}`))
      throw new CheckpointError('ERR_CHECKPOINT', `${folder} has no parameters "${name}"`, { path: folder, name })
    store.write(await read(`parameters.${name}`))
  }
}

/**
 * Writes the weights of a saved model over those of `model`, which must have the same shape.
 * @param then what else is to be taken from the saved model, before its weights are; it lives no longer than that
 */
export async function readWeights(
  model: Colbert,
  folder: string,
  then: (saved: Colbert) => void = () => {},
): Promise<void> {
  const { Colbert } = await import('../../models/colbert.js')
  const saved = await Colbert.load(folder, { device: model.device, precision: 'float32' })
  try {
    const shapeOf = ({ parameters }: Colbert): string =>
      JSON.stringify(parameters.entries.map(({ name, shape }) => [name, shape]))
    if (shapeOf(saved) !== shapeOf(model))
      throw new CheckpointError(
        'ERR_CHECKPOINT',
        `${folder} holds a model of another shape than the one that is trained. Give the model the run was started with`,
        { path: folder },
      )
    then(saved)
    model.parameters.write(await saved.parameters.values.values())
  } finally {
    saved.dispose()
  }
}
