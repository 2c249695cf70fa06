/** Search over streams, the selection of the best, and the turns that long work leaves to the event loop. */
import t from 'tap'
import { analyze, Bm25 } from '../../lib/retrieval/bm25.js'
import type { Embeddings, Role } from '../../lib/retrieval/embeddings.js'
import { search } from '../../lib/retrieval/search.js'
import { Best } from '../../lib/retrieval/top-k.js'
import { Device } from '../../lib/tensor/device.js'
import { defaultRecipe } from '../../lib/text/recipe.js'
import { atOnce, inTurns } from '../../lib/turns.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'

const draws = new Random(seed)
const random = () => draws.next()
const dim = 8

function embeddings<R extends Role>(role: R, lengths: number[], more: object = {}): Embeddings<R> {
  const offsets = new Float64Array(lengths.length + 1)
  for (const [i, n] of lengths.entries()) offsets[i + 1] = offsets[i]! + n
  const data = Float32Array.from({ length: offsets.at(-1)! * dim }, () => random() - 0.5)
  return { role, data, offsets, dim, recipe: defaultRecipe(), ...more }
}

/** Texts first … last - 1 alone. */
function part(all: Embeddings<'document'>, first: number, last: number): Embeddings<'document'> {
  const start = all.offsets[first]!
  const data = all.data.slice(start * dim, all.offsets[last]! * dim)
  const offsets = Float64Array.from(all.offsets)
    .slice(first, last + 1)
    .map((row) => row - start)
  return { ...all, data, offsets, ...(all.ids && { ids: all.ids.slice(first, last) }) }
}

async function* streamed(all: Embeddings<'document'>, sizes: number[]): AsyncGenerator<Embeddings<'document'>> {
  let first = 0
  for (const size of sizes) yield part(all, first, (first += size))
}

t.test('a stream has the hits of all its parts together', async (t) => {
  const device = Device.open()
  const queries = embeddings('query', [3, 8, 1])
  const lengths = Array.from({ length: 400 }, (_, d) => (d % 11 === 0 ? 0 : 1 + Math.floor(random() * 300))) // 2 blocks
  const documents = embeddings('document', lengths)
  const ids = lengths.map((_, d) => `d${d}`)
  const sizes = [1, 0, 7, 92, 300]
  for (const topK of [1, 10, 400, 1000]) {
    const want = await search(device, queries, documents, { topK })
    t.same(await search(device, queries, streamed(documents, sizes), { topK }), want)
    const named = { ...documents, ids }
    const wantNamed = await search(device, queries, named, { topK })
    t.same(await search(device, queries, streamed(named, sizes), { topK }), wantNamed)
    t.equal(wantNamed[0]![0]!.id, `d${want[0]![0]!.index}`)
  }
  const limits = [7, 1, 400]
  const all = await search(device, queries, documents, { topK: 400 })
  const each = await search(device, queries, documents, { topK: Int32Array.from(limits) })
  t.same(
    each,
    all.map((hits, q) => hits.slice(0, limits[q])),
    'so many for each query',
  )
  for (const [topK, message] of [
    [[7, 1], /topK has 2 numbers for 3 queries/],
    [[7, 0, 1], /topK is 0, expected a whole number/],
  ] as const)
    await t.rejects(search(device, queries, documents, { topK }), { code: 'ERR_ARGUMENT', message })
  async function* mixed() {
    yield part({ ...documents, ids }, 0, 5)
    yield part(documents, 5, 400)
  }
  const some = search(device, queries, mixed())
  await t.rejects(some, { code: 'ERR_ARGUMENT', message: /names 5 of its 400 documents/ })
  t.same(await search(device, queries, streamed(documents, [])), [[], [], []])
  const other = streamed({ ...documents, recipe: defaultRecipe({ documentPrompt: 'passage: ' }) }, [400])
  await t.rejects(search(device, queries, other), {
    code: 'ERR_RECIPE',
    message: /documentPrompt: "passage: " of the documents, "" of the queries/,
  })
  await t.rejects(search(device, documents as never, streamed(documents, [400])), { code: 'ERR_ARGUMENT' })
  await t.rejects(search(device, queries, streamed(documents, [400]), { signal: AbortSignal.abort() }), {
    code: 'ERR_ABORTED',
  })
})

t.test('selecting all of n is a sort: moves grow as n log n, in whatever order they come', async (t) => {
  for (const [name, order] of Object.entries({
    rising: (i: number) => i,
    falling: (i: number) => -i,
    equal: () => 0,
    mixed: () => Math.floor(random() * 1000),
  }))
    for (const n of [1000, 30_000])
      for (const limit of [n, 100]) {
        const best = new Best(limit)
        let moves = 0
        const inside = best as unknown as { put(at: number, index: number, score: number): void }
        const { put } = inside
        inside.put = (at, index, score) => {
          moves++
          put.call(best, at, index, score)
        }
        const scores = Float64Array.from({ length: n }, (_, i) => order(i))
        best.offerRow(0, scores, 0, n)
        const hits = best.sorted()
        t.ok(moves <= 2 * n * (2 + Math.log2(limit)), `${name}: ${moves} moves for ${limit} of ${n}`)
        const want = [...scores.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b).slice(0, limit)
        t.ok(
          hits.length === limit && hits.every(({ index, score }, i) => index === want[i] && score === scores[index]),
          `${name}: sorted`,
        )
      }
})

t.test('the selection does not depend on the order of offers', async (t) => {
  const scores = Array.from({ length: 200 }, () => Math.floor(random() * 9))
  const shuffled = [...scores.keys()].map((i) => [random(), i] as const).sort(([a], [b]) => a - b)
  const best = new Best(50)
  for (const [, i] of shuffled) best.offer(i, scores[i]!)
  const want = [...scores.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b).slice(0, 50)
  t.same(
    best.sorted().map(({ index }) => index),
    want,
  )
  t.throws(() => new Best(1).offer(3, Number.NaN), { code: 'ERR_DATA', message: /document 3 is NaN/ })
  t.throws(() => new Best(1).offerRow(4, Float32Array.of(0, Number.NaN), 0, 2), { message: /document 5 is NaN/ })
})

/** How often the event loop came round while a promise was pending. */
async function turnsOf(work: Promise<unknown>): Promise<number> {
  let [turns, done] = [0, false]
  const count = () => {
    turns++
    if (!done) setImmediate(count)
  }
  setImmediate(count)
  await work.finally(() => (done = true))
  return turns
}

t.test('long work leaves the event loop its turns', async (t) => {
  function* steps(): Generator<void, string> {
    for (let i = 0; i < 20; i++) {
      const start = performance.now()
      while (performance.now() - start < 11);
      yield
    }
    return 'done'
  }
  t.ok((await turnsOf(inTurns(steps()))) >= 19, 'one after each step of eleven milliseconds')
  await t.rejects(inTurns(steps(), AbortSignal.abort()), { code: 'ERR_ABORTED' })
  t.equal(atOnce(steps()), 'done')

  const words = Array.from({ length: 3000 }, (_, i) => `word${i}`)
  const one = (length: number) => Array.from({ length }, () => words[Math.floor(random() * 3000)]).join(' ')
  const texts = [...Array.from({ length: 4000 }, () => one(40)), one(300_000)]
  const started = performance.now()
  const turns = await turnsOf(Bm25.build(texts))
  const elapsed = performance.now() - started
  t.ok(turns >= elapsed / 200, `an index: ${turns} turns in ${elapsed.toFixed(0)} ms`)

  const device = Device.open()
  const queries = embeddings('query', Array(2000).fill(1))
  const documents = embeddings('document', Array(8000).fill(1))
  const searched = await turnsOf(search(device, queries, documents, { topK: 1000 }))
  t.ok(searched >= 10, `16 million scores: ${searched} turns`)
})

t.test('an index built in turns, from an array or a stream, is the one built at once', async (t) => {
  const texts = ['cat dog', 'cat cat bird', '', 'the', 'fish swims far away']
  async function* stream() {
    yield* texts
  }
  const at = new Bm25(texts)
  for (const index of [await Bm25.build(texts), await Bm25.build(stream())]) {
    t.same(index.scores('cats and fish'), at.scores('cats and fish'))
    t.same(index.searchTerms(analyze('cat'), 5), at.search('cat', 5))
    t.same([index.size, index.withoutTerms], [5, 2])
  }
  await t.rejects(Bm25.build(texts, { k1: -1 }), { code: 'ERR_ARGUMENT' })
})
