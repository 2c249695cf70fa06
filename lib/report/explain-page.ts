import type { Explanation } from '../models/explain.js'
import { html, own } from './html.js'
import { type MapLabel, tokenMap } from './map.js'
import { page } from './page.js'

/** One page with the map of a query and documents. @param about what explained it: the model, its recipe */
export function explainPage(explanation: Explanation, labels: readonly MapLabel[], about: readonly string[]): string {
  const { html: map, data } = tokenMap(explanation, labels, 'explain')
  return page({
    title: `Why: ${explanation.query.text.slice(0, 100)}`,
    body: html`<p class="lead">A score is a sum: each token of the query counts by the token of the document that is most like it (MaxSim).</p>
${map}
${legend}
<ul class="about">${about.map((line) => html`<li>${own(line)}</li>`)}</ul>`,
    data: { maps: { explain: data } },
  })
}

/** What the looks of tokens mean. */
export const legend = html`<dl class="legend">
<div><dt><span class="token text s8">token</span></dt><dd>the stronger the shade, the more of the score it gives</dd></div>
<div><dt><span class="token special">[CLS]</span></dt><dd>special token or prefix; scores</dd></div>
<div><dt><span class="token expansion">[MASK]</span></dt><dd>fills a query up; scores</dd></div>
<div><dt><span class="token skipped">.</span></dt><dd>skipped: read, and left out of scoring</dd></div>
<div><dt><span class="token cut">end</span></dt><dd>cut: beyond the length, never seen by the model</dd></div>
</dl>`
