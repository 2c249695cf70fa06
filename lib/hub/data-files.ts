/**
 * Which files of a data set's repository are a split of it, as Python's `datasets` finds them: by the card's `configs`,
 * else by the names of files and folders.
 */
import type * as Yaml from 'yaml'
import { ArgumentError, DataError, didYouMean, HubError } from '../errors.js'
import { loadPackage } from '../packages.js'
import type { HubFile } from './cache.js'
import { atRevision, described, parseDataName, type RepositoryName } from './name.js'
import { pathExpression } from './pattern.js'
import { type HubOptions, Repository } from './repository.js'

/** Options of `resolveDataFiles`. */
export interface DataFilesOptions extends HubOptions {
  /** One of the data set's configurations (subsets). Default: its default one. */
  config?: string | undefined
  /** Default `train`. */
  split?: string | undefined
  /** A branch, a tag or a commit. Default: that of the name, else `main`. */
  revision?: string | undefined
}

/** Files of a data set, fetched. */
export interface DataFiles {
  /** Local paths, in the order of their names at the Hub. */
  files: string[]
  /** The commit they are of. */
  revision: string
  /** Names at the Hub of files that belong to the split, and are of a kind that is not read. */
  unused: string[]
}

const readable = /\.(parquet|jsonl|jsonl\.gz)$/
/** Where the Hub puts its own conversion of data sets that are in another format. */
const CONVERTED = 'refs/convert/parquet'

/**
 * Fetches the files of a data set's split, `hf://datasets/org/name[@revision]`, or those that a pattern after the name
 * matches. Data sets in another format than Parquet or JSON lines are read from the Hub's own conversion to Parquet.
 * @throws ArgumentError ERR_ARGUMENT for another name, or options that contradict it; DataError ERR_DATA for a
 *   configuration, split or pattern that is not there; HubError, FileError, AbortedError as `Repository`
 */
export async function resolveDataFiles(name: string, options: DataFilesOptions = {}): Promise<DataFiles> {
  const { repository: named, pattern } = parseDataName(name)
  const { config, split, revision, ...hub } = options
  const wanted = atRevision(named, revision)
  if (pattern !== '')
    for (const [key, value] of Object.entries({ config, split }))
      if (value !== undefined)
        throw new ArgumentError(
          'ERR_ARGUMENT',
          `${key} is "${value}", but "${name}" names files; leave out the path, or ${key}`,
          { name, [key]: value },
        )
  const repository = await Repository.open(wanted, hub)
  const all = [...repository.files.values()]
  if (pattern !== '') {
    const found = matching(all, [pattern])
    if (!found.some(({ path }) => readable.test(path)))
      throw missing(repository, `no .parquet, .jsonl or .jsonl.gz file matches "${pattern}"`, all)
    return fetched(repository, found)
  }
  const isReadable = ({ path }: HubFile): boolean => readable.test(path)
  const splits = all.some(isReadable) ? await splitsOf(repository, all, config) : {}
  if (!Object.values(splits).flat().some(isReadable)) return resolveConverted(repository, wanted, options)
  const files = chosen(repository, splits, split ?? 'train')
  return fetched(repository, files)
}

/** Of a file in more than one format one is read: the format that most files have. */
async function fetched(repository: Repository, matched: readonly HubFile[]): Promise<DataFiles> {
  const paths = matched.map(({ path }) => path)
  const parquet = paths.filter((path) => path.endsWith('.parquet'))
  const lines = paths.filter((path) => readable.test(path) && !path.endsWith('.parquet'))
  const read = parquet.length >= lines.length ? parquet : lines
  checkParts(repository, read)
  const folder = await repository.fetch(read)
  return {
    files: read.map((path) => `${folder}/${path}`),
    revision: repository.commit,
    unused: paths.filter((path) => !read.includes(path)),
  }
}

/** What nobody has listed may be a part of what there is; `…-00000-of-00004` says so. */
function checkParts(repository: Repository, paths: readonly string[]): void {
  if (repository.listed) return
  const counts = new Map<string, number>()
  for (const path of paths) {
    const series = /^(.*)-\d{5}-of-(\d{5})/.exec(path)
    if (series) counts.set(`${series[1]} ${series[2]}`, (counts.get(`${series[1]} ${series[2]}`) ?? 0) + 1)
  }
  for (const [series, count] of counts) {
    const [base, of] = series.split(' ') as [string, string]
    if (count < Number(of))
      throw new HubError(
        'ERR_HUB',
        `${described(repository.name)}: the cache has ${count} of the ${Number(of)} files ${base}-…, and the Hub cannot ` +
          'be asked for the others. Fetch it once where there is a network',
        { reason: 'offline', series: base, found: count, expected: Number(of) },
      )
  }
}

interface CardConfig {
  config_name?: unknown
  data_files?: unknown
  data_dir?: unknown
  default?: unknown
}

/** Files by split, of a configuration. */
type Splits = Record<string, HubFile[]>

async function splitsOf(repository: Repository, all: readonly HubFile[], config: string | undefined): Promise<Splits> {
  const configs = await cardConfigs(repository)
  const names = configs.map(({ config_name }) => String(config_name))
  if (configs.length === 0) {
    if (config !== undefined && config !== 'default')
      throw new DataError(
        'ERR_DATA',
        `${described(repository.name)} has no configurations; leave out config: "${config}"`,
        {
          config,
        },
      )
    return inferSplits(all)
  }
  const byDefault =
    configs.length === 1 ? configs[0] : configs.find((c) => c.default === true || c.config_name === 'default')
  if (config === undefined && !byDefault)
    throw new DataError(
      'ERR_DATA',
      `${described(repository.name)} has several configurations: choose one of ${names.join(', ')} as \`config\``,
      { configs: names },
    )
  const found = config === undefined ? byDefault : configs.find(({ config_name }) => config_name === config)
  if (!found)
    throw new DataError(
      'ERR_DATA',
      `${described(repository.name)} has no configuration "${config}", ${didYouMean(config!, names)}`,
      {
        config,
        configs: names,
      },
    )
  const dir = typeof found.data_dir === 'string' ? found.data_dir.replace(/^\.?\/|\/$/g, '') : ''
  const inside = dir === '' ? all : all.filter(({ path }) => path.startsWith(`${dir}/`))
  if (found.data_files === undefined) return inferSplits(inside, dir)
  const splits = patternsOf(found.data_files)
  if (splits === null)
    throw new DataError(
      'ERR_DATA',
      `README.md of ${described(repository.name)}: data_files of configuration "${found.config_name}" are ` +
        `${JSON.stringify(found.data_files)}; expected patterns, or a list of { split, path }`,
      { config: found.config_name },
    )
  return Object.fromEntries(Object.entries(splits).map(([split, patterns]) => [split, matching(all, patterns, dir)]))
}

/** The `configs` at the beginning of README.md. @throws DataError ERR_DATA when that is no YAML */
async function cardConfigs(repository: Repository): Promise<CardConfig[]> {
  const [, front] = /^---\r?\n([\s\S]*?)\r?\n---(?:\r?\n|$)/.exec((await repository.text('README.md')) ?? '') ?? []
  if (front === undefined) return []
  try {
    const { configs } = loadPackage<typeof Yaml>('yaml').parse(front) ?? {}
    if (!Array.isArray(configs)) return []
    return configs.filter((config) => typeof config?.config_name === 'string')
  } catch (cause) {
    const reason = (cause as Error).message.split('\n')[0]
    throw new DataError(
      'ERR_DATA',
      `README.md of ${described(repository.name)} begins with broken YAML: ${reason}`,
      {},
      { cause },
    )
  }
}

/** A pattern, a list of them, or of { split, path }; null for anything else. */
function patternsOf(given: unknown): Record<string, string[]> | null {
  const list = Array.isArray(given) ? given : [given]
  const texts = (value: unknown): string[] | null => {
    const all = Array.isArray(value) ? value : [value]
    return all.length > 0 && all.every((text) => typeof text === 'string') ? all : null
  }
  const plain = texts(list)
  if (plain) return { train: plain }
  const splits: Record<string, string[]> = {}
  for (const entry of list) {
    const { split, path } = (entry ?? {}) as { split?: unknown; path?: unknown }
    const patterns = texts(path)
    if (typeof split !== 'string' || !patterns || Object.hasOwn(splits, split)) return null
    splits[split] = patterns
  }
  return splits
}

const keywords: Record<string, readonly string[]> = {
  train: ['train', 'training'],
  validation: ['validation', 'valid', 'dev', 'val'],
  test: ['test', 'testing', 'eval', 'evaluation'],
}
const S = '[-._ 0-9]'
const folderPatterns = (word: string) => [
  `**/${word}/**`,
  `**/${word}${S}*/**`,
  `**/*${S}${word}/**`,
  `**/*${S}${word}${S}*/**`,
]
const filePatterns = (word: string) => [`**/${word}${S}*`, `**/*${S}${word}${S}*`]

/** By names: `data/SPLIT-00000-of-00001.…`, else folders named after a split, else files, else all of it is `train`. */
export function inferSplits(all: readonly HubFile[], dir = ''): Splits {
  const root = dir === '' ? '' : `${dir}/`
  const sharded = /^data\/([^/]+)-\d{5}-of-\d{5}[^/]*\.[^/]*$/
  const splits: Splits = {}
  for (const file of visible(all, '', root)) {
    const [, split] = sharded.exec(file.path.slice(root.length)) ?? []
    if (split !== undefined) (splits[split] ??= []).push(file)
  }
  if (Object.keys(splits).length > 0) return splits
  for (const patterns of [folderPatterns, filePatterns]) {
    for (const [split, words] of Object.entries(keywords)) {
      const found = matching(all, words.flatMap(patterns), dir)
      if (found.length > 0) splits[split] = found
    }
    if (Object.keys(splits).length > 0) return splits
  }
  return { train: matching(all, ['**'], dir) }
}

/** Files that are about the data, and not of it. */
const notData =
  /(^|\/)(README\.md|config\.json|dataset_info\.json|dataset_infos\.json|dummy_data\.zip|dataset_dict\.json)$/

/** Files that match one of the patterns; those of hidden and `__special__` folders only where a pattern says so. */
function matching(all: readonly HubFile[], patterns: readonly string[], dir = ''): HubFile[] {
  const root = dir === '' ? '' : `${dir}/`
  const found = new Set<HubFile>()
  for (const given of patterns) {
    const pattern = given.replace(/^\.\//, '')
    const expression = pathExpression(pattern)
    for (const file of visible(all, pattern, root))
      if (file.path.startsWith(root) && expression.test(file.path.slice(root.length))) found.add(file)
  }
  return all.filter((file) => found.has(file))
}

function visible(all: readonly HubFile[], pattern: string, root: string): HubFile[] {
  const asksForHidden = pattern.split('/').some((part) => /^(\.|__)/.test(part))
  return all.filter(({ path }) => {
    const parts = path.slice(root.length).split('/')
    const isHidden = parts.some((part, i) => /^\./.test(part) || (i < parts.length - 1 && /^__/.test(part)))
    return (!isHidden || asksForHidden) && (!notData.test(path) || pattern.endsWith(parts.at(-1)!))
  })
}

function chosen(repository: Repository, splits: Splits, name: string): HubFile[] {
  const found = splits[name] ?? []
  if (found.some(({ path }) => readable.test(path))) return found
  const names = Object.keys(splits).filter((split) => splits[split]!.length > 0)
  throw new DataError(
    'ERR_DATA',
    found.length > 0
      ? `${described(repository.name)}: split "${name}" has no .parquet, .jsonl or .jsonl.gz file, but ${sample(found)}`
      : `${described(repository.name)} has no split "${name}", ${didYouMean(name, names)}`,
    { split: name, found: names },
  )
}

/** `CONFIG/SPLIT/0000.parquet` in a branch of its own. */
async function resolveConverted(
  original: Repository,
  name: RepositoryName,
  { config, split = 'train', revision: _, ...hub }: DataFilesOptions,
): Promise<DataFiles> {
  const all = [...original.files.values()]
  const none = `there is no .parquet, .jsonl or .jsonl.gz file`
  if (name.revision !== undefined && name.revision !== 'main') throw missing(original, `${none} at this revision`, all)
  const converted = await Repository.open({ ...name, revision: CONVERTED }, hub).catch((error) => {
    if (error instanceof HubError && error.details.reason === 'revision')
      throw missing(original, `${none}, and the Hub has made no Parquet of it`, all)
    throw error
  })
  const configs: Record<string, Splits> = {}
  for (const file of converted.files.values()) {
    const [, at, part] = /^(.+)\/([^/]+)\/\d{4,}\.parquet$/.exec(file.path) ?? []
    if (at !== undefined) ((configs[at] ??= {})[part!] ??= []).push(file)
  }
  const names = Object.keys(configs)
  const at = config ?? (names.length === 1 ? names[0]! : 'default')
  const splits = configs[at]
  if (!splits)
    throw new DataError(
      'ERR_DATA',
      `${described(converted.name)} has no configuration "${at}", ${didYouMean(at, names)}; give it as \`config\``,
      { config: at, configs: names },
    )
  if (!splits[split] && splits[`partial-${split}`])
    throw new DataError(
      'ERR_DATA',
      `${described(original.name)} is in a format that is not read (${sample(all)}), and the Hub has made Parquet of the ` +
        `beginning of it alone. To train on that, name it: hf://datasets/${name.name}@${CONVERTED}/${at}/partial-${split}/*.parquet`,
      { config: at, split },
    )
  return fetched(converted, chosen(converted, splits, split))
}

function missing(repository: Repository, problem: string, all: readonly HubFile[]): DataError {
  return new DataError('ERR_DATA', `${described(repository.name)}: ${problem}. It has ${sample(all)}`, {
    name: repository.name.name,
    revision: repository.commit,
  })
}

/** A few names, and how many more. */
function sample(files: readonly HubFile[]): string {
  const names = visible(files, '', '').map(({ path }) => path)
  return names.length > 5
    ? `${names.slice(0, 5).join(', ')} and ${names.length - 5} more`
    : names.join(', ') || 'no files'
}
