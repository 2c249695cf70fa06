import { ConfigError } from '../../errors.js'
import type { HubOptions } from '../../hub/repository.js'
import { Colbert } from '../../models/colbert.js'
import { sumSquares } from '../../tensor/ops.gen.js'
import type { ResolvedPhase, ResolvedRun } from '../config/types.js'

interface OpenGuideOptions extends HubOptions {
  onNote: (message: string) => void
}

/** The model that guides a phase; `close` it. */
export interface OpenGuide {
  model: Colbert
  /** Σ of its squared weights: another model has another. */
  weights: number
  close(): void
}

/**
 * Opens the guide of a phase, on the device of the run.
 * @throws ConfigError ERR_CONFIG for a given model on another device; else as `Colbert.load`
 */
export async function openGuide(
  { device, precision }: Pick<ResolvedRun, 'device' | 'precision'>,
  { name, guide }: Pick<ResolvedPhase, 'name' | 'guide'>,
  trained: Colbert | null,
  options: OpenGuideOptions,
): Promise<OpenGuide> {
  const { model: given, dense, recipe } = guide!
  const load = { device, precision, dense, ...(recipe && { recipe }), ...options }
  const model = typeof given === 'string' ? await Colbert.load(given, load) : given
  const close = () => typeof given === 'string' && model.dispose()
  if (trained && (model === trained || model.device !== trained.device)) {
    close()
    throw new ConfigError(
      'ERR_CONFIG',
      `phase "${name}": ` +
        (model === trained
          ? 'the guide is the model that is trained; load it once more, as what it is now'
          : `the guide is on "${model.device.name}", the model on "${trained.device.name}"; load it there`),
      { phase: name },
    )
  }
  const squared = sumSquares(model.parameters.values)
  const weights = await squared.value()
  squared.dispose()
  return { model, weights, close }
}
