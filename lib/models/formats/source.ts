/** Where a model comes from: a folder, or a name on the Hub, of which only the files that are read are fetched. */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { ArgumentError, FormatError, HubError } from '../../errors.js'
import { atRevision, parseModelName } from '../../hub/name.js'
import { type HubOptions, Repository } from '../../hub/repository.js'
import { recoverFolder } from '../../io/atomic.js'
import { nearby } from '../../io/nearby.js'
import { modulePaths } from './folder.js'
import { type Layout, readLayout } from './layout.js'
import { onlyPickled, shardsIn } from './weights.js'

/** Options of `locateModel`. */
export interface ModelSourceOptions extends HubOptions {
  /** A branch, a tag or a commit of a model on the Hub. Default: that of the name, else `main`. */
  revision?: string | undefined
  /** Read an encoder as a dense model. */
  dense?: boolean | undefined
}

/** A model whose weights may still be at the Hub. */
export interface ModelSource {
  layout: Layout
  /** Has the weights in the layout's folders. */
  fetchWeights(): Promise<void>
}

/** What is read beside weights: settings, and the tokenizer. */
const small =
  /^(config\w*\.json|modules\.json|sentence_\w+_config\.json|artifact\.metadata|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json)$/

const weightFile = /^model(-\d+-of-\d+)?\.safetensors$|^model\.safetensors\.index\.json$/

/** Whether a file is a part of a model whose modules are in these folders. */
export function isModelFile(dirs: readonly string[], file: string): boolean {
  const name = path.posix.basename(file)
  const dir = file.slice(0, -name.length - 1)
  return dirs.includes(dir) && (small.test(name) || weightFile.test(name))
}

/**
 * The repository of a name, or null for a folder, which wins.
 * @throws FormatError ERR_FORMAT for a text that is neither; the others as `locateModel`
 */
async function repositoryOf(given: string, options: ModelSourceOptions): Promise<Repository | null> {
  await recoverFolder(given)
  const isThere = await stat(given).then(
    () => true,
    () => false,
  )
  const { revision, dense: _, ...hub } = options
  if (isThere && revision === undefined) return null
  if (isThere)
    throw new ArgumentError('ERR_ARGUMENT', `${given} is a folder, which has no revision "${revision}"; leave it out`, {
      revision,
    })
  const name = parseModelName(given)
  if (name === null) {
    const bare = given.replace(/^(hf:\/\/|https?:\/\/[^/]+\/)(models\/)?/i, '').replace(/\/$/, '')
    const hint = bare !== given && parseModelName(bare) ? ` (did you mean "${bare}"?)` : nearby(given)
    throw new FormatError(
      'ERR_FORMAT',
      `${given} is no folder, and no name on the Hub, which is org/name or org/name@revision${hint}`,
      { dir: given },
    )
  }
  return Repository.open(atRevision(name, revision), hub).catch((error) => {
    throw error instanceof HubError
      ? new HubError(error.code, `${given} is no folder${nearby(given)}; ${error.message}`, error.details, {
          cause: error.cause,
        })
      : error
  })
}

/** The folder of a tokenizer: of that name, or of a repository on the Hub. Errors as `locateModel`. */
export async function tokenizerFolder(given: string): Promise<string> {
  const repository = await repositoryOf(given, {})
  if (repository === null) return given
  return repository.fetch(
    [...repository.files.keys()].filter((file) => /^tokenizer|^special_tokens_map/.test(file) && small.test(file)),
  )
}

/**
 * A model folder, or a model on the Hub: `[org/]name[@revision]`. A folder that is there wins. Weights that cannot be read
 * (pickles) and layouts that are not known are refused before weights are fetched.
 * @throws FormatError ERR_FORMAT as `readLayout`, and for a text that is neither; ArgumentError ERR_ARGUMENT for a
 *   revision of a folder; HubError, FileError, AbortedError as `Repository`
 */
export async function locateModel(given: string, options: ModelSourceOptions = {}): Promise<ModelSource> {
  const repository = await repositoryOf(given, options)
  if (repository === null) return { layout: await readLayout(given, options.dense), fetchWeights: async () => {} }
  const folder = repository.folder
  const has = (file: string): boolean => repository.files.has(file)
  if (has('modules.json')) await repository.fetch(['modules.json'])
  const modules = await modulePaths(folder)
  const join = (dir: string, file: string): string => (dir === '' ? file : `${dir}/${file}`)
  const encoder = modules[0] ?? ''
  const dirs = [...new Set([encoder, ...modules])]
  for (const dir of dirs)
    if (!has(join(dir, 'model.safetensors')) && !has(join(dir, 'model.safetensors.index.json'))) {
      if (has(join(dir, 'pytorch_model.bin'))) throw onlyPickled(path.posix.join(given, dir))
      if (dir !== encoder) continue
      // Nobody knows whether the repository has them: the error is that the cache lacks them.
      if (!repository.listed) await repository.fetch([join(dir, 'model.safetensors')])
      throw new FormatError('ERR_FORMAT', `${path.posix.join(given, dir)} has no model.safetensors`, { dir: given })
    }
  const all = [...repository.files.keys(), join(encoder, 'config.json')]
  await repository.fetch(all.filter((file) => ['', ...dirs].some((dir) => small.test(path.posix.relative(dir, file)))))
  const layout = await readLayout(folder, options.dense)
  return {
    layout,
    async fetchWeights() {
      const files: string[] = []
      for (const dir of dirs) {
        const index = join(dir, 'model.safetensors.index.json')
        if (has(join(dir, 'model.safetensors'))) files.push(join(dir, 'model.safetensors'))
        else if (has(index)) {
          const local = path.join(await repository.fetch([index]), index)
          files.push(index, ...(await shardsIn(local)).map((shard) => join(dir, shard)))
        }
      }
      await repository.fetch(files)
    },
  }
}
