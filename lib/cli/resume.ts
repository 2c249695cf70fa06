import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CheckpointError, ConfigError } from '../errors.js'
import { listCheckpoints } from '../train/checkpoint/checkpoint.js'
import { resolveConfig } from '../train/config/config.js'
import { follow } from './train.js'

/** `lateforge resume <run>` */
export async function resume(folder: string, options: { json?: boolean; quiet?: boolean }): Promise<void> {
  const file = join(folder, 'config.json')
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (cause) {
    throw new ConfigError('ERR_CONFIG', `${folder} is no folder of a run: it has no config.json`, { folder }, { cause })
  }
  let config: object
  try {
    config = JSON.parse(text)
  } catch (cause) {
    throw new ConfigError('ERR_CONFIG', `${file} is no JSON: ${(cause as Error).message}`, { file }, { cause })
  }
  // Models, sources and losses that were objects cannot be told from JSON.
  if (JSON.stringify(config).includes('{"object":'))
    throw new ConfigError(
      'ERR_CONFIG',
      `${folder} was started from TypeScript with objects in its config. Resume it there: train(config, { resume: 'auto' })`,
      { folder },
    )
  if ((await listCheckpoints(join(folder, 'checkpoints'))).length === 0)
    throw new CheckpointError('ERR_CHECKPOINT', `${folder} has no checkpoint yet. Start it again with train`, {
      folder,
    })
  await follow(
    resolveConfig({ ...config, out: folder }, () => file),
    'auto',
    options,
  )
}
