/** The sections of a report but those of data and of queries. */
import { count, countOf, duration } from '../io/amounts.js'
import type { Recipe } from '../text/recipe.js'
import type { Curve } from './curves.js'
import { type Html, html, own, type Value } from './html.js'
import { type Column, facts, folded, isStandIn, type Row, same, settingText, short, table } from './parts.js'
import type { LoggedPhase } from './run-log.js'
import type { RunRecord } from './run-record.js'

/** How a run stands, its phases, and what it came to. */
export function overview(runs: readonly RunRecord[]): Html {
  return html`${runs.map((run) => html`${runs.length > 1 && html`<h3>${own(run.label)}</h3>`}${runFacts(run)}`)}
${table('Phases', phaseColumns(runs), runs.flatMap(phaseRows(runs.length > 1)))}`
}

function runFacts({ log, config, locked }: RunRecord): Html {
  const [first] = log.starts
  const last = log.starts.at(-1)
  const steps = log.steps.at(-1) ?? 0
  const best = bestOf(log.evaluations, config)
  return facts([
    ['State', state(log.done !== null, locked, log.phases.at(-1))],
    ['Steps', count(steps)],
    ['Time', `${duration(log.seconds)}${log.starts.length > 1 ? `, resumed ${log.starts.length - 1} ×` : ''}`],
    ...(best ? [['Best', `${best.metric} ${best.value.toFixed(4)}`] as const] : []),
    ['Model', own(settingText(config.model))],
    [
      'Device',
      `${settingText(config.device)}, ${settingText(config.precision)}${last && last.ranks > 1 ? `, ${last.ranks} ranks` : ''}`,
    ],
    ['Seed', settingText(config.seed)],
    ['Started', first ? first.time.replace('T', ' ').replace(/\.\d+Z$/, ' UTC') : 'not yet'],
  ])
}

/** By the metric of the last evaluation. */
export function bestOf(evaluations: RunRecord['log']['evaluations'], { phases }: RunRecord['config']) {
  const last = evaluations.at(-1)
  const settings = phases.find(({ name }) => name === last?.phase)?.evaluate as { mode?: string } | undefined
  const sign = settings?.mode === 'min' ? -1 : 1
  return evaluations.filter(({ metric }) => metric === last?.metric).sort((a, b) => sign * (b.value - a.value))[0]
}

function state(done: boolean, locked: boolean, phase: LoggedPhase | undefined): Html {
  if (done) return html`<span class="state-done">done</span>`
  const at = phase ? `, in ${phase.name}, step ${count(phase.last?.step ?? 0)} of ${count(phase.begin.steps)}` : ''
  return locked ? html`going on${at}` : html`<span class="state-stopped">not finished</span>${at}`
}

const several = (runs: readonly RunRecord[]): Column[] => (runs.length > 1 ? [{ head: 'run' }] : [])

const phaseColumns = (runs: readonly RunRecord[]): Column[] => [
  { head: 'phase' },
  ...several(runs),
  ...['loss', 'steps', 'batch', 'rows', 'last loss', 'tokens/s', 'waiting', 'memory'].map((head, i) => ({
    head,
    number: i > 0,
  })),
  { head: 'evaluation' },
]

function phaseRows(named: boolean): (run: RunRecord) => Row[] {
  return ({ label, config, log }) =>
    config.phases.map((settings, i) => {
      const name = settingText(settings.name)
      const phase = log.phases.find((each) => each.name === name)
      const mean = (values: readonly (number | null)[]): number | null => {
        const next = log.phases[log.phases.indexOf(phase!) + 1]
        const own = values.filter(
          (value, at): value is number =>
            value !== null && log.steps[at]! > phase!.first && (!next || log.steps[at]! <= next.first),
        )
        return own.length > 0 ? own.reduce((sum, value) => sum + value, 0) / own.length : null
      }
      const evaluation = log.evaluations.filter((event) => event.phase === name).at(-1)
      const wait = phase ? mean(log.values.dataWait) : null
      return {
        cells: [
          `${i + 1}. ${name}`,
          ...(named ? [own(label)] : []),
          lossText(settings.loss),
          phase ? `${count(phase.last?.step ?? 0)} of ${count(phase.begin.steps)}` : 'not begun',
          settingText(settings.batch),
          phase?.begin.rows === undefined ? '–' : count(phase.begin.rows),
          short(phase?.last?.loss),
          phase ? short(mean(log.values.tokensPerSecond)) : '–',
          wait === null ? '–' : `${wait.toFixed(1)} %`,
          phase?.last ? `${(phase.last.memory / 2 ** 30).toFixed(2)} GiB` : '–',
          evaluation ? html`<span class="whole">${scored(evaluation)}</span>` : '–',
        ],
      }
    })
}

/** A loss by name, several by their weights, one's own by its id. */
function lossText(loss: unknown): string {
  if (typeof loss !== 'object' || loss === null || isStandIn(loss)) return settingText(loss)
  return Object.entries(loss)
    .map(([name, weight]) => `${name} × ${weight}`)
    .join(' + ')
}

/** `ndcg@10 0.5712 [0.5601, 0.5822]`. */
export function scored({
  metric,
  value,
  interval,
}: {
  metric: string
  value: number
  interval?: { low: number; high: number }
}): string {
  const range = interval ? ` [${interval.low.toFixed(4)}, ${interval.high.toFixed(4)}]` : ''
  return `${metric} ${value.toFixed(4)}${range}`
}

/** The places of curves, each with its numbers as a table. @param numbers without them it says which curves there are */
export function curveSection(curves: Readonly<Record<string, Curve>>, numbers = true): Html {
  const entries = Object.entries(curves)
  if (entries.length === 0) return html`<p class="note">No step was done yet.</p>`
  const all = entries.flatMap(([, { series, points }]) => (points ? [] : series))
  const coarsest = Math.max(1, ...all.map(({ per }) => per))
  const upTo = all.some(({ per }) => per < coarsest) ? 'up to ' : ''
  const runs = curves.learningRate?.series ?? []
  const whose = runs.length > 1 ? `, in ${runs[0]!.label}` : ''
  return html`<p class="note">${
    coarsest > 1
      ? `A point is the mean of ${upTo}${coarsest} steps; the band behind the line runs from the smallest to the largest of them.`
      : 'Every step is a point.'
  } Dotted lines: where phases begin${whose}. Arrow keys move along a curve; drag to look closer, double click to see all again.</p>
<div class="curves">${entries.map(([id, curve]) => curveHtml(id, curve, numbers))}</div>
<noscript><p>The curves need scripts to be drawn; their numbers are in the tables.</p></noscript>`
}

/** The numbers of a curve for those who do not see it, so many points of each line. */
const LISTED = 12

function curveHtml(id: string, curve: Curve, numbers: boolean): Html {
  const { title, series } = curve
  const name = `curve-${id}`
  return html`<figure class="curve" data-curve="${id}" aria-labelledby="${name}"><h3 id="${name}">${own(curveTitle(curve))}</h3>
<div class="plot"></div>
<ul class="keys">${series.length > 1 && series.map(({ label }, i) => html`<li><span class="swatch k${i % 6}"></span>${own(label)}</li>`)}</ul>
<p class="reading note"></p>
${folded(`numbers-${id}`, html`Numbers<span class="unseen"> of ${title}</span>`, html`<div id="${listedId(id)}">${numbers && curveNumbers(curve)}</div>`)}</figure>`
}

/** `Memory at its peak, GiB`: the axis has the numbers alone. */
const curveTitle = ({ title, unit, log }: Curve): string => `${title}${unit && `,${unit}`}${log ? ', logarithmic' : ''}`

/** Where the numbers of a curve stand. */
export const listedId = (curve: string): string => `listed-${curve}`

/** The numbers of a curve as a table. */
export function curveNumbers({ title, unit, series, points }: Curve): Html {
  const listed = series.flatMap(({ label, x, y, low, high }) => {
    const stride = points ? 1 : Math.max(1, Math.ceil(x.length / LISTED))
    return x.flatMap((step, i) => {
      if ((i % stride !== 0 && i !== x.length - 1) || y[i] === null) return []
      const range = low?.[i] != null && high?.[i] != null ? `${short(low[i])} to ${short(high[i])}` : ''
      return [{ cells: [count(step), own(label), short(y[i]), range] }]
    })
  })
  return table(
    `${title}: numbers`,
    [
      { head: 'step', number: true },
      { head: 'line' },
      { head: `value${unit && ` in${unit}`}`, number: true },
      { head: points ? '95 % interval' : 'from, to' },
    ],
    listed,
  )
}

/** All evaluations. */
export function evaluationSection(runs: readonly RunRecord[]): Html {
  const rows = runs.flatMap(({ label, log }) =>
    log.evaluations.map((event) => ({
      cells: [
        `${event.phase}, step ${event.step}`,
        ...(runs.length > 1 ? [own(label)] : []),
        html`<span class="whole">${scored(event)}</span>`,
        Object.entries(event.metrics)
          .filter(([name]) => name !== event.metric)
          .map(([name, value]) => `${name} ${value.toFixed(4)}`)
          .join(', '),
        event.best ? 'yes' : '',
        duration(event.seconds),
      ],
    })),
  )
  if (rows.length === 0) return html`<p class="note">Nothing was evaluated.</p>`
  const whole = runs.every(({ log }) => log.evaluations.every(({ interval }) => interval))
  return html`${table('Evaluations', [{ head: 'after' }, ...several(runs), { head: 'decides' }, { head: 'others' }, { head: 'best of its phase so far' }, { head: 'time', number: true }], rows)}
<p class="note">In brackets: the 95 % interval over queries (bootstrap)${!whole && '; absent where the evaluation was a function of its own, or the log is older'}.</p>`
}

/** What of the recipe changes on the way, and all of it. */
export function recipeSection(runs: readonly RunRecord[]): Html {
  return html`${runs.map((run, n) => html`${runs.length > 1 && html`<h3>${own(run.label)}</h3>`}${recipeOf(run, n)}`)}`
}

function recipeOf({ log }: RunRecord, n: number): Html {
  const told: { name: string; recipe: Recipe }[] = []
  if (log.starts[0]?.recipe) told.push({ name: 'model', recipe: log.starts[0].recipe })
  for (const { name, begin } of log.phases) if (begin.recipe) told.push({ name, recipe: begin.recipe })
  if (told.length === 0) return html`<p class="note">The log does not tell the recipe: it is of an earlier version.</p>`
  const columns = [{ head: 'field' }, ...told.map(({ name }) => ({ head: name }))]
  const fields = Object.keys(told[0]!.recipe) as (keyof Recipe)[]
  const row = (field: keyof Recipe): Row => ({
    cells: [field, ...told.map(({ recipe }) => html`<span class="value">${own(settingText(recipe[field]))}</span>`)],
    differs: told.some(({ recipe }) => !same(recipe[field], told[0]!.recipe[field])),
  })
  const changed = fields.map(row).filter(({ differs }) => differs)
  return html`${
    changed.length > 0
      ? table('What of the recipe changes', columns, changed)
      : html`<p>Every phase reads texts as the model did at the beginning: no prompt, prefix or length differs.</p>`
  }
${folded(`recipe-${n}`, 'The whole recipe', table('The whole recipe', columns, fields.map(row)))}`
}

/** Every setting with where it comes from; of several runs those that differ first. */
export function settingsSection(runs: readonly RunRecord[]): Html {
  const flat = runs.map(({ config }) => flattened(config))
  const keys = [...new Set(flat.flatMap((settings) => [...settings.keys()]))]
  const rows = keys.map((key) => {
    const values = flat.map((settings) => settings.get(key))
    const origins = runs.map(({ origins }) => origins?.[key])
    return {
      cells: [key, ...values.map((value, i) => setting(value, origins[i]))],
      differs: values.some((value) => !same(value, values[0])),
      isDefault: origins.every((origin) => origin === 'default'),
    }
  })
  const columns = [
    { head: 'setting' },
    ...runs.map(({ label }) => ({ head: runs.length > 1 ? label : 'value, and where it comes from' })),
  ]
  const first = runs.length > 1 ? rows.filter(({ differs }) => differs) : rows.filter(({ isDefault }) => !isDefault)
  const note =
    runs.some(({ origins }) => origins === null) &&
    'A run of an earlier version does not say where its values come from.'
  return html`<h3>${runs.length > 1 ? 'What differs' : 'What is not a default'}</h3>
${first.length > 0 ? table('Settings', columns, runs.length > 1 ? first.map(({ cells }) => ({ cells })) : first.map(({ cells }) => ({ cells }))) : html`<p>Nothing.</p>`}
${note && html`<p class="note">${note}</p>`}
${folded('settings-all', `All ${rows.length} settings`, table('All settings', columns, rows))}`
}

function setting(value: unknown, origin: string | undefined): Value {
  return html`<span class="value">${own(settingText(value))}</span>${origin && html` <span class="note">${own(origin)}</span>`}`
}

/** All settings by their dotted keys. */
export function flattened(config: Record<string, unknown>): Map<string, unknown> {
  const found = new Map<string, unknown>()
  const visit = (value: unknown, path: string): void => {
    const nested = Array.isArray(value)
      ? path === 'phases' && value.map((part, i): [string, unknown] => [`${path}[${i}]`, part])
      : typeof value === 'object' &&
        value !== null &&
        !isStandIn(value) &&
        Object.entries(value).map(([key, part]): [string, unknown] => [path ? `${path}.${key}` : key, part])
    if (nested) for (const [key, part] of nested) visit(part, key)
    else found.set(path, value)
  }
  visit(config, '')
  return found
}

/** Warnings, checkpoints, and where the run was taken up again. */
export function eventSection(runs: readonly RunRecord[]): Html {
  return html`${runs.map(({ label, log }, n) => {
    const warnings = log.warnings.map(
      ({ code, message }) => html`<li><span class="warn">${code}</span> ${own(message)}</li>`,
    )
    const saved = log.checkpoints.map(({ time, phase, step, reason, path }) => ({
      cells: [`${phase}, step ${step}`, reason, time.replace('T', ' ').replace(/\.\d+Z$/, ''), own(path)],
    }))
    return html`${runs.length > 1 && html`<h3>${own(label)}</h3>`}
${warnings.length > 0 ? html`<ul>${warnings}</ul>` : html`<p>No warning.</p>`}
${log.damaged > 0 && html`<p class="note">${log.damaged === 1 ? '1 line of the log is no event' : `${count(log.damaged)} lines of the log are no events`}: it was cut off while it was written.</p>`}
${saved.length > 0 && folded(`saved-${n}`, countOf(saved.length, 'checkpoint'), table('Checkpoints', [{ head: 'after' }, { head: 'why' }, { head: 'when' }, { head: 'where' }], saved))}`
  })}`
}
