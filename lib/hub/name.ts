/** Names on the Hub: `org/name@revision` for a model, `hf://datasets/org/name@revision/path` for files of a data set. */
import { ArgumentError } from '../errors.js'

/** A repository, perhaps at a revision. */
export interface RepositoryName {
  readonly type: 'model' | 'dataset'
  /** With its owner, as `org/name`. */
  readonly name: string
  /** A branch, a tag or a commit. Default: the branch `main`. */
  readonly revision?: string
}

/** As huggingface_hub checks them. */
const repository = /^(?!.*(?:--|\.\.))(?:[\w][\w.-]*\/)?[\w][\w.-]{0,95}(?<!\.git|[.-])$/
/** Becomes a path below `refs/` in the cache. */
const revisionName = /^(?!.*(?:\.\.|\/\/|\/$))[\w][\w./+-]*$/

/** Revisions that the Hub makes itself; the only ones with a slash that may stand unescaped in an `hf://` name. */
const ownRefs = /^@(refs\/(?:convert|pr)\/[\w.-]+)(?=\/|$)/

/** A model's name, or null for a text that can be none. */
export function parseModelName(text: string): RepositoryName | null {
  const [, name = '', revision] = /^([^@]*)(?:@(.*))?$/.exec(text) ?? []
  if (!repository.test(name) || (revision !== undefined && !revisionName.test(revision))) return null
  return { type: 'model', name, ...(revision !== undefined && { revision }) }
}

/** Whether a text names files on the Hub, and no local ones. */
export const isHubPath = (text: string): boolean => text.startsWith('hf://')

/**
 * The data set of an `hf://` name, and what stands after it: a pattern of its files, or ''.
 * @throws ArgumentError ERR_ARGUMENT for anything else
 */
export function parseDataName(text: string): { repository: RepositoryName; pattern: string } {
  const fail = (): ArgumentError =>
    new ArgumentError(
      'ERR_ARGUMENT',
      `"${text}" names no data set on the Hub; expected hf://datasets/org/name, perhaps with @revision and /a/path*.parquet`,
      { name: text },
    )
  if (!text.startsWith('hf://datasets/')) throw fail()
  const rest = text.slice('hf://datasets/'.length)
  // A data set without an owner (`squad`) is followed by nothing or by its revision: else its path would be its name.
  const [, name = '', after = ''] = /^([^@/]+\/[^@/]+|[^@/]+(?=@|$))(.*)$/.exec(rest) ?? []
  const [revisionText = '', revision] =
    ownRefs.exec(after) ?? /^@([^/]*)(?=\/|$)/.exec(after)?.map((part, i) => (i ? decoded(part) : part)) ?? []
  const pattern = after.slice(revisionText.length).replace(/^\//, '')
  if (!repository.test(name) || (revision !== undefined && !revisionName.test(revision))) throw fail()
  return { repository: { type: 'dataset', name, ...(revision !== undefined && { revision }) }, pattern }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return '' // no revision
  }
}

/**
 * The same repository at the revision of an option, which may not contradict the one in the name.
 * @throws ArgumentError ERR_ARGUMENT
 */
export function atRevision(repository: RepositoryName, revision: string | undefined): RepositoryName {
  if (revision === undefined) return repository
  if (!revisionName.test(revision))
    throw new ArgumentError('ERR_ARGUMENT', `revision is "${revision}", expected a branch, a tag or a commit`, {
      revision,
    })
  if (repository.revision !== undefined && repository.revision !== revision)
    throw new ArgumentError(
      'ERR_ARGUMENT',
      `revision is "${revision}", but the name says "${repository.revision}"; leave one of them out`,
      { revision, name: repository.name },
    )
  return { ...repository, revision }
}

/** How messages call a repository. */
export function described({ type, name, revision }: RepositoryName): string {
  return `${type === 'model' ? 'model' : 'data set'} ${name}${revision === undefined ? '' : `@${revision}`}`
}

/** Where it is below the endpoint: data sets have a prefix. */
export const sitePath = ({ type, name }: RepositoryName): string => (type === 'model' ? name : `datasets/${name}`)
