import { ArgumentError, typed } from '../errors.js'
import { parseModelName } from '../hub/name.js'
import type { PushOptions, PushResult } from '../hub/push.js'
import { checkOptions, checkPath, flag, func, signal, text } from '../options.js'

/**
 * Sends a model folder with its card (README.md) to the Hub, as one commit: `pushFolder('out/model', 'org/name')`. The
 * repository is made if it is not there. Weights go to its large-file storage; those it has are not sent again.
 * @throws FormatError ERR_FORMAT for a folder that is no complete model; HubError ERR_HUB: no token, not allowed,
 *   unreachable; ArgumentError ERR_ARGUMENT for a name without an owner, or an option that cannot be
 */
export async function pushFolder(folder: string, name: string, options: PushOptions = {}): Promise<PushResult> {
  checkPath('pushFolder', folder)
  checkOptions('pushFolder', options, {
    private: flag,
    revision: text,
    message: text,
    token: text,
    dryRun: flag,
    onProgress: func,
    signal,
  })
  const repository = parseModelName(name)
  if (!repository?.name.includes('/') || repository.revision !== undefined)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `"${name}" is no name of a model on the Hub with its owner, as org/name${repository?.revision === undefined ? '' : '; a branch is the option `revision`'}`,
      { name },
    )
  const { pushModel } = await import('./formats/push.js')
  return pushModel(folder, repository, options).catch((error) => {
    throw typed(error)
  })
}
