/** Pages in a headless Chromium: what is on them, what can be done with them, and that they ask for nothing. */
import { appendFileSync, cpSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Browser, Page } from 'playwright-core'
import t from 'tap'
import { writeAtomic } from '../../lib/io/atomic.js'
import { serveRun } from '../../lib/report/live.js'
import { queryMaps } from '../../lib/report/query-maps.js'
import { reportContent, reportPage } from '../../lib/report/report.js'
import { distinctLabels, readRun } from '../../lib/report/run-record.js'
import { browser, noBrowser, watched, worstContrast } from '../browser.js'
import { lateforge } from '../command.js'
import { folder } from '../train/tiny.js'
import { reportedRun, stepLines } from './run.js'

const skip = noBrowser
const dir = folder(t)
let opened: Browser
let one: string
/** Its page. */
let onePage: string

t.before(async () => {
  if (skip) return
  opened = await browser(t)
  one = await reportedRun(dir, 'one')
  onePage = await report([one], 'one.html')
})

async function report(folders: readonly string[], name: string, queries = 2): Promise<string> {
  const runs = await Promise.all(folders.map((folder) => readRun(folder)))
  distinctLabels(runs)
  const maps = []
  for (const [n, run] of runs.entries()) maps.push(await queryMaps(run, n, { queries, device: 'cpu' }))
  const file = path.join(dir, name)
  await writeAtomic(file, [reportPage(runs, reportContent(runs, maps))])
  return pathToFileURL(file).href
}

/** What a person reads there. */
const shown = async (page: Page, selector: string) => (await page.locator(selector).allInnerTexts()).join('\n')

const fits = (page: Page) => page.evaluate('document.documentElement.scrollWidth <= innerWidth')
const hacked = (page: Page) => page.evaluate('globalThis.hacked')

t.test('a run of three phases', { skip }, async (t) => {
  const { page, requests, complaints } = await watched(opened, onePage)
  t.same([requests, complaints], [[], []], 'asks for nothing, complains of nothing')
  t.equal(await hacked(page), undefined)
  const text = await shown(page, 'main')
  for (const part of ['done', '1. one', '2. two', '3. three', 'contrastive', 'distillation', 'ndcg@10', 'Best queries'])
    t.match(text, part)
  t.match(await shown(page, '#evaluations'), /one, step 4\s+ndcg@10 \d\.\d{4} \[\d\.\d{4}, \d\.\d{4}\]/)
  t.match(await shown(page, '#recipe'), /queryPrompt\s+""\s+""\s+w9\s+w9/, 'what changes between phases')
  t.match(await shown(page, '#recipe'), /documentLength\s+16\s+16\s+12\s+12/)
  t.match(await shown(page, '#settings'), /phases\[1\]\.prompts\.query\s+w9\s+given/)
  t.match(await shown(page, '#data'), /pairs\s+one\s+61\s+4\s+100 %/)
  await page.click('summary:has-text("All ")')
  t.match(await shown(page, '#settings-all'), /weightDecay\s+0\s+default/)

  // Hostile texts are there to read.
  await page.click('summary:has-text("one: 3 rows")')
  t.match(await shown(page, '#samples-0-0'), /<[\s\S]*\/[\s\S]*>/)
  t.match(await shown(page, '#queries'), '</script><script>window.hacked = 1</script><img src=x onerror=')
  const markup = await page.content()
  t.notOk(['\u202e', '\u001b'].some((char) => markup.includes(char)))

  // Curves, by mouse and by keyboard.
  t.equal(await page.locator('[data-curve] canvas').count(), await page.locator('[data-curve]').count())
  t.ok((await page.locator('[data-curve]').count()) >= 8)
  const loss = page.locator('[data-curve=loss] .plot')
  await loss.focus()
  await page.keyboard.press('End')
  t.match(await loss.getAttribute('aria-valuetext'), /^step 12: /)
  await page.keyboard.press('ArrowLeft')
  t.match(await loss.getAttribute('aria-valuetext'), /^step 11: /)
  t.match(await shown(page, '[data-curve=loss] .reading'), /^step 11: /)
  t.match(await loss.getAttribute('aria-label'), /^Loss\. .*from .* to /)
  t.equal(await page.getByRole('figure', { name: 'Memory at its peak, GiB' }).count(), 1)
  t.equal(await page.getByText('Numbers of Learning rate').count(), 1)

  // Maps: a token of the query is picked, by mouse and by keyboard.
  const map = page.locator('.map').first()
  const tokens = map.locator('button[data-query]')
  await tokens.nth(2).click()
  t.equal(await tokens.nth(2).getAttribute('aria-pressed'), 'true')
  t.match(
    (await map.locator('.reading').allInnerTexts()).join(),
    /is answered by d\d+: “.*” -?\d\.\d\d.*Shade: similarity from/,
  )
  t.equal(await map.locator('.token.answer').count(), await map.locator('.document').count())
  await page.keyboard.press('ArrowRight')
  await page.keyboard.press('Enter')
  t.equal(await tokens.nth(3).getAttribute('aria-pressed'), 'true')
  t.equal(await tokens.nth(2).getAttribute('aria-pressed'), 'false')
  await page.keyboard.press('Enter')
  t.equal(await map.locator('.token.answer').count(), 0, 'picked once more, it is let go')

  const background = () => page.evaluate('getComputedStyle(document.documentElement).backgroundColor')
  const light = await background()
  await page.getByRole('button', { name: 'Dark colours' }).click()
  t.not(await background(), light, 'dark')
  t.same([requests, complaints], [[], []])
  await page.close()
})

t.test('at phone width, in the dark, on paper, without scripts', { skip }, async (t) => {
  for (const options of [{ viewport: { width: 320, height: 700 } }, { colorScheme: 'dark' as const }]) {
    const { page, complaints } = await watched(opened, onePage, options)
    t.ok(await fits(page), 'nothing sticks out')
    const { contrast, of } = await worstContrast(page)
    t.ok(contrast >= 4.5, `a contrast of ${contrast.toFixed(2)}: ${of}`)
    t.same(complaints, [])
    await page.close()
  }
  const { page } = await watched(opened, onePage, { colorScheme: 'dark' })
  await page.emulateMedia({ media: 'print' })
  t.equal(await page.evaluate('getComputedStyle(document.documentElement).backgroundColor'), 'rgb(255, 255, 255)')
  t.ok((await page.pdf({ format: 'A4' })).length > 20_000)
  t.match(await shown(page, 'summary'), /one: 3 rows[\s\S]*All \d+ settings/, 'what is unfolded on paper has its name')
  await page.close()
  const plain = await watched(opened, onePage, { javaScriptEnabled: false })
  t.match(await shown(plain.page, 'body'), /The curves need scripts/)
  await plain.page.close()
})

t.test('two runs beside each other, one of them not finished', { skip }, async (t) => {
  const other = path.join(dir, 'elsewhere', 'one')
  cpSync(one, other, { recursive: true })
  const log = path.join(other, 'events.ndjson')
  const lines = readFileSync(log, 'utf8').split('\n')
  const cut = lines.findIndex((line) => line.includes('"phase":"three"') && line.includes('"step":2,'))
  writeFileSync(log, [...lines.slice(0, cut + 1), lines[cut + 1]!.slice(0, 20)].join('\n'))
  const config = JSON.parse(readFileSync(path.join(other, 'config.json'), 'utf8'))
  writeFileSync(path.join(other, 'config.json'), JSON.stringify({ ...config, seed: 8 }))
  const { page, requests, complaints } = await watched(opened, await report([one, other], 'two.html', 1))
  t.same([requests, complaints], [[], []])
  t.match(await shown(page, '#overview'), /not finished, in three, step 2 of 4/)
  t.match(await shown(page, '[data-curve=loss] .keys'), /elsewhere\/one/)
  t.match(await shown(page, '#settings'), /seed\s+7 .*\s+8 /)
  t.match(await shown(page, '#events'), /1 line of the log is no event/)
  await page.close()
})

t.test('a hundred thousand steps open at once, and the one that stands out is there', { skip }, async (t) => {
  const long = path.join(dir, 'long')
  mkdirSync(long)
  writeFileSync(path.join(long, 'config.json'), JSON.stringify({ phases: [{ name: 'one' }] }))
  const begin = { type: 'phase', at: 'begin', phase: 'one', step: 0, globalStep: 0, index: 0, steps: 100_000 }
  writeFileSync(path.join(long, 'events.ndjson'), `${JSON.stringify(begin)}\n${stepLines(100_000)}`)
  const url = await report([long], 'long.html', 0)
  const started = performance.now()
  const { page, complaints } = await watched(opened, url)
  await page.waitForSelector('html[data-drawn]')
  const seconds = (performance.now() - started) / 1000
  t.comment(
    `opened in ${seconds.toFixed(2)} s; drawn ${await page.getAttribute('html', 'data-drawn')} ms after it was asked for`,
  )
  t.ok(seconds < 10, 'two seconds where nothing else runs')
  t.same(complaints, [])
  t.match(await shown(page, '#curves'), /A point is the mean of 67 steps;/)
  const largest = await page.evaluate(
    "Math.max(...JSON.parse(document.getElementById('page-data').textContent).curves.loss.series[0].high)",
  )
  t.equal(largest, 99)
  await page.close()
})

t.test('ui: the same page, while the run goes on', { skip }, async (t) => {
  const going = path.join(dir, 'going')
  mkdirSync(going)
  writeFileSync(path.join(going, 'config.json'), JSON.stringify({ phases: [{ name: 'one', batch: 8 }] }))
  const begin = { type: 'phase', at: 'begin', phase: 'one', step: 0, globalStep: 0, index: 0, steps: 100_000 }
  const log = path.join(going, 'events.ndjson')
  writeFileSync(log, `${JSON.stringify(begin)}\n${stepLines(20)}`)
  const live = await serveRun(going, { port: 0, queries: 0, device: 'cpu', everyMs: 50 })
  t.teardown(() => live.close())
  const { page, requests, complaints } = await watched(opened, live.url)
  t.match(await shown(page, '#overview'), /step 20 of 100,000/)
  appendFileSync(log, stepLines(5, 21))
  await page.waitForSelector('#overview:has-text("step 25 of 100,000")')
  appendFileSync(
    log,
    `${JSON.stringify({ type: 'warning', code: 'memory', message: '<b id=bold>much</b>', details: {} })}\n`,
  )
  await page.waitForSelector('#events:has-text("<b id=bold>much</b>")')
  t.equal(await page.locator('#bold').count(), 0)
  truncateSync(log, JSON.stringify(begin).length + 1)
  appendFileSync(log, stepLines(3))
  await page.waitForSelector('#overview:has-text("step 3 of 100,000")')
  t.same(requests, [`${live.url}events`])
  t.same(complaints, [])
  t.equal((await fetch(`${live.url}none`)).status, 404)
  t.equal((await fetch(live.url, { method: 'POST' })).status, 405)
  await live.close()
  await page.waitForSelector('#live:has-text("the server is gone")')
  await page.close()
})

t.test('explain --html: several documents side by side', { skip }, async (t) => {
  const file = path.join(dir, 'why.html')
  const args = [
    '--query',
    'w1 w2',
    '--document',
    'w2 w3 .',
    '--document',
    `<b>w1</b> ${'w4 '.repeat(30)}`,
    '--html',
    file,
  ]
  t.match(lateforge(['explain', path.join(dir, 'model'), ...args]), { status: 0, stdout: /why\.html\n$/ })
  const { page, requests, complaints } = await watched(opened, pathToFileURL(file).href)
  t.same([requests, complaints], [[], []])
  t.equal(await page.locator('.document').count(), 2)
  t.match(await shown(page, '.document >> nth=1'), /tokens were cut: the model reads 16/)
  t.equal(await shown(page, '.document >> nth=0 >> .token.skipped'), '.')
  await page.locator('button[data-query="2"]').click()
  t.match(await shown(page, '.reading'), /^“w1” is answered by document 1: .*; document 2: /)
  await page.close()
})
