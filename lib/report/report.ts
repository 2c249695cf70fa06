/** The report of a run, or of several beside each other: one page. */
import { curvesOf } from './curves.js'
import { dataSection } from './data-section.js'
import { legend } from './explain-page.js'
import { type Html, html } from './html.js'
import { page } from './page.js'
import type { QueryMaps } from './query-maps.js'
import type { RunRecord } from './run-record.js'
import { curveSection, evaluationSection, eventSection, overview, recipeSection, settingsSection } from './sections.js'

/** What of a page changes while a run goes on. */
export interface ReportContent {
  sections: Record<string, Html>
  curves: ReturnType<typeof curvesOf>
  maps: Record<string, unknown>
}

const titles: Readonly<Record<string, string>> = {
  overview: 'Overview',
  curves: 'Curves',
  evaluations: 'Evaluations',
  data: 'Data',
  queries: 'Best and worst queries',
  recipe: 'Recipe',
  settings: 'Settings',
  events: 'Warnings and checkpoints',
}

/** What there is to say of runs. @param maps of each run, where they were made */
export function reportContent(runs: readonly RunRecord[], maps: readonly QueryMaps[]): ReportContent {
  const curves = curvesOf(runs)
  const drawn: Record<string, unknown> = Object.assign({}, ...maps.map(({ data }) => data))
  const queries = maps.map(({ html: map }, n) => html`${runs.length > 1 && html`<h3>${runs[n]!.label}</h3>`}${map}`)
  return {
    sections: {
      overview: overview(runs),
      curves: curveSection(curves),
      evaluations: evaluationSection(runs),
      data: dataSection(runs),
      ...(maps.length > 0 && { queries: html`${Object.keys(drawn).length > 0 && legend}${queries}` }),
      recipe: recipeSection(runs),
      settings: settingsSection(runs),
      events: eventSection(runs),
    },
    curves,
    maps: drawn,
  }
}

/** The page. @param live served while the run goes on */
export function reportPage(
  runs: readonly RunRecord[],
  { sections, curves, maps }: ReportContent,
  live = false,
): string {
  const entries = Object.entries(sections)
  return page({
    title: runs.map(({ label }) => label).join(' and '),
    body: html`<nav aria-label="Sections"><ul>${entries.map(([id]) => html`<li><a href="#${id}-title">${titles[id]}</a></li>`)}</ul></nav>
${live && html`<p class="note" id="live" role="status">live</p>`}
${entries.map(([id, content]) => html`<section aria-labelledby="${id}-title"><h2 id="${id}-title">${titles[id]}</h2><div id="${id}">${content}</div></section>`)}`,
    data: { curves, maps },
    curves: true,
    live,
  })
}
