/** The best and the worst queries of a run's last evaluation, with the maps of what was found and what was to be found. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { DeviceError } from '../errors.js'
import { type Collection, loadBeir, textsAt } from '../eval/collections.js'
import { Colbert } from '../models/colbert.js'
import { type Explanation, explain } from '../models/explain.js'
import type { EvaluationDetails } from '../models/options.js'
import type { OnProgress } from '../progress.js'
import { abortIf } from '../turns.js'
import { type Html, html, own } from './html.js'
import { type MapLabel, tokenMap } from './map.js'
import { trainedModel } from './run-folder.js'
import { evaluationDetails, type RunRecord } from './run-record.js'

/** Options of `queryMaps`. */
export interface QueryMapOptions {
  /** So many of the best, and so many of the worst. */
  queries: number
  /** Where the model runs. */
  device: string
  signal?: AbortSignal
  /** Told how the loading of model and collections is, and how many queries are mapped. */
  onProgress?: OnProgress
}

/** A query of an evaluation, with what was found. */
interface Chosen {
  collection: EvaluationDetails['collections'][number]
  query: EvaluationDetails['collections'][number]['queries'][number]
}

/** Its section, and what its script needs, by the keys of the maps. */
export interface QueryMaps {
  html: Html
  data: Record<string, unknown>
}

const said = (text: string): QueryMaps => ({ html: html`<p class="note">${text}</p>`, data: {} })

/** @param n number of the run on the page */
export async function queryMaps(run: RunRecord, n: number, options: QueryMapOptions): Promise<QueryMaps> {
  const { log, folder, config } = run
  if (options.queries === 0) return said('No query was asked for.')
  if ((config.card as { samples?: number } | undefined)?.samples === 0)
    return said('The config says card.samples: 0, so no text of an evaluation is shown.')
  const last = log.evaluations.at(-1)
  const details = last && (await evaluationDetails(folder, last.globalStep))
  if (!last || !details)
    return said(
      last
        ? 'This evaluation was not kept query by query: it was a function of its own, or the run is of an earlier version.'
        : 'Nothing was evaluated.',
    )
  try {
    const name = await modelAt(folder, last.globalStep)
    const { html: maps, data } = await mapped(name, n, details, options)
    const about = html`<p class="note">Of the evaluation after ${last.phase}, step ${last.step}; maps by ${own(name)}. Shown are the
document that the model ranks first and, where that is not relevant, one that is.</p>`
    return { html: html`${about}${maps}`, data }
  } catch (error) {
    if (options.signal?.aborted || error instanceof DeviceError) throw error
    // What is known of the run is worth its page without this.
    return said(`The queries of the last evaluation cannot be shown: ${(error as Error).message}`)
  }
}

async function mapped(
  model: string,
  n: number,
  details: EvaluationDetails,
  { queries, device, signal, onProgress }: QueryMapOptions,
): Promise<QueryMaps> {
  const parts: Html[] = []
  const all: QueryMaps['data'] = {}
  const collections = new Map<string, Promise<Collection>>()
  using loaded = await Colbert.load(model, { device, signal, onNote: () => {}, onProgress })
  const groups = Object.entries(extremes(details, queries))
  const total = groups.reduce((sum, [, chosen]) => sum + chosen.length, 0)
  let done = 0
  for (const [title, chosen] of groups) {
    parts.push(html`<h3>${title}</h3>`)
    for (const one of chosen) {
      abortIf(signal)
      const { html: map, data } = await mapOf(loaded, one, details.metric, `run${n}-${parts.length}`, {
        collections,
        onProgress,
      })
      onProgress?.({ stage: 'scoring', name: model, done: ++done, total, unit: 'queries' })
      parts.push(map)
      Object.assign(all, data)
    }
  }
  return { html: html`${parts}`, data: all }
}

/** The model as it was evaluated, where its checkpoint is there; else the trained one. */
async function modelAt(folder: string, globalStep: number): Promise<string> {
  const saved = join(folder, 'checkpoints', `step-${globalStep}`, 'model')
  return existsSync(saved) ? saved : ((await trainedModel(folder)) ?? folder)
}

function extremes({ collections }: EvaluationDetails, most: number): Record<string, Chosen[]> {
  const all = collections.flatMap((collection) =>
    collection.folder === undefined ? [] : collection.queries.map((query) => ({ collection, query })),
  )
  if (all.length === 0) throw new Error('the collections were in memory, and are gone')
  const rising = all.sort((a, b) => a.query.value - b.query.value)
  const worst = rising.slice(0, Math.min(most, Math.ceil(rising.length / 2)))
  return { 'Best queries': rising.slice(worst.length).slice(-most).reverse(), 'Worst queries': worst }
}

async function mapOf(
  model: Colbert,
  { collection: { name, folder, split }, query: { id, value, top } }: Chosen,
  metric: string,
  key: string,
  { collections, onProgress }: { collections: Map<string, Promise<Collection>>; onProgress: OnProgress | undefined },
): Promise<QueryMaps> {
  if (!collections.has(folder!)) collections.set(folder!, loadBeir(folder!, { split, stream: true, onProgress }))
  const { queries, documents, qrels } = await collections.get(folder!)!
  const text = queries.texts[queries.ids.indexOf(id)]
  if (text === undefined) throw new Error(`${folder} no longer has query "${id}"`)
  const judged = [...(qrels.get(id) ?? [])].filter(([, grade]) => grade > 0).map(([document]) => document)
  const shown = [
    ...new Set([...(top === null ? [] : [top]), ...(judged.includes(top ?? '') ? [] : judged.slice(0, 1))]),
  ]
  const numbers = shown.map((document) => documents.ids.indexOf(document)).filter((at) => at >= 0)
  const texts = await textsAt(documents, new Set(numbers))
  const labels = numbers.map((at): MapLabel => {
    const document = documents.ids[at]!
    const note = [document === top && 'ranked first', judged.includes(document) ? 'relevant' : 'not judged relevant']
    return { name: document, note: note.filter(Boolean).join(', ') }
  })
  const explanation: Explanation = await explain(
    model,
    text,
    numbers.map((at) => texts.get(at)!),
    { similarities: true, cutTokens: 16 },
  )
  const { html: map, data } = tokenMap(explanation, labels, key)
  return {
    html: html`<div class="case"><p><strong>${own(text)}</strong> <span class="note">${own(`${name}, query ${id}`)}: ${metric} ${value.toFixed(3)}, ${judged.length} relevant</span></p>${map}</div>`,
    data: { [key]: data },
  }
}
