/** `explain`: which token answers which, against a search over all pairs of tokens. */
import t from 'tap'
import { Index } from '../../lib/indexing/index.js'
import { Colbert } from '../../lib/models/colbert.js'
import { type ExplainedText, explain } from '../../lib/models/explain.js'
import type { Recipe } from '../../lib/text/recipe.js'
import { texts, tokenizer } from './words.js'

const shape = { architecture: 'bert', layers: 1, width: 32, heads: 2, intermediate: 32, dim: 16, tokenizer } as const
const query = 'one vector per token'

async function model(t: { teardown(fn: () => void): unknown }, recipe: Partial<Recipe> = {}): Promise<Colbert> {
  const made = await Colbert.create(
    { ...shape, recipe: { queryLength: 12, documentLength: 16, ...recipe } },
    { seed: 5 },
  )
  t.teardown(() => made.dispose())
  return made
}

const kinds = ({ tokens }: ExplainedText) => tokens.map(({ text, kind }) => `${text}:${kind}`).join(' ')

t.test('tokens, what becomes of them, and who answers whom', async (t) => {
  const colbert = await model(t)
  const found = await explain(colbert, query, texts, { similarities: true, cutTokens: 3 })
  t.equal(
    kinds(found.query),
    '[CLS]:special [Q]:special one:text vector:text per:text token:text [SEP]:special [MASK]:expansion [MASK]:expansion ' +
      '[MASK]:expansion [MASK]:expansion [MASK]:expansion',
  )
  t.ok(
    found.query.tokens.every(({ kind, attended }) => attended === (kind !== 'expansion')),
    'expansion is masked',
  )
  t.equal(
    kinds(found.documents[1]!),
    '[CLS]:special [D]:special one:text vector:text per:text token:text ,:skipped not:text one:text for:text the:text text:text [SEP]:special',
  )
  const long = found.documents[3]!
  t.equal(long.tokens.filter(({ kind }) => kind === 'cut').length, 3)
  t.equal(long.tokens.length, 16 + 3)
  t.equal(long.goesOn, true)
  t.equal(found.documents[0]!.goesOn, false)

  const ranked = await colbert.rank(query, texts)
  for (const [n, { score, matches, similarities, tokens }] of found.documents.entries()) {
    const expected = ranked.find(({ index }) => index === n)!.score
    t.ok(Math.abs(score - expected) < 1e-4, `${score} is the score of rank, ${expected}`)
    t.equal(matches.length, 12)
    const scoring = tokens.flatMap(({ kind }, i) => (kind === 'skipped' || kind === 'cut' ? [] : [i]))
    for (const [q, match] of matches.entries()) {
      const best = Math.max(...similarities![q]!)
      t.equal(match.score, best)
      t.equal(match.token, scoring[similarities![q]!.indexOf(best)])
      t.equal(match.query, q)
    }
  }
  t.notOk('similarities' in (await explain(colbert, query, [texts[0]!])).documents[0]!)
  t.same(JSON.parse(JSON.stringify(found)), found, 'plain data')
})

t.test('the same tokens as an index says', async (t) => {
  const colbert = await model(t)
  const index = await Index.create(`${t.testdir()}/index`, { model: colbert, type: 'float32' })
  await index.add(texts.map((text, i) => ({ id: `d${i}`, text })))
  const [hits] = await index.search([query], { explain: true, topK: texts.length })
  await index.close()
  const found = await explain(colbert, query, texts)
  for (const { id, matches } of hits!) {
    const document = found.documents[Number(id.slice(1))]!
    const scoring = document.tokens.flatMap(({ kind }, i) => (kind === 'skipped' || kind === 'cut' ? [] : [i]))
    t.same(
      matches!.map(({ token }) => scoring[token]),
      document.matches.map(({ token }) => token),
      id,
    )
  }
})

t.test('recipes: queries that skip, no expansion, a floor of 0, attended expansion', async (t) => {
  const skips = await model(t, {
    skiplistTasks: ['query', 'document'],
    skiplistWords: ['one', '[MASK]'],
    queryExpansion: 9,
  })
  const found = await explain(skips, query, ['one vector'])
  t.match(kinds(found.query), /one:skipped vector:text .*\[MASK\]:skipped$/)
  t.same(
    found.documents[0]!.matches.map(({ query }) => found.query.tokens[query]!.text),
    ['[CLS]', '[Q]', 'vector', 'per', 'token', '[SEP]'],
  )
  const attended = await model(t, { attendToExpansionTokens: true })
  t.ok((await explain(attended, query, ['a'])).query.tokens.every((token) => token.attended))
  const clamped = await model(t, { clampNegatives: true, queryExpansion: false, documentPrefix: '' })
  const { documents } = await explain(clamped, query, texts, { similarities: true })
  t.ok(
    documents.flatMap(({ matches }) => matches).every(({ token, score }) => score >= 0 && token < 0 === (score === 0)),
  )
})

t.test('what it refuses', async (t) => {
  const colbert = await model(t)
  await t.rejects(explain(colbert, query, 'text' as never), { code: 'ERR_ARGUMENT' })
  await t.rejects(explain(colbert, 7 as never, []), { code: 'ERR_ARGUMENT' })
  await t.rejects(explain(colbert, query, [], { cutToken: 3 } as never), { code: 'ERR_ARGUMENT', message: /cutTokens/ })
  t.same((await explain(colbert, query, [])).documents, [])
  const dense = await model(t, {
    pooling: 'mean',
    queryExpansion: false,
    skiplistWords: [],
    queryPrefix: '',
    documentPrefix: '',
  })
  await t.rejects(explain(dense, query, texts), { code: 'ERR_UNSUPPORTED', message: /one vector of a whole text/ })
})
