// Makes the tables of docs/cuda.md from what the ladder and the stages of verify:gpu wrote.
//
// usage: node bench/cuda/table.mjs FOLDER [--write]     FOLDER: build/verify, or what came back from the GPU machine
//   maxsimSpeed.json   output of maxsim_ladder, a JSON line per shape and rung
//   scoring.json       lateforge bench maxsim in float16, and Python's libraries on the same vectors
//   largeBatches.json  lateforge bench infonce
// Prints them; --write puts them between the markers of docs/cuda.md.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'

const row = (cells) => `| ${cells.join(' | ')} |`
const table = (head, rows) => [row(head), row(head.map(() => '---')), ...rows.map(row)]
const ms = (t) => (t === undefined ? '' : t.toPrecision(3))
const percent = (share) => `${Math.round(100 * share)} %`

/** Every rung that was climbed, shape by shape. */
export function ladder(output) {
  const lines = output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
  const rungs = lines.filter((line) => line.rung)
  const device = lines.find((line) => line.device)
  return [
    `${device.device}, ${device.multiprocessors} multiprocessors, mma.sync alone ${device.mma_sync_tflops} TFLOP/s. float16, dimension 128.`,
    '',
    ...table(
      ['shape', 'rung', 'ms warm', 'ms flushed', 'TFLOP/s', 'of mma.sync', 'what it shows'],
      rungs.map((r) => [r.shape, r.rung, ms(r.ms), ms(r.flushed_ms), r.tflops, percent(r.of_mma_sync), r.lesson]),
    ),
  ]
}

/** Ours by device events beside the others: their time over ours. */
export function scoring({ ours, peers }) {
  const names = [...new Set((peers.results ?? []).map((r) => r.peer))]
  const rows = ours.results.map((r) => {
    const { warm, flushed } = r.onDevice.forward
    const ratios = names.map((name) => {
      const theirs = peers.results.find((p) => p.peer === name && p.name === r.name)
      return theirs ? `x${(theirs.forward.median / warm.median).toFixed(2)}` : ''
    })
    const spread = `${ms(warm.median)} (${ms(warm.low)}-${ms(warm.high)})`
    return [
      r.name,
      spread,
      ms(flushed.median),
      ms(r.toScores.median),
      (r.gflops / 1000).toFixed(1),
      r.roofline ? percent(r.roofline.flushed) : '',
      r.error.toExponential(1),
      ...ratios,
    ]
  })
  const head = ['shape', 'ms warm', 'ms flushed', 'call to scores ms', 'TFLOP/s', 'of the roofline', 'error', ...names]
  return [...table(head, rows), ...(peers.skipped ? ['', `No peers: ${peers.skipped}`] : [])]
}

/** InfoNCE with its gradients. */
export function largeBatches({ results }) {
  return table(
    ['batch', 'loss and gradients, ms', 'TFLOP/s', 'GB beyond embeddings and gradients', 'error of loss, dQ, dD'],
    results.map((r) => [
      r.name,
      `${ms(r.forward.median)} (${ms(r.forward.low)}-${ms(r.forward.high)})`,
      (r.gflops / 1000).toFixed(1),
      (r.extraBytes / 1e9).toFixed(2),
      [r.error.loss, r.error.queries, r.error.documents].map((e) => e.toExponential(1)).join(', '),
    ]),
  )
}

const sections = {
  maxsimSpeed: (stage) => ladder(stage.output),
  scoring,
  largeBatches,
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const folder = process.argv[2] ?? 'build/verify'
  const page = new URL('../../docs/cuda.md', import.meta.url)
  let text = readFileSync(page, 'utf8')
  for (const [name, make] of Object.entries(sections)) {
    const file = path.join(folder, `${name}.json`)
    if (!existsSync(file)) continue
    const stage = JSON.parse(readFileSync(file, 'utf8'))
    if (stage.skipped) continue
    const lines = make(stage).join('\n')
    process.stdout.write(`${lines}\n\n`)
    const [begin, end] = [`<!-- ${name} -->`, `<!-- end of ${name} -->`]
    text = `${text.slice(0, text.indexOf(begin) + begin.length)}\n${lines}\n${text.slice(text.indexOf(end))}`
  }
  if (process.argv.includes('--write')) writeFileSync(page, text)
}
