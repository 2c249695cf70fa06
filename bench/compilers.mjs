// Two builds of the addon against each other, such as g++'s and zig's: MaxSim and a training step of both in one process,
// in turn, by the processor time of the process. Prints what the second takes of the first: medians, and minima.
//
// usage: node bench/compilers.mjs build/Release/lateforge.node prebuilds/linux-x64/lateforge.glibc.node
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const [first, second] = process.argv.slice(2)
if (!second) throw new Error('usage: node bench/compilers.mjs ADDON ADDON')
process.env.LATEFORGE_THREADS = '1'
const work = mkdtempSync(path.join(tmpdir(), 'lateforge-'))

/** A copy of lateforge with this addon: one process loads a package's addon once. */
async function kit(addon, name) {
  const folder = path.join(work, name)
  mkdirSync(path.join(folder, 'build/Release'), { recursive: true })
  copyFileSync(addon, path.join(folder, 'build/Release/lateforge.node'))
  copyFileSync(path.join(root, 'package.json'), path.join(folder, 'package.json'))
  cpSync(path.join(root, 'dist'), path.join(folder, 'dist'), { recursive: true })
  symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'))
  const lib = (file) => import(pathToFileURL(path.join(folder, 'dist', file)))
  const { maxsimSync } = await lib('retrieval/maxsim.js')
  const { Scope } = await lib('tensor/index.js')
  const { AdamW, gradCacheAsync } = await lib('train/index.js')
  const { contrastive } = await lib('losses/index.js')
  const { batchOf, createModel, drawLengths } = await lib('bench/synthetic.js')
  const { native } = await lib('native.js')
  const vocabulary = 50_368
  const nano = { layers: 4, width: 128, intermediate: 192, heads: 2 }
  const model = await createModel(nano, vocabulary, { device: 'cpu' })
  const batch = batchOf(drawLengths(64, 0), 0, vocabulary)
  const optimizer = new AdamW(model.parameterGroups([{ learningRate: 3e-5, weightDecay: 0.01 }]), { maxGradNorm: 1 })
  const loss = ({ queries, documents }) => contrastive(queries, documents, { temperature: 0.05 })
  let step = 0
  return {
    isa: native().cpuInfo().isa,
    maxsim: maxsimSync,
    step: async () => {
      const settings = { microBatchTokens: 4096, activationMemory: 1.2e9, seed: 1, step: step++ }
      const value = await gradCacheAsync(model, batch, loss, settings)
      const scope = new Scope()
      scope.run(() => optimizer.step())
      await value.value()
      value.dispose()
      scope.dispose()
    },
  }
}

/** Random unit-free vectors: what is measured does not depend on them. */
const texts = (count, tokens) => ({
  data: Float32Array.from({ length: count * tokens * 128 }, () => Math.random() - 0.5),
  offsets: Float64Array.from({ length: count + 1 }, (_, i) => i * tokens),
  dim: 128,
})

async function processorTime(run) {
  const before = process.cpuUsage()
  await run()
  return process.cpuUsage(before).user / 1000
}

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1]
try {
  const kits = [await kit(first, 'first'), await kit(second, 'second')]
  console.log(`instruction sets: ${kits.map(({ isa }) => isa).join(', ')}`)
  const [queries, documents] = [texts(1, 32), texts(1000, 300)]
  const works = [
    ['maxsim, 1 query of 32 x 1,000 documents of 300', 24, (k) => k.maxsim(queries, documents)],
    ['training step, nano, batch 64', 8, (k) => k.step()],
  ]
  for (const [name, rounds, run] of works) {
    const times = [[], []]
    for (let round = -1; round < rounds; round++)
      for (const side of round % 2 ? [1, 0] : [0, 1]) {
        const ms = await processorTime(() => run(kits[side]))
        if (round >= 0) times[side].push(ms) // the first warms up
      }
    const ratio = (pick) => (pick(times[1]) / pick(times[0])).toFixed(3)
    const least = (list) => Math.min(...list)
    console.log(`${name}: median ${ratio(median)}, minimum ${ratio(least)}, of ${median(times[0]).toFixed(1)} ms`)
  }
} finally {
  rmSync(work, { recursive: true })
}
process.exit(0)
