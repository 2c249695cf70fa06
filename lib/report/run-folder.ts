/** What the folder of a run holds, for whoever looks at it from outside. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CheckpointError, DataError } from '../errors.js'
import { listCheckpoints } from '../train/checkpoint/checkpoint.js'

/** A config as a run's folder has it; of a run of an earlier version not all need be there. */
export interface StoredConfig extends Record<string, unknown> {
  /** Its phases. */
  phases: Record<string, unknown>[]
}

/** The config of a run, or null where the folder is none of a run. @throws DataError ERR_DATA for a damaged one */
export async function storedConfig(folder: string): Promise<StoredConfig | null> {
  const file = join(folder, 'config.json')
  if (!existsSync(file)) return null
  const config = await readJson<Partial<StoredConfig>>(file)
  return Array.isArray(config?.phases) ? (config as StoredConfig) : null
}

/** @throws DataError ERR_DATA for what is no JSON */
export async function readJson<T>(file: string): Promise<T> {
  try {
    return JSON.parse(await readFile(file, 'utf8'))
  } catch (cause) {
    throw new DataError('ERR_DATA', `${file} cannot be read: ${(cause as Error).message}`, { file }, { cause })
  }
}

/**
 * The model of a run: the trained one, or that of its newest checkpoint; null where the folder is none of a run.
 * @throws CheckpointError ERR_CHECKPOINT for a run that has saved nothing yet
 */
export async function trainedModel(folder: string): Promise<string | null> {
  if (!(await storedConfig(folder))) return null
  const trained = join(folder, 'model')
  if (existsSync(trained)) return trained
  const newest = (await listCheckpoints(join(folder, 'checkpoints'))).at(-1)
  if (newest) return join(newest.path, 'model')
  throw new CheckpointError(
    'ERR_CHECKPOINT',
    `${folder} is a run that has saved no model yet; wait for its first checkpoint`,
    {
      folder,
    },
  )
}
