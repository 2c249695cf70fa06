/** `lateforge inspect …`: what a model, data, a run or an index is, on one screen. */
import type { Collection } from '../eval/collections.js'
import { collectionNotes } from '../eval/collections.js'
import { isCollection } from '../eval/find.js'
import { EncodedDocuments, type EncodedInfo, isEncoded } from '../indexing/encoded.js'
import { Index, type IndexInfo } from '../indexing/index.js'
import { type CollectionInfo, inspectCollection } from '../inspect/collection.js'
import { inspectSource, type SourceInfo } from '../inspect/data.js'
import { inspectModel, type ModelInfo } from '../inspect/model.js'
import { inspectRun, type RunInfo } from '../inspect/run.js'
import { count, duration, size } from '../io/amounts.js'
import type { Recipe } from '../text/recipe.js'
import { foundAt, opened } from './collections.js'
import { interruptible, print, printJson } from './common.js'
import { indexText } from './index-folder.js'
import { loadModel } from './model.js'
import { showing } from './progress.js'
import { openSources, type ReadingOptions } from './sources.js'
import { facts, grey, lengthTable, shortened, table } from './tables.js'

interface Json {
  json?: boolean
}

/** `lateforge inspect model <model>` */
export async function model(name: string, { json }: Json): Promise<void> {
  const signal = interruptible('stopping')
  const info = await showing((onProgress) => inspectModel(name, { signal, onProgress }))
  if (json) printJson(info)
  else print(modelText(info))
}

const typeNames: Readonly<Record<string, string>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16', I8: 'int8' }

function modelText(info: ModelInfo): string {
  const { encoder, head, parameters, weights, recipe, card, versions, fields } = info
  const layers = head.map((layer) => `${layer.in} → ${layer.out}${layer.bias ? ' with bias' : ''}`)
  const kinds = Object.entries(weights?.types ?? {}).map(([type, n]) => `${count(n)} as ${typeNames[type] ?? type}`)
  const known = Object.entries(versions).filter(([, value]) => typeof value === 'string')
  const named = Object.entries(card ?? {}).filter(([key]) => /^(base_model|license|language|datasets)$/.test(key))
  const learned = info.trained
    ? `by this recipe${info.unknown.length > 0 ? `; the folder does not say of ${info.unknown.join(', ')}` : ''}`
    : 'nothing by any recipe yet'
  return [
    `${info.name}: ${layoutText(info)}`,
    facts([
      [
        'encoder',
        `${info.architecture}, ${encoder.layers} layers of width ${encoder.width}, ${encoder.heads} heads, ` +
          `${count(encoder.positions)} positions, vocabulary of ${count(encoder.vocabulary)}`,
      ],
      ['head', layers.length > 0 ? layers.join(', ') : 'none'],
      ['vectors', `${info.dim} dimensions`],
      [
        'parameters',
        `${count(parameters.total)}: encoder ${count(parameters.encoder)}, head ${count(parameters.head)}`,
      ],
      [
        'weights',
        weights
          ? `${size(weights.bytes)} in ${weights.files.map(({ file }) => file).join(', ')}; ${kinds.join(', ')}`
          : 'none here; those of a name on the Hub are fetched when it is loaded',
      ],
      ['learned', learned],
      [
        'card',
        card
          ? named.map(([key, value]) => `${key} ${shortened(JSON.stringify(value))}`).join(', ') ||
            'says nothing of where it comes from'
          : 'none',
      ],
      ['written by', known.map(([of, version]) => `${of} ${version}`).join(', ') || 'unknown'],
    ]),
    ...info.notes.map((note) => `  ${note}`),
    '',
    'recipe',
    recipeText(recipe),
    '',
    'fields of its files; docs/models.md says what each decides',
    ...fields.map(({ file, read, unread }) => {
      const parts = [
        ...(read.length > 0 ? [`read ${read.join(', ')}`] : []),
        ...(unread.length > 0 ? [grey(`without effect ${unread.join(', ')}`)] : []),
      ]
      return `  ${file}: ${parts.join('; ') || 'empty'}`
    }),
  ].join('\n')
}

function layoutText({ layout, head }: ModelInfo): string {
  if (layout === 'dense') return 'a dense model, with one vector a text; dense: true uses it as one'
  if (head.length === 0) return 'an encoder without a projection; freshProjection: true makes one'
  return `a ColBERT model in ${layout === 'pylate' ? "PyLate's" : layout === 'stanford' ? "Stanford's" : "sentence-transformers'"} layout`
}

/** Fields of a recipe, lists shortened. */
function recipeText(recipe: Recipe): string {
  const shown = (value: unknown): string =>
    Array.isArray(value) && value.length > 8 ? `${value.length} of them` : shortened(JSON.stringify(value))
  return facts(
    Object.entries(recipe).flatMap(([field, value]) => (field === 'tokenizerHash' ? [] : [[field, shown(value)]])),
  )
}

/** `lateforge inspect data <data…>` */
export async function data(
  paths: readonly string[],
  options: ReadingOptions & Json & { model?: string; rows: number; examples: number },
): Promise<void> {
  const { json, model: name, rows, examples, ...reading } = options
  const signal = interruptible('stopping')
  const sources = await openSources(
    paths.filter((path) => !isCollection(path)),
    reading,
    signal,
  )
  const places = paths.filter(isCollection)
  const collections: Collection[] = []
  for (const one of places.length > 0 ? await foundAt(places, { split: reading.split, signal }) : [])
    collections.push(await opened(one, { stream: true, aloud: false })) // its notes are in what is printed
  const using = name === undefined ? null : await loadModel(name, { device: 'cpu' }, { signal })
  try {
    const how = { rows, examples, featurizer: using?.featurizer, signal }
    const found = await showing(async (onProgress) => {
      const [own, judged]: [SourceInfo[], CollectionInfo[]] = [[], []]
      for (const source of sources) own.push(await inspectSource(source, { ...how, onProgress }))
      for (const each of collections) judged.push(await inspectCollection(each, { ...how, onProgress }))
      return { sources: own, collections: judged }
    })
    if (json) printJson(found)
    else print([...found.sources.map(sourceText), ...found.collections.map(collectionText)].join('\n\n'))
  } finally {
    using?.dispose()
  }
}

function sourceText(info: SourceInfo): string {
  const { name, rows, columns, documents, lengths, examples, scores, missing } = info
  const roles = columns.map((layout) =>
    Object.entries(layout)
      .filter(([, column]) => column !== undefined && column.length > 0)
      .map(([role, column]) => `${role} ${[column].flat().join(', ')}`)
      .join('; '),
  )
  const [least, most] = [documents[0]!, documents.at(-1)!]
  const unused = Object.entries(info.unusedColumns).map(([column, n]) => `${column} (${count(n)} rows)`)
  return [
    `${name}: ${count(rows)} rows`,
    facts([
      ['columns', roles.join(' | ') || 'rows are lists: query, positive, negatives'],
      ['documents', least.count === most.count ? `${least.count} a row` : `${least.count} to ${most.count} a row`],
      ['scores', scores ? 'of a teacher, for each document' : 'none'],
      ...(missing > 0 ? [['left out', `${count(missing)} negatives that are null or empty`] as const] : []),
      ...(unused.length > 0 ? [['not used', unused.join(', ')] as const] : []),
      ...(info.unusedFiles.length > 0 ? [['not read', info.unusedFiles.join(', ')] as const] : []),
      ...info.incomplete.map((text) => ['incomplete', text] as const),
    ]),
    '',
    lengthTable([{ name, lengths }], lengths.unit),
    ...examples.flatMap(({ row, query, documents }) => [
      '',
      `  row ${count(row)}`,
      `    query     ${shortened(query)}`,
      ...documents.slice(0, 3).map((text, i) => `    ${i === 0 ? 'positive' : 'negative'}  ${shortened(text)}`),
      ...(documents.length > 3 ? [grey(`              and ${documents.length - 3} more`)] : []),
    ]),
  ].join('\n')
}

function collectionText(info: CollectionInfo): string {
  const { name, split, counts, queries, judgments, lengths, examples } = info
  return [
    `${name}, split ${split}: ${count(counts.documents)} documents, ${count(queries)} judged queries`,
    facts([['judgments', `${count(judgments.all)}, ${count(judgments.relevant)} of them relevant`]]),
    ...collectionNotes(counts).map((note) => `  ${note}`),
    '',
    lengthTable([{ name, lengths }], lengths.unit),
    ...examples.flatMap(({ query, text, relevant }) => [
      '',
      `  query ${query}  ${shortened(text)}`,
      ...relevant.map((document) => `    relevant  ${shortened(document)}`),
    ]),
  ].join('\n')
}

/** `lateforge inspect run <run>` */
export async function run(folder: string, { json }: Json): Promise<void> {
  const info = await showing((onProgress) => inspectRun(folder, onProgress))
  if (json) printJson(info)
  else print(runText(info))
}

const states = {
  done: 'done',
  locked: 'going on, or its process was lost',
  stopped: 'not finished; lateforge resume goes on',
}

function runText(info: RunInfo): string {
  const { folder, state, steps, seconds, resumed, phases, best, settings, checkpoints, model, bytes } = info
  const scored = (score: RunInfo['phases'][number]['last']): string =>
    score ? `${score.metric} ${score.value.toFixed(4)} at ${count(score.step)}` : ''
  return [
    `${folder}: ${states[state]}`,
    facts([
      ['steps', `${count(steps)} in ${duration(seconds)}${resumed > 0 ? `, resumed ${resumed} ×` : ''}`],
      ...(best ? [['best', `${scored(best)} of ${best.phase}`] as const] : []),
      ['on disk', size(bytes)],
      ...(model ? [['model', `${model.path}, ${size(model.bytes)}`] as const] : []),
      ...checkpoints.map((found) => ['checkpoint', `${found.path}, ${size(found.bytes)}`] as const),
      ...(info.damaged > 0 ? [['damaged', `${info.damaged} lines of its log are no events`] as const] : []),
    ]),
    '',
    table([
      ['phase', 'steps', 'loss', 'tokens/s', 'last evaluation', 'best evaluation'],
      ...phases.map(({ name, step, steps, loss, tokensPerSecond, last, best }) => [
        name,
        steps === null ? 'not begun' : `${count(step)} of ${count(steps)}`,
        loss === null ? '' : loss.toPrecision(4),
        tokensPerSecond === null ? '' : count(Math.round(tokensPerSecond)),
        scored(last),
        scored(best),
      ]),
    ]),
    ...(info.warnings.length > 0 ? ['', ...info.warnings.map((message) => `  warned: ${message}`)] : []),
    '',
    ...(settings
      ? [
          'settings that are no defaults',
          facts(settings.map(({ key, value, origin }) => [key, `${shortened(JSON.stringify(value))} ${grey(origin)}`])),
        ]
      : ['the run is of an earlier version, which does not say where its settings come from']),
  ].join('\n')
}

/** `lateforge inspect index <index>`: an index, or what `lateforge encode` has written. */
export async function index(folder: string, { json }: Json): Promise<void> {
  const info = isEncoded(folder) ? (await EncodedDocuments.open(folder)).info : await infoOf(folder)
  const bytesPerToken = info.tokens > 0 ? info.bytes / info.tokens : null
  if (json) return printJson({ ...info, bytesPerToken })
  const lines = 'shards' in info ? encodedText(folder, info) : indexText(info)
  const each =
    bytesPerToken === null ? [] : [`${bytesPerToken.toFixed(1)} bytes a token vector, texts and lists included`]
  print([...lines, ...each, '', 'recipe', info.recipe ? recipeText(info.recipe) : '  not known'].join('\n'))
}

async function infoOf(folder: string): Promise<IndexInfo> {
  const opened = await Index.open(folder)
  return opened.info().finally(() => opened.close())
}

const encodedText = (folder: string, info: EncodedInfo): string[] => [
  `${folder}: ${count(info.documents)} encoded documents, ${count(info.tokens)} tokens as ${info.type} of ${info.dim} dimensions`,
  `${size(info.bytes)} in ${info.shards} shards, ${info.keepTexts ? 'with' : 'without'} texts; ${count(info.truncated)} texts were cut`,
  `model ${info.model ?? 'not known'}`,
]
