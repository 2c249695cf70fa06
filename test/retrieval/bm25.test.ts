import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { bm25Run } from '../../lib/eval/baseline.js'
import { loadBeir } from '../../lib/eval/collections.js'
import { analyze, Bm25, porterStem, postingsOf } from '../../lib/retrieval/bm25.js'
import { evaluate } from '../../lib/retrieval/metrics.js'
import { atOnce } from '../../lib/turns.js'
import { Random } from '../random.js'
import { seed } from '../seed.js'

t.test('the stemmer agrees with NLTK', async (t) => {
  const stems: Record<string, string> = JSON.parse(readFileSync('test/fixtures/porter.json', 'utf8'))
  const wrong = Object.entries(stems).filter(([word, stem]) => porterStem(word) !== stem)
  t.same(wrong, [])
  t.ok(Object.keys(stems).length > 1000)
  t.same(['caresses', 'ponies', 'generalizations', 'oscillators'].map(porterStem), ['caress', 'poni', 'gener', 'oscil'])
})

t.test('analysis', async (t) => {
  t.same(analyze("The Runners' e-mail, is it 2nd_best? ÜBER Größe"), [
    'runner',
    'e',
    'mail',
    '2nd',
    'best',
    'über',
    'größe',
  ])
  t.same(analyze('cafe\u0301 हिन्दी 日本'), ['cafe\u0301', 'हिन्दी', '日本'])
  t.same(analyze('the of to'), [])
})

t.test('words of scripts without spaces', async (t) => {
  t.same(analyze('我喜欢北京'), ['我', '喜欢', '北京'])
  t.same(analyze('日本語を勉強する、Tokyoで'), ['日本語', 'を', '勉強', 'する', 'tokyo', 'で'])
  t.same(analyze('สวัสดีชาวโลก 2nd'), ['สวัสดี', 'ชาว', 'โลก', '2nd'])
  const index = new Bm25(['我们去上海', '他在北京工作', 'Beijing'])
  t.same(
    index.search('北京', 3).map(({ index }) => index),
    [1],
  )
})

t.test('of parts, some documents deleted, it is that of the texts that are left', async (t) => {
  const random = new Random(seed)
  const draw = (n: number) => Math.floor(random.next() ** 2 * n)
  const phrase = (n: number) => Array.from({ length: draw(n) }, () => `w${draw(40)}`).join(' ')
  const texts = Array.from({ length: 200 }, () => phrase(15))
  const gone = new Set(Array.from({ length: 40 }, () => draw(200)))
  const cuts = [0, 1, 30, 30, 111, 200]
  const parts = cuts.slice(1).map((to, i) => {
    const from = cuts[i]!
    const postings = atOnce(postingsOf(texts.slice(from, to)))
    return { postings, isDeleted: i % 2 === 0 ? null : (d: number) => gone.has(from + d) }
  })
  const left = texts.flatMap((_, d) => (gone.has(d) && ((d >= 1 && d < 30) || (d >= 30 && d < 111)) ? [] : [d]))
  const allowed = Uint8Array.from(texts, (_, d) => Number(left.includes(d)))
  const [whole, rebuilt] = [new Bm25({ parts }), new Bm25(left.map((d) => texts[d]!))]
  t.equal(whole.withoutTerms, rebuilt.withoutTerms)
  for (let i = 0; i < 30; i++) {
    const query = phrase(6)
    const wanted = rebuilt.search(query, 20).map(({ index, score }) => ({ index: left[index]!, score }))
    t.same(whole.searchTerms(analyze(query), 20, allowed), wanted)
  }
})

t.test('scores follow the formula', async (t) => {
  const texts = ['cat dog', 'cat cat bird', '', 'the fish swims far away']
  const lengths = [2, 3, 0, 4]
  const mean = 9 / 4
  const idf = (df: number) => Math.log(1 + (4 - df + 0.5) / (df + 0.5))
  const part = (df: number, tf: number, d: number, k1: number, b: number) =>
    (idf(df) * tf) / (tf + k1 * (1 - b + (b * lengths[d]) / mean))
  for (const [k1, b] of [
    [1.2, 0.75],
    [0.9, 0.4],
    [0, 0],
  ]) {
    const index = new Bm25(texts, { k1, b })
    const expected = [2 * part(2, 1, 0, k1, b), 2 * part(2, 2, 1, k1, b) + part(1, 1, 1, k1, b), 0, 0]
    const found = index.scores('Cats and a bird, cat unknown')
    t.ok(
      found.every((score, d) => Math.abs(score - expected[d]) < 1e-6),
      `${found} ${expected}`,
    )
  }
  t.same(new Bm25(texts).search('nothing here', 5), [])
  t.same(new Bm25([]).search('cat', 5), [])
  t.same(new Bm25(['', 'the']).search('cat', 5), [])
})

t.test('search is the head of the sorted scores, ties by index', async (t) => {
  const words = Array.from({ length: 30 }, (_, i) => `w${i}`)
  const random = new Random(seed)
  const draw = (n: number) => Math.floor(random.next() ** 2 * n)
  const texts = Array.from({ length: 300 }, () => Array.from({ length: draw(12) }, () => words[draw(30)]).join(' '))
  const index = new Bm25(texts)
  for (let i = 0; i < 50; i++) {
    const query = Array.from({ length: 3 }, () => words[draw(30)]).join(' ')
    const all = [...index.scores(query)].map((score, index) => ({ index, score })).filter((hit) => hit.score > 0)
    all.sort((a, b) => b.score - a.score || a.index - b.index)
    for (const topK of [1, 2, 7, 100, 1000]) t.same(index.search(query, topK), all.slice(0, topK))
  }
})

t.test('bad options', async (t) => {
  const code = 'ERR_ARGUMENT'
  t.throws(() => new Bm25(['a'], { k1: -1 }), { code })
  t.throws(() => new Bm25(['a'], { b: 1.1 }), { code })
  t.throws(() => new Bm25(['a']).search('a', 0), { code })
})

const cranfield = process.env.LATEFORGE_CRANFIELD ?? ''
const skip = existsSync(cranfield) ? false : 'set LATEFORGE_CRANFIELD to a BEIR folder of Cranfield to run this'
t.test('nDCG@10 on Cranfield', { skip }, async (t) => {
  const collection = await loadBeir(cranfield)
  const { means } = evaluate((await bm25Run(collection)).run, collection.qrels, ['ndcg@10'], {
    ignoreIdenticalIds: false,
  })
  t.equal(means['ndcg@10'].toFixed(4), '0.3586')
})
