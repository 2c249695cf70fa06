/** Training data as verbs are given it: files, and how their columns are read. */
import { type DataEntry, fileSources, type Source } from '../data/sources.js'
import { ArgumentError } from '../errors.js'
import { showing } from './progress.js'

/** Options of every verb that reads training data. */
export interface ReadingOptions extends Pick<DataEntry, 'config' | 'split' | 'revision'> {
  /** `role=column`, each. */
  columns?: readonly string[]
  queries?: string
  documents?: string
}

/** The sources of files, folders, patterns and data sets of the Hub. Errors as `fileSources`. */
export async function openSources(
  paths: readonly string[],
  { columns, queries, documents, config, split, revision }: ReadingOptions,
  signal: AbortSignal,
): Promise<Source[]> {
  if (paths.length === 0) return []
  const how = { columns: columnsOf(columns), queries, documents, config, split, revision }
  const plain = Object.values(how).every((value) => value === undefined)
  const items = plain ? paths : paths.map((files) => ({ files, ...how }))
  return showing((onProgress) => fileSources(items, { onProgress, signal }))
}

/** Columns by what they hold: `query=q`; several of negatives between commas. */
function columnsOf(given: readonly string[] | undefined): DataEntry['columns'] {
  return (
    given &&
    Object.fromEntries(
      given.map((setting) => {
        const [, role, name] = /^(\w+)=(.+)$/.exec(setting) ?? []
        if (role === undefined || name === undefined)
          throw new ArgumentError('ERR_ARGUMENT', `--columns ${setting}: expected role=column, as query=question`)
        return [role, role === 'negatives' ? name.split(',') : name]
      }),
    )
  )
}
