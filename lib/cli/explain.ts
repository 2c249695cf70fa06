import { ArgumentError } from '../errors.js'
import { writeAtomic } from '../io/atomic.js'
import type { Colbert } from '../models/colbert.js'
import { type Explanation, explain as explainTexts } from '../models/explain.js'
import { explainPage } from '../report/explain-page.js'
import type { MapLabel } from '../report/map.js'
import { trainedModel } from '../report/run-folder.js'
import { explanationText } from '../report/terminal.js'
import { interruptible, print, printJson } from './common.js'
import { isIndex, opened } from './index-folder.js'
import { loadModel, type ModelOptions } from './model.js'

interface ExplainOptions extends ModelOptions {
  query: string
  document?: readonly string[]
  id?: readonly string[]
  topK?: number
  model?: string
  html?: string
  json?: boolean
}

/** Documents that are explained, with what they are called. */
interface Chosen {
  model: Colbert
  /** As whoever asks calls it. */
  name: string
  documents: { text: string; label: MapLabel }[]
}

/** `lateforge explain <model, run or index> --query … --document …` */
export async function explain(target: string, options: ExplainOptions): Promise<void> {
  const signal = interruptible('stopping')
  const { model, name, documents } = isIndex(target)
    ? await ofIndex(target, options, signal)
    : await ofModel(target, options, signal)
  const texts = documents.map(({ text }) => text)
  const labels = documents.map(({ label }) => label)
  let found: Explanation
  try {
    found = await explainTexts(model, options.query, texts, { similarities: options.html !== undefined, signal })
  } finally {
    model.dispose()
  }
  if (options.html !== undefined) {
    const about = [`model ${name}`, ...model.recipeNotes, `explained on ${model.device.name}, ${model.precision}`]
    await writeAtomic(options.html, [explainPage(found, labels, about)])
  }
  if (options.json) {
    const { documents: explained, ...rest } = found
    const named = explained.map(({ similarities: _, ...document }, n) => ({ ...labels[n], ...document }))
    printJson({ model: name, ...rest, documents: named })
  } else if (options.html !== undefined) print(options.html)
  else {
    const { isTTY, columns = 100 } = process.stdout
    print(explanationText(found, labels, { colours: isTTY === true && !process.env.NO_COLOR, columns }))
  }
}

async function ofModel(target: string, options: ExplainOptions, signal: AbortSignal): Promise<Chosen> {
  for (const [flag, value] of Object.entries({ id: options.id, 'top-k': options.topK, model: options.model }))
    if (value !== undefined)
      throw new ArgumentError('ERR_ARGUMENT', `--${flag} is for an index, and ${target} is none; give --document TEXT`)
  const { document: texts = [] } = options
  if (texts.length === 0)
    throw new ArgumentError('ERR_ARGUMENT', 'no document was given: --document TEXT, which may be repeated')
  const name = (await trainedModel(target)) ?? target
  const model = await loadModel(name, options, { signal })
  const label = (n: number): MapLabel => ({ name: texts.length > 1 ? `document ${n + 1}` : 'document' })
  return { model, name, documents: texts.map((text, n) => ({ text, label: label(n) })) }
}

/** Documents of an index: those that are named, and without names what the query finds; beside them other texts. */
async function ofIndex(target: string, options: ExplainOptions, signal: AbortSignal): Promise<Chosen> {
  const { query, document: texts = [], id, topK } = options
  if (id && topK !== undefined)
    throw new ArgumentError('ERR_ARGUMENT', '--top-k has no effect beside --id, which says what is explained')
  const { index, model } = await opened(target, options, signal)
  try {
    const { model: own, pooling, type } = await index.info()
    const found =
      texts.length > 0 && !id && topK === undefined
        ? []
        : (
            await index.search([query], { topK: id?.length ?? topK ?? 3, withTexts: true, ...(id && { among: [id] }) })
          )[0]!
    const missing = id?.find((one) => !found.some((hit) => hit.id === one))
    if (missing !== undefined)
      throw new ArgumentError(
        'ERR_ARGUMENT',
        `${target} has no document "${missing}"; lateforge index search finds ids`,
      )
    const bare = found.find(({ text }) => text === undefined)
    if (bare)
      throw new ArgumentError(
        'ERR_ARGUMENT',
        `${target} keeps no text of "${bare.id}", only its vectors; give the text: --document TEXT`,
      )
    const stored = pooling ? `its pooled ${type} vectors score` : `its ${type} vectors score`
    return {
      model,
      name: options.model ?? own ?? target,
      documents: [
        ...found.map((hit) => ({
          text: hit.text!,
          label: { name: hit.id, note: `${stored} ${hit.score.toFixed(3)} in the index` },
        })),
        ...texts.map((text, n) => ({ text, label: { name: `document ${n + 1}` } })),
      ],
    }
  } catch (error) {
    model.dispose()
    throw error
  } finally {
    await index.close()
  }
}
