/**
 * Every field of the recipe means the same in training and in search: what changes one changes the other alike, and a
 * batch of training has the embeddings that encoding its texts has.
 */
import t from 'tap'
import { Colbert } from '../../lib/models/colbert.js'
import { search } from '../../lib/retrieval/search.js'
import { scope } from '../../lib/tensor/scope.js'
import { defaultRecipe, PUNCTUATION, type Recipe } from '../../lib/text/recipe.js'
import { BERT_SPECIAL_TOKENS, bertTokenizerJson } from '../../lib/text/tokenizer/bert.js'
import { Tokenizer } from '../../lib/text/tokenizer/tokenizer.js'
import type { PhaseConfig } from '../../lib/train/config/types.js'
import { memorySource, openData } from '../../lib/train/index.js'
import { train } from '../../lib/train/loop/run.js'
import { seed } from '../seed.js'
import { folder } from '../train/tiny.js'

const words = ['Red', 'red', 'sky', 'sea', 'blue', 'deep', 'find', 'text', 'old', 'new']
const json = bertTokenizerJson([...BERT_SPECIAL_TOKENS, ...PUNCTUATION, ...words]) as { normalizer: object }
const tokenizer = Tokenizer.fromJson({ ...json, normalizer: { ...json.normalizer, lowercase: false } })
/** Short and long texts, one with a capital, one of punctuation alone; some end in a token that ends in a blank. */
const rows = [
  { query: 'Red sky [Q] ', documents: ['old sky, Red sea.', 'new text [Q] '] },
  { query: 'deep blue sea find old red text', documents: ['deep deep blue sea, red sky and new old text', '!'] },
]
const base: Partial<Recipe> = { queryPrefix: '[Q] ', documentPrefix: '', queryLength: 10, documentLength: 10 }

interface Effect {
  change: Partial<Recipe>
  /** Whose embeddings it changes, in training and in encoding alike. */
  queries?: true
  documents?: true
  /** The same of a training phase, where one can say it. */
  phase?: Partial<PhaseConfig>
}
/** All but `tokenizerHash`, which nobody sets: another tokenizer's is refused (test/text/recipe.test.ts). */
const effects: Record<Exclude<keyof Recipe, 'tokenizerHash'>, Effect> = {
  queryPrefix: { change: { queryPrefix: '[MASK]' }, queries: true },
  documentPrefix: { change: { documentPrefix: '[Q] ' }, documents: true },
  queryPrompt: { change: { queryPrompt: 'find ' }, queries: true, phase: { prompts: { query: 'find ' } } },
  documentPrompt: { change: { documentPrompt: 'text ' }, documents: true, phase: { prompts: { document: 'text ' } } },
  queryLength: { change: { queryLength: 6 }, queries: true, phase: { queryLength: 6 } },
  documentLength: { change: { documentLength: 6 }, documents: true, phase: { documentLength: 6 } },
  queryExpansion: { change: { queryExpansion: false }, queries: true },
  attendToExpansionTokens: { change: { attendToExpansionTokens: true }, queries: true },
  expansionToken: { change: { expansionToken: 'text' }, queries: true },
  skiplistWords: { change: { skiplistWords: [] }, documents: true },
  skiplistTasks: { change: { skiplistTasks: ['query', 'document'] }, queries: true },
  keepOnlyTokenIds: { change: { keepOnlyTokenIds: [2, 3, tokenizer.tokenToId('sky')!] }, documents: true },
  clampNegatives: { change: { clampNegatives: true } }, // only how they are scored
  pooling: {
    change: { pooling: 'mean', queryExpansion: false, skiplistWords: [] },
    ...{ queries: true, documents: true },
  },
  strip: { change: { strip: false }, queries: true, documents: true },
  lowerCase: { change: { lowerCase: true }, queries: true, documents: true },
}

/** Weights follow from the test's seed; without dropout, so that training encodes as search does. */
let weights = seed
const fresh = (): Promise<Colbert> =>
  Colbert.create(
    {
      ...{ architecture: 'modernbert', layers: 1, width: 16, heads: 1, dim: 8, positions: 16, dropout: 0 },
      ...{ tokenizer, recipe: base },
    },
    { seed: weights },
  )

interface Seen {
  /** Embeddings of texts by encoding, and of the batch by the model's step. */
  queries: number[]
  documents: number[]
  scores: number[]
  loss: number
}

async function seen(t: Test, change: Partial<Recipe>, phase: Partial<PhaseConfig> = {}): Promise<Seen> {
  const dir = folder(t)
  const model = await fresh()
  t.teardown(() => model.dispose())
  const sources = [memorySource('rows', rows)]
  const shared = { cacheDir: dir, workers: 0 }
  if (Object.keys(phase).length === 0) model.setRecipe(change)
  const run = train({
    ...{ model, out: `${dir}/out`, ...shared },
    phases: [
      {
        ...{ name: 'one', loss: 'contrastive', data: sources, batch: 2, steps: 1, learningRate: 1e-12 },
        ...{ temperature: 0.5, maskDuplicates: false, ...phase },
      },
    ],
  })
  let loss = Number.NaN
  for await (const event of run) if (event.type === 'step') loss = event.loss
  await run.result
  const data = await openData({ ...shared, sources, featurizer: model.featurizer, batch: 2, seed: 1 })
  const batch = await data.at(0)
  data.close()
  const order = Array.from(batch.queries.rows)
  const embedded = async (column: typeof batch.queries): Promise<number[]> => {
    const { tokens } = scope(() => model.embed(column, 0, column.offsets.length - 1, null))
    const values = [...(await tokens.values())]
    tokens.dispose()
    return values
  }
  const queries = await model.encodeQueries(order.map((row) => rows[row]!.query))
  const documents = await model.encodeDocuments(order.flatMap((row) => rows[row]!.documents))
  t.same(await embedded(batch.queries), [...queries.data], 'queries of a batch are encoded as those of a search')
  t.same(await embedded(batch.documents), [...documents.data], 'and documents')
  const scores = (await model.search(queries, documents, { topK: 4 })).flatMap((hits) => hits.map((hit) => hit.score))
  return { queries: [...queries.data], documents: [...documents.data], scores, loss }
}
type Test = Parameters<typeof folder>[0] & typeof t

t.test('every field is here', async (t) => {
  t.same(
    Object.keys(effects).sort(),
    Object.keys(defaultRecipe())
      .filter((f) => f !== 'tokenizerHash')
      .sort(),
  )
})

t.before(async () => {
  // The rules of scoring differ where a query's token is unlike all of a document: with some weights none is.
  for (; ; weights++) {
    const model = await fresh()
    const queries = await model.encodeQueries(rows.map(({ query }) => query))
    const documents = await model.encodeDocuments(rows.flatMap((row) => row.documents))
    const [cut, plain] = await Promise.all(
      [true, false].map((clampNegatives) => search(model.device, queries, documents, { topK: 4, clampNegatives })),
    )
    model.dispose()
    if (JSON.stringify(cut) !== JSON.stringify(plain)) return
  }
})

for (const [field, { change, phase, ...effect }] of Object.entries(effects))
  t.test(`${field}: training and search change alike`, async (t) => {
    const before = await seen(t as Test, {})
    const after = await seen(t as Test, change)
    for (const role of ['queries', 'documents'] as const)
      t.equal(String(after[role]) !== String(before[role]), effect[role] ?? false, `embeddings of ${role}`)
    t.notSame(after.scores, before.scores, 'scores of a search')
    t.not(after.loss, before.loss, 'the loss of a step')
    if (!phase) return
    t.same(await seen(t as Test, change, phase), after, 'a phase that says it is trained and saved with it')
  })
