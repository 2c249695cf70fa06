/** Every public function says so when an option is misspelled or has a value that it cannot have. */
import t from 'tap'
import {
  Bm25,
  beirEvaluator,
  bm25Run,
  bootstrapInterval,
  compareRuns,
  evaluate,
  loadBeir,
  modelRun,
  mtebResult,
  randomizationTest,
  rankHits,
  writeBeir,
  writeMteb,
  writeRun,
} from '../lib/eval/index.js'
import { Colbert, train, trainWordPiece } from '../lib/index.js'
import { contrastive, distillation, marginMse } from '../lib/losses/index.js'
import { beirRows, mineNegatives, miningCorpus } from '../lib/mining/index.js'
import { Parameters } from '../lib/nn/index.js'
import { DeviceEmbeddings, maxsim, maxsimSync } from '../lib/retrieval/maxsim.js'
import { Device, Segments, Tensor } from '../lib/tensor/index.js'
import {
  AdamW,
  embedBatch,
  gradCache,
  loadState,
  memorySource,
  openData,
  saveState,
  showProgress,
  singleProcess,
} from '../lib/train/index.js'
import { tinyModel } from './train/tiny.js'

const device = Device.open('cpu')
const model = await tinyModel()
const parameters = new Parameters(device, [{ name: 'p', shape: [8] }])
const opt = new AdamW([{ parameters, learningRate: 1 }])
const tokens = Tensor.from(device, [1, 0, 0, 0, 0, 0, 0, 0], [1, 8])
const segments = Segments.fromLengths(device, [1])
const side = { tokens, segments }
t.teardown(() => {
  for (const made of [model, opt, parameters, tokens, segments]) made.dispose()
})
const vectors = { data: Float32Array.of(1, 0, 0, 0, 0, 0, 0, 0), offsets: [0, 1], dim: 8 }
const collection = {
  documents: { ids: ['d'], texts: ['w1'] },
  queries: { ids: ['q'], texts: ['w1'] },
  qrels: new Map([['q', new Map([['d', 1]])]]),
}
const { qrels } = collection
const run = new Map([['q', [{ id: 'd', score: 1 }]]])
const queries = await model.encodeQueries(['w1'])
const documents = await model.encodeDocuments(['w1 w2'])

/** What each takes beside its options, options that it needs, a misspelling with what is meant, and values it refuses. */
type Row = [
  name: string,
  call: (o: never) => unknown,
  needed: object,
  typo: [string, string],
  bad: Record<string, unknown[]>,
]
const wrong = ['1', Number.NaN, -1, Number.POSITIVE_INFINITY, null]
const counted = [...wrong, 1.5, 0]
const real = [...wrong, 0]
const table: Row[] = [
  [
    'contrastive',
    (o) => contrastive(side, side, o),
    {},
    ['temprature', 'temperature'],
    {
      temperature: real,
      documentsPerQuery: counted,
      blockQueries: counted,
      keepScores: wrong,
      clampNegatives: ['none', 1],
      logScale: [1],
      ranks: [1],
      weights: [1, [Number.NaN], [-1]],
      queryDuplicateIds: [[1]],
    },
  ],
  [
    'distillation',
    (o) => distillation(side, side, o),
    { teacher: [1], documentsPerQuery: 1 },
    ['normalisescores', 'normalizeScores'],
    {
      temperature: real,
      documentsPerQuery: counted,
      normalizeScores: [1],
      teacher: [1, 'a'],
      clampNegatives: ['none'],
    },
  ],
  [
    'marginMse',
    (o) => marginMse(side, side, o),
    { teacher: [1], documentsPerQuery: 1 },
    ['documentsPerQuerry', 'documentsPerQuery'],
    { documentsPerQuery: counted, clampNegatives: ['none'], teacher: [1] },
  ],
  [
    'maxsim',
    (o) => maxsim(vectors, vectors, o),
    {},
    ['clampnegatives', 'clampNegatives'],
    { layout: ['al', 1], clampNegatives: [1], dtype: ['int8'], device: [1, ''], signal: [1], pairs: [1] },
  ],
  [
    'maxsimSync',
    (o) => maxsimSync(vectors, vectors, o),
    {},
    ['layouts', 'layout'],
    { layout: ['al'], clampNegatives: [1] },
  ],
  [
    'DeviceEmbeddings.upload',
    (o) => DeviceEmbeddings.upload(vectors, o),
    { device },
    ['dvice', 'device'],
    { device: [1, ''], dtype: ['int8'] },
  ],
  [
    'Colbert.create',
    (o) => Colbert.create({} as never, o),
    {},
    ['sed', 'seed'],
    { seed: [...wrong, 1.5], device: [1, ''], precision: ['int8'] },
  ],
  [
    'Colbert.load',
    (o) => Colbert.load('nowhere', o),
    {},
    ['recipes', 'recipe'],
    { dim: counted, seed: [...wrong, 1.5], freshProjection: [1], recipe: [1] },
  ],
  [
    'encodeQueries',
    (o) => model.encodeQueries(['w1'], o),
    {},
    ['microbatchtokens', 'microBatchTokens'],
    { microBatchTokens: real, signal: [1] },
  ],
  [
    'encodeDocuments',
    (o) => model.encodeDocuments(['w1'], o),
    {},
    ['id', 'ids'],
    { microBatchTokens: real, ids: [1, [1]] },
  ],
  ['streamDocuments', (o) => model.streamDocuments(['w1'], o), {}, ['signals', 'signal'], { microBatchTokens: real }],
  ['search', (o) => model.search(queries, documents, o), {}, ['topk', 'topK'], { topK: counted }],
  ['upload', (o) => model.upload(documents, o), {}, ['signl', 'signal'], { signal: [1] }],
  ['rank', (o) => model.rank('w1', ['w1'], o), {}, ['topk', 'topK'], { topK: counted, microBatchTokens: real }],
  [
    'parameterGroups',
    (o) => model.parameterGroups([o]),
    { learningRate: 1 },
    ['learningrate', 'learningRate'],
    { learningRate: wrong, weightDecay: wrong, frozen: [1], match: ['a', /nothing/] },
  ],
  ['train', (o) => train({} as never, o).result, {}, ['sinal', 'signal'], { evaluate: [1], group: [1], resume: [1] }],
  [
    'trainWordPiece',
    (o) => trainWordPiece(['w1'], o),
    { vocabSize: 100 },
    ['vocabsize', 'vocabSize'],
    { vocabSize: counted, minFrequency: counted, alphabet: counted },
  ],
  [
    'AdamW',
    (o) => new AdamW([{ parameters, learningRate: 1 }], o),
    {},
    ['beta', 'betas'],
    { eps: [-1, Number.NaN], maxGradNorm: wrong, betas: [1, [1, 1], [0.9]] },
  ],
  [
    'AdamW group',
    (o) => new AdamW([o]),
    { parameters, learningRate: 1 },
    ['learningrate', 'learningRate'],
    { learningRate: wrong, weightDecay: wrong, match: [1] },
  ],
  ['AdamW.step', (o) => opt.step(o), {}, ['scal', 'scale'], { scale: wrong }],
  [
    'gradCache',
    (o) => gradCache(model, {} as never, () => tokens, o),
    { seed: 1, step: 0, microBatchTokens: 1 },
    ['microbatchtokens', 'microBatchTokens'],
    {
      seed: [...wrong, 1.5],
      step: [...wrong, 1.5],
      microBatchTokens: real,
      activationMemory: wrong,
      gradientScale: ['1', Number.NaN],
      commDtype: ['int8', 'float16'],
      gather: ['all', 'none'],
      bucketBytes: [...real, 1],
      group: [1],
    },
  ],
  [
    'embedBatch',
    (o) => embedBatch(model, {} as never, o),
    { microBatchTokens: 1 },
    ['microbatchtokens', 'microBatchTokens'],
    { microBatchTokens: real, commDtype: ['int8', 'float16'], gather: ['all', 'none'], group: [1] },
  ],
  [
    'openData',
    (o) => openData(o),
    { model, batch: 1, seed: 1 },
    ['batchs', 'batch'],
    {
      batch: counted,
      seed: [...wrong, 1.5],
      negatives: [...wrong, 1.5],
      workers: [...wrong, 1.5],
      sampling: ['even', [-1]],
      data: [1],
      onProgress: [1],
    },
  ],
  ['showProgress', (o) => showProgress({} as never, o), {}, ['everyms', 'everyMs'], { everyMs: wrong }],
  [
    'saveState',
    (o) => saveState('nowhere', o),
    { model, opt, step: 1 },
    ['steps', 'step'],
    { step: [...wrong, 1.5], parameters: [1] },
  ],
  ['loadState', (o) => loadState('nowhere', o), { model, opt }, ['parameter', 'parameters'], { parameters: [1] }],
  [
    'evaluate',
    (o) => evaluate(run, qrels, ['ndcg@10'], o),
    {},
    ['ignoreIdenticalIDs', 'ignoreIdenticalIds'],
    { scorePrecision: ['float16'], ignoreIdenticalIds: [1] },
  ],
  ['rankHits', (o) => rankHits('q', [], o), {}, ['scoreprecision', 'scorePrecision'], { scorePrecision: ['float16'] }],
  [
    'compareRuns',
    (o) => compareRuns([{ name: 'a', run }], qrels, o),
    {},
    ['resample', 'resamples'],
    { resamples: counted, seed: [...wrong, 1.5], metrics: ['ndcg@10'] },
  ],
  [
    'bootstrapInterval',
    (o) => bootstrapInterval([1], o),
    {},
    ['confidense', 'confidence'],
    { resamples: counted, seed: [...wrong, 1.5], confidence: [...real, 1] },
  ],
  [
    'randomizationTest',
    (o) => randomizationTest([1], [1], o),
    {},
    ['seeds', 'seed'],
    { resamples: counted, seed: [...wrong, 1.5] },
  ],
  ['Bm25', (o) => new Bm25(['w1'], o), {}, ['k', 'k1'], { k1: wrong, b: [...wrong, 1.5] }],
  ['bm25Run', (o) => bm25Run(collection as never, o), {}, ['topk', 'topK'], { topK: counted, k1: wrong, b: wrong }],
  [
    'modelRun',
    (o) => modelRun(model, collection as never, o),
    {},
    ['topk', 'topK'],
    { topK: counted, microBatchTokens: real, group: [1] },
  ],
  [
    'beirEvaluator',
    (o) => beirEvaluator(collection as never, o),
    {},
    ['metric', 'metrics'],
    { topK: counted, microBatchTokens: real, split: ['dev', 1] },
  ],
  ['loadBeir', (o) => loadBeir('nowhere', o), {}, ['splits', 'split'], { split: [1, ''] }],
  [
    'writeBeir',
    (o) => writeBeir('nowhere', { documents: [], queries: [], qrels: {} }, o),
    {},
    ['gzp', 'gzip'],
    { gzip: [1] },
  ],
  ['writeRun', (o) => writeRun('nowhere', run, o), {}, ['tags', 'tag'], { scorePrecision: ['float16'], tag: [1] }],
  [
    'mtebResult',
    (o) => mtebResult(run, qrels, o),
    { task: 'T' },
    ['tasks', 'task'],
    { evaluationTime: wrong, languages: ['eng'], task: [1] },
  ],
  ['beirRows', (o) => beirRows('nowhere', o), {}, ['splits', 'split'], { split: [1, ''] }],
  ['miningCorpus', (o) => miningCorpus('nowhere', o), {}, ['cachedir', 'cacheDir'], { onProgress: [1], cacheDir: [1] }],
  [
    'mineNegatives',
    (o) => mineNegatives(o),
    { data: memorySource('none', []), by: 'bm25', out: 'nowhere/x.jsonl' },
    ['dropabove', 'dropAbove'],
    {
      data: [[]],
      by: [model.recipe, 'BM25'],
      out: ['x.txt', 1],
      corpus: ['corpus.jsonl', 1],
      teacher: ['teacher'],
      depth: [100, [1], [0, 10], [10, 1]],
      sampling: ['hard'],
      negatives: counted,
      minNegatives: [...wrong, 1.5],
      queryBlock: counted,
      microBatchTokens: real,
      dropAbove: real,
      margin: wrong,
      maxScore: ['1', Number.NaN],
      minScore: ['1', Number.NaN],
      minerScores: [1],
      overwrite: [1],
      dropWhen: [1],
      onProgress: [1],
      seed: [...wrong, 1.5],
    },
  ],
  ['writeMteb', (o) => writeMteb('nowhere', o, []), { name: 'a' }, ['names', 'name'], { name: [1], revision: [1] }],
]

for (const [name, call, needed, [typo, meant], bad] of table)
  t.test(name, async (t) => {
    const refused = async (options: unknown, option: string, message: RegExp, what: string): Promise<void> => {
      const error = await (async () => call(options as never))().then(
        () => undefined,
        (reason) => reason,
      )
      t.match(error, { code: 'ERR_ARGUMENT', message, details: { option } }, what)
    }
    await refused({ ...needed, [typo]: 1 }, typo, new RegExp(`"${typo}"; did you mean "${meant}"`), typo)
    for (const [option, values] of Object.entries(bad))
      for (const value of values)
        await refused({ ...needed, [option]: value }, option, new RegExp(option), `${option}: ${String(value)}`)
    for (const options of [1, 'x', []]) {
      const error = await (async () => call(options as never))().catch((reason) => reason)
      t.match(error, { code: 'ERR_ARGUMENT' }, `options ${JSON.stringify(options)}`)
    }
  })

t.test('one process is a group that options take', async (t) => {
  await t.rejects(train({} as never, { group: singleProcess }).result, { code: 'ERR_CONFIG' })
})
