/** README.md of a saved model: its card, whose beginning is YAML that the Hub reads. */
import type * as Yaml from 'yaml'
import { loadPackage } from '../../packages.js'
import { describeChange } from '../../text/alignment.js'
import type { Recipe } from '../../text/recipe.js'
import type { ModelToSave, SavedLayout } from './save.js'
import type { Trained } from './trained.js'

/** How a model was trained, for its card. Plain data. */
export interface TrainingRecord {
  /** What it started from: its name on the Hub, or that of its folder; absent for a model that was made for the run. */
  base?: {
    /** As `org/name`, or the last part of a path. */
    name: string
    /** Whether it is a name on the Hub. */
    onHub: boolean
  }
  /** Settings of the run, as its seed. */
  settings: Readonly<Record<string, string | number>>
  /** The phases so far, the last one perhaps up to a checkpoint. */
  phases: readonly PhaseRecord[]
  /** Versions of what trained it, by name. */
  versions: Readonly<Record<string, string>>
}

/** How a model was trained in one phase. */
export interface PhaseRecord {
  /** Its name. */
  name: string
  /** Its losses by name, with their weights. */
  losses: Readonly<Record<string, number>>
  /** Steps done. */
  steps: number
  /** Queries of a step. */
  batch: number
  /** Settings that are no defaults. */
  settings: Readonly<Record<string, unknown>>
  /** Most tokens of a query. */
  queryLength: number
  /** Most tokens of a document. */
  documentLength: number
  /** Data sets on the Hub. */
  datasets: readonly string[]
  /** What it was trained on. */
  sources: readonly SourceRecord[]
  /** In the order of their steps. */
  evaluations: readonly EvaluationRecord[]
  /** On what, in words; absent where it is not known. */
  evaluatedOn?: string
}

/** What a model was trained on. */
export interface SourceRecord {
  /** Its name. */
  name: string
  /** Number of rows. */
  rows: number
  /** Documents of the row with the fewest, positive included. */
  fewest: number
  /** Of the row with the most. */
  most: number
  /** Whether rows have scores of a teacher. */
  scores: boolean
  /** Some rows, cut short. */
  samples: readonly {
    /** Its query. */
    query: string
    /** Its documents, the positive first. */
    documents: readonly string[]
  }[]
}

/** What a model was found to be worth. */
export interface EvaluationRecord {
  /** Steps done in the phase. */
  step: number
  /** As the evaluation gave them: `ndcg@10`, and of one of several collections `scifact ndcg@10`. */
  metrics: Readonly<Record<string, number>>
  /** The one that decides. */
  metric: string
  /** Whether it was the best of the phase so far. */
  best: boolean
}

/** What an evaluation found, query by query: what a report shows of it. */
export interface EvaluationDetails {
  /** As `ndcg@10`. */
  metric: string
  /** 95 % interval over queries of its mean, by bootstrap. */
  interval: {
    /** Lower end. */
    low: number
    /** Upper end. */
    high: number
  }
  /** What it was evaluated on. */
  collections: {
    /** Its name. */
    name: string
    /** Where it was read; absent for one that was in memory. */
    folder?: string
    /** Its split. */
    split: string
    /** In the order of the judgments. */
    queries: {
      /** Its id. */
      id: string
      /** Of the metric. */
      value: number
      /** The best document that is not the query itself; null where nothing was found. */
      top: string | null
    }[]
  }[]
}

/** The card of a model as it is, and with a record as it was trained. */
export function modelCard(model: ModelToSave, layout: SavedLayout, record?: TrainingRecord): string {
  const kind = kindOf(model, layout)
  const { base } = record ?? {}
  const title = `${kind.name} model${base?.onHub ? ` based on ${base.name}` : ''}`
  const evaluated = record && finalEvaluation(record)
  const parts = [
    `---\n${frontMatter(kind, title, record, evaluated)}---`,
    `# ${title}`,
    introduction(model, kind),
    `## Use\n\n${usage(kind)}`,
    ...(evaluated ? [`## Evaluation\n\n${evaluationTable(evaluated)}`] : []),
    ...(record ? [training(record), versions(record)] : []),
  ]
  return `${parts.join('\n\n')}\n`
}

/** What is said of a model by its kind and layout. */
interface Kind {
  name: 'ColBERT' | 'Dense'
  /** Whose layout the folder has. */
  tool: string
  library: string
  tags: string[]
  load: string
  python: string
}

const pylate = `from pylate import models, rank                     # or: from sentence_transformers import MultiVectorEncoder
model = models.ColBERT("this folder")
queries = model.encode(["a question"], is_query=True)
documents = model.encode([["a text", "another"]], is_query=False)
ranked = rank.rerank(documents_ids=[[0, 1]], queries_embeddings=queries, documents_embeddings=documents)`
const encoder = (type: string): string => `from sentence_transformers import ${type}
model = ${type}("this folder")
scores = model.similarity(model.encode_query(["a question"]), model.encode_document(["a text", "another"]))`

function kindOf({ recipe }: ModelToSave, layout: SavedLayout): Kind {
  const st = { tool: 'sentence-transformers', library: 'sentence-transformers' }
  const load = `Colbert.load('this folder'`
  if (recipe.pooling !== 'none')
    return { ...st, name: 'Dense', tags: [], load: `${load}, { dense: true })`, python: encoder('SentenceTransformer') }
  const common = { name: 'ColBERT', tags: ['ColBERT', 'PyLate'], load: `${load})` } as const
  if (layout === 'sentence-transformers')
    return { ...st, ...common, tags: [...common.tags], python: encoder('MultiVectorEncoder') }
  const tool = layout === 'stanford' ? 'ColBERT by Stanford' : 'PyLate'
  return { ...common, tags: [...common.tags], tool, library: 'PyLate', python: pylate }
}

function frontMatter(
  { library, tags }: Kind,
  title: string,
  record: TrainingRecord | undefined,
  evaluated: Evaluated | undefined,
): string {
  const phases = record?.phases ?? []
  const datasets = [...new Set(phases.flatMap((phase) => phase.datasets))]
  const rows = phases.flatMap(({ sources }) => sources).reduce((sum, source) => sum + source.rows, 0)
  const losses = [...new Set(phases.flatMap((phase) => Object.keys(phase.losses)))]
  const data = {
    ...(record?.base?.onHub && { base_model: record.base.name.replace(/@.*/, '') }),
    ...(datasets.length > 0 && { datasets }),
    library_name: library,
    pipeline_tag: 'sentence-similarity',
    tags: [
      ...[...tags, 'sentence-transformers', 'feature-extraction', 'lateforge'],
      ...(rows > 0 ? [`dataset_size:${rows}`] : []),
      ...losses.map((loss) => `loss:${loss}`),
    ],
    ...(evaluated && { 'model-index': [{ name: title, results: evaluated.collections.map(indexed) }] }),
  }
  // The Hub and its Python read YAML 1.1, to which more texts are something else.
  return loadPackage<typeof Yaml>('yaml').stringify(data, {
    version: '1.1',
    lineWidth: 0,
    aliasDuplicateObjects: false,
  })
}

function introduction({ architecture, config, head, recipe, trained, parameters }: ModelToSave, kind: Kind): string {
  const dim = head.at(-1)?.out ?? config.width
  const what = kind.name === 'Dense' ? 'dense' : 'late-interaction'
  const vectors = kind.name === 'Dense' ? `text (pooling: ${recipe.pooling})` : 'token'
  return `A ${what} retrieval model: ${architecture.name}, ${config.layers} layers, ${config.width} wide, ${parameters.count} parameters, ${dim} dimensions per ${vectors}.
Queries have up to ${recipe.queryLength} tokens, documents up to ${recipe.documentLength}. The folder has the layout of ${kind.tool}.
${promptsText(recipe, trained)}`
}

/** The prompts that the model has learned, and what of its recipe was changed on the way. */
function promptsText({ queryPrompt, documentPrompt }: Recipe, { trained, unknown, changes }: Trained): string {
  const text = (prompt: string): string => (prompt === '' ? 'none' : code(prompt))
  const verb = trained ? 'Trained' : 'Not trained yet; set up'
  const lines = [
    !unknown.some((field) => field.endsWith('Prompt'))
      ? `${verb} with lateforge. Prompt of queries: ${text(queryPrompt)}; of documents: ${text(documentPrompt)}.`
      : 'Whether it was trained with prompts is not known.',
  ]
  if (changes.length > 0)
    lines.push(
      '',
      'Changes of its recipe that were accepted:',
      '',
      ...changes.map((change) => `- ${code(describeChange(change, 'before', 'since'))}`),
    )
  return lines.join('\n')
}

const usage = ({ load, python }: Kind): string => `\`\`\`ts
import { Colbert } from 'lateforge'
const model = await ${load}
const documents = await model.encodeDocuments(['a text', 'another'])
const hits = await model.search(await model.encodeQueries(['a question']), documents, { topK: 10 })
\`\`\`

\`\`\`python
${python}
\`\`\``

/** The evaluation of the very model that is saved. */
interface Evaluated {
  /** Each with its metrics; the mean over several is the first. */
  collections: { name: string; metrics: [name: string, value: number][] }[]
}

function finalEvaluation({ phases }: TrainingRecord): Evaluated | undefined {
  const phase = phases.at(-1)
  const last = phase?.evaluations.at(-1)
  if (!phase || !last || last.step !== phase.steps) return undefined
  const metrics = Object.entries(last.metrics)
  const own = new Map<string, [string, number][]>()
  for (const [key, value] of metrics) {
    const [, name, metric] = /^(.+) (\S+)$/.exec(key) ?? []
    if (name !== undefined) own.set(name, [...(own.get(name) ?? []), [metric!, value]])
  }
  const on = phase.evaluatedOn ?? 'the evaluation of the run'
  const whole = metrics.filter(([key]) => !key.includes(' '))
  return {
    collections: [
      ...(whole.length > 0 ? [{ name: own.size > 0 ? `${on}, mean` : on, metrics: whole }] : []),
      ...[...own].map(([name, values]) => ({ name, metrics: values })),
    ],
  }
}

const indexed = ({ name, metrics }: Evaluated['collections'][number]): object => ({
  task: { type: 'information-retrieval', name: 'Information Retrieval' },
  dataset: { name, type: name },
  metrics: metrics.map(([type, value]) => ({ type, value: Number(value.toFixed(5)), name: type })),
})

function evaluationTable({ collections }: Evaluated): string {
  const names = [...new Set(collections.flatMap(({ metrics }) => metrics.map(([name]) => name)))]
  return table([
    ['collection', ...names],
    ...collections.map(({ name, metrics }) => [
      cell(name),
      ...names.map((metric) => metrics.find(([known]) => known === metric)?.[1].toFixed(4) ?? ''),
    ]),
  ])
}

function training({ base, settings, phases }: TrainingRecord): string {
  const start = !base
    ? ''
    : ` from ${base.onHub ? `[${base.name}](https://huggingface.co/${base.name.replace(/@.*/, '')})` : code(base.name)}`
  const run = Object.entries(settings).map(([name, value]) => `${name} ${value}`)
  return [
    `## Training`,
    `Trained${start} in ${phases.length} ${phases.length === 1 ? 'phase' : 'phases'}: ${run.join(', ')}.`,
    ...phases.flatMap(phaseText),
  ].join('\n\n')
}

function phaseText(phase: PhaseRecord): string[] {
  const { name, steps, batch, queryLength, documentLength, settings, datasets, sources } = phase
  return [
    `### ${cell(name)}`,
    `Loss: ${lossText(phase)}. ${steps} steps of ${batch} queries. Queries of up to ${queryLength} tokens, documents of up to ${documentLength}.`,
    Object.keys(settings).length > 0 && [
      'Settings that are no defaults:\n',
      ...Object.entries(settings).map(([key, value]) => `- \`${key}\`: ${code(asText(value))}`),
    ],
    datasets.length > 0 &&
      `Data sets: ${datasets.map((id) => `[${id}](https://huggingface.co/datasets/${id})`).join(', ')}.`,
    sources.length > 0 &&
      table([
        ['source', 'rows', 'documents a row', 'scores of a teacher'],
        ...sources.map(({ name, rows, fewest, most, scores }) => [
          cell(name),
          rows.toLocaleString('en'),
          fewest === most ? String(most) : `${fewest} to ${most}`,
          scores ? 'yes' : 'no',
        ]),
      ]),
    ...sources.filter(({ samples }) => samples.length > 0).map(samplesText),
    logText(phase),
  ].flatMap((part) => (part === false || part === '' ? [] : [[part].flat().join('\n')]))
}

function lossText({ losses }: PhaseRecord): string {
  const parts = Object.entries(losses)
  return parts.map(([name, weight]) => (parts.length > 1 ? `${weight} × ${cell(name)}` : cell(name))).join(' + ')
}

const samplesText = ({ name, samples }: SourceRecord): string =>
  folded(
    `Rows of ${cell(name)}`,
    samples
      .map(({ query, documents: [positive = '', ...negatives] }) =>
        [
          `- query: ${code(query)}`,
          `  - positive: ${code(positive)}`,
          ...negatives.map((n) => `  - negative: ${code(n)}`),
        ].join('\n'),
      )
      .join('\n'),
  )

/** More lines are folded up. */
const SHOWN = 12

/** The metrics over all, by steps; the best in bold. */
function logText({ evaluations }: PhaseRecord): string {
  if (evaluations.length === 0) return ''
  const names = Object.keys(evaluations[0]!.metrics).filter((name) => !name.includes(' '))
  const best = evaluations.findLast((evaluation) => evaluation.best)
  const lines = table([
    ['step', ...names],
    ...evaluations.map((evaluation) => {
      const cells = [String(evaluation.step), ...names.map((name) => evaluation.metrics[name]?.toFixed(4) ?? '')]
      return evaluation === best ? cells.map((text) => `**${text}**`) : cells
    }),
  ])
  return evaluations.length > SHOWN ? folded(`${evaluations.length} evaluations`, lines) : lines
}

const versions = ({ versions }: TrainingRecord): string =>
  ['## Versions\n', ...Object.entries(versions).map(([name, version]) => `- ${name}: ${version}`)].join('\n')

const asText = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))

const folded = (summary: string, content: string): string =>
  `<details><summary>${summary}</summary>\n\n${content}\n\n</details>`

const table = ([head, ...rows]: readonly (readonly string[])[]): string => {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(head!), line(head!.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n')
}

/** A name in a heading, a summary or a table: nothing in it is Markdown or HTML. */
const cell = (text: string): string =>
  plain(text).replace(/[^\p{L}\p{N}\s./,-]/gu, (sign) => `&#${sign.codePointAt(0)};`)

/** A text as it stands, in one line: nothing in it is Markdown, HTML or a link. */
function code(text: string): string {
  const line = plain(text)
  if (line === '') return '(empty)'
  const longest = Math.max(0, ...[...line.matchAll(/`+/g)].map(([run]) => run.length))
  const fence = '`'.repeat(longest + 1)
  const pad = /^[ `]|[ `]$/.test(line) ? ' ' : ''
  return `${fence}${pad}${line}${pad}${fence}`
}

/** In one line, without what is not seen. */
const plain = (text: string): string => text.replace(/\s+/g, ' ').replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, '')
