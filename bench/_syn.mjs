import { existsSync, rmSync } from 'node:fs'
import { Index } from 'lateforge/index'
import { Random } from '../dist/io/random.js'

const dim = 128,
  draws = new Random(1)
const topics = Array.from({ length: 3000 }, () => Float32Array.from({ length: dim }, () => draws.next() - 0.5))
function texts(count, tokens) {
  const data = new Float32Array(count * tokens * dim)
  for (let at = 0; at < data.length; at += dim) {
    const t = topics[Math.floor(draws.next() * topics.length)]
    let s = 0
    for (let k = 0; k < dim; k++) s += (data[at + k] = t[k] + draws.next() - 0.5) ** 2
    for (let k = 0; k < dim; k++) data[at + k] /= Math.sqrt(s)
  }
  return { data, offsets: Array.from({ length: count + 1 }, (_, i) => i * tokens), dim }
}
const dir = '/work/w17/syn',
  p = () => process.cpuUsage().user / 1000 + process.cpuUsage().system / 1000
if (!existsSync(dir)) {
  const i = await Index.create(dir, { dim })
  let n = 0
  const t = p()
  for (let k = 0; k < 10; k++) {
    await i.addEmbeddings({ ...texts(2000, 40), ids: Array.from({ length: 2000 }, () => `d${n++}`) })
  }
  await i.compact()
  await i.close()
  console.log('build cpu', p() - t)
}
const i = await Index.open(dir)
console.log(await i.info())
const q = texts(60, 32)
for (const way of [{}]) {
  for (let round = 0; round < 4; round++) {
    const c = p(),
      w = performance.now()
    const n = way.exact ? 10 : 60
    for (let j = 0; j < n; j++)
      await i.search(
        { data: q.data.slice(j * 32 * dim, (j + 1) * 32 * dim), offsets: [0, 32], dim, role: 'query' },
        { topK: 10, ...way },
      )
    console.log(JSON.stringify(way), (p() - c) / n, (performance.now() - w) / n)
  }
}
