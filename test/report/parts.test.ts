/** The pieces of a page: text that stays text, curves that lose nothing, logs that were cut off. */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { curvesOf, decimated } from '../../lib/report/curves.js'
import { html, jsonScript, own, visible } from '../../lib/report/html.js'
import { RunLog } from '../../lib/report/run-log.js'
import { readRun } from '../../lib/report/run-record.js'
import { columnsOf } from '../../lib/report/terminal.js'
import { hostile, stepLines } from './run.js'

t.test('values are text, templates are markup', async (t) => {
  t.equal(
    html`<p title="${'"<&'}">${own('<b>')}${[1, html`<i></i>`, null, false, undefined]}</p>`.markup,
    '<p title="&#34;&#60;&#38;"><bdi>&#60;b&#62;</bdi>1<i></i></p>',
  )
  t.notOk(['<', '\u202e', '\u001b'].some((char) => html`${hostile}`.markup.includes(char)))
  const script = jsonScript('x', { text: `${hostile}\u2028<!--` }).markup
  t.equal(script.indexOf('</script>'), script.length - 9, 'nothing ends the script before its end')
  t.equal(JSON.parse(script.slice(script.indexOf('>') + 1, -9)).text, `${hostile}\u2028<!--`)
  t.equal(visible('a\u001b[31m\u0000\u007f\u009b\u202e\nb\tc'), 'a␛[31m␀␡⟨U+009b⟩⟨U+202e⟩\nb\tc')
})

t.test('columns of a terminal', async (t) => {
  const texts = ['cat', '猫は', '한글', 'שלום', 'e\u0301', '🎉', '👍🏽', '，']
  t.same(texts.map(columnsOf), [3, 4, 4, 4, 1, 2, 2, 2])
})

t.test('fewer points keep the smallest and the largest', async (t) => {
  const steps = Array.from({ length: 10_000 }, (_, i) => i + 1)
  const values = steps.map((step) => (step === 777 ? 50 : step === 778 ? null : Math.sin(step)))
  const { x, y, low, high, per } = decimated(steps, values, 'run', 100)
  t.equal(per, 100)
  t.same([x.length, y.length, low!.length, high!.length], [100, 100, 100, 100])
  t.equal(Math.max(...(high as number[])), 50)
  t.ok(low!.every((value, i) => value! <= y[i]! && y[i]! <= high![i]!))
  const few = decimated(steps.slice(0, 100), values, 'run', 100)
  t.equal(few.per, 1)
  t.notOk('low' in few)
  t.same(decimated([], [], 'run').x, [])
})

t.test('a log whose last line is being written', async (t) => {
  const log = new RunLog()
  for (const line of stepLines(10).split('\n')) log.add(line.slice(0, line.includes('"step":10,') ? 40 : undefined))
  t.equal(log.steps.length, 9)
  t.equal(log.damaged, 1)
  t.same(
    [...log.given.values()].map(({ source, steps }) => [source, steps]),
    [
      ['pairs', 5],
      ['more', 4],
    ],
  )
})

t.test('the time of a run is that of its processes', async (t) => {
  const log = new RunLog()
  const at = (time: string, type: string) => log.add(JSON.stringify({ type, time: `2026-11-30T${time}Z` }))
  for (const [time, type] of [
    ['10:00:00', 'start'],
    ['10:01:00', 'warning'],
    ['12:00:00', 'start'],
    ['12:00:30', 'warning'],
  ] as const)
    at(time, type)
  t.equal(log.seconds, 90, 'not the night between two of them')
})

t.test('curves of evaluations have each step once, the last one too', async (t) => {
  const run = await readRun(t.testdir({ 'config.json': '{"phases":[{"name":"one"}]}' }))
  const evaluated = (globalStep: number, value: number) =>
    JSON.stringify({ type: 'eval', phase: 'one', step: globalStep, globalStep, metric: 'ndcg@10', value, metrics: {} })
  for (const line of [...stepLines(10).split('\n'), evaluated(4, 0.25), evaluated(10, 0.5)]) run.log.add(line)
  t.match(curvesOf([run])['eval-ndcg@10']!.series, [{ x: [1, 4, 10], y: [null, 0.25, 0.5] }])
  run.log.add(stepLines(1, 11))
  t.match(curvesOf([run])['eval-ndcg@10']!.series, [{ x: [1, 4, 10, 11], y: [null, 0.25, 0.5, null] }])
})

t.test('a folder that has only begun, and one that is none', async (t) => {
  const dir = t.testdir({ 'config.json': '{"phases":[{"name":"one"}]}' })
  const run = await readRun(dir)
  t.same(curvesOf([run]), {})
  await t.rejects(readRun(path.join(dir, 'none')), { code: 'ERR_DATA', message: /does not exist/ })
  writeFileSync(path.join(dir, 'config.json'), '{')
  await t.rejects(readRun(dir), { code: 'ERR_DATA', message: /cannot be read/ })
})
