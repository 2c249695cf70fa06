import t from 'tap'
import { Featurizer } from '../../lib/text/featurizer.js'
import { defaultRecipe, PUNCTUATION, recipeHash } from '../../lib/text/recipe.js'
import { Tokenizer } from '../../lib/text/tokenizer/tokenizer.js'

const [PAD, UNK, CLS, SEP, MASK] = [0, 1, 2, 3, 4]
const words = ['find', ':', 'a', 'b', 'c', '.', '##a']
function tokenizer(): Tokenizer {
  const tok = Tokenizer.fromVocabulary(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...words])
  tok.addTokens(['[Q] ', '[D] '])
  return tok
}
const id = (token: string) => 5 + words.indexOf(token)
const [Q, D] = [12, 13]

t.test('recipes: defaults, hash, differences', async (t) => {
  const recipe = defaultRecipe()
  t.equal(PUNCTUATION.length, 32)
  t.match(recipe, {
    queryPrefix: '[Q] ',
    documentLength: 180,
    queryExpansion: true,
    attendToExpansionTokens: false,
    clampNegatives: false,
  })
  t.equal(defaultRecipe({ queryExpansion: false, attendToExpansionTokens: true }).attendToExpansionTokens, false)
  const other = defaultRecipe({ queryPrompt: 'search_query: ', queryLength: 39 })
  t.not(recipeHash(recipe), recipeHash(other))
  t.equal(recipeHash(recipe), recipeHash({ ...defaultRecipe() }))
})

t.test('bad recipe values name the field', async (t) => {
  const bad: [object, RegExp][] = [
    [{ queryLenght: 3 }, /"queryLenght".*"queryLength"/],
    [{ queryLength: 0 }, /queryLength/],
    [{ documentLength: 1.5 }, /documentLength/],
    [{ clampNegatives: 'neginf' }, /clampNegatives/],
    [{ skiplistWords: '.,' }, /skiplistWords/],
    [{ queryPrefix: null }, /queryPrefix/],
    [
      { queryExpansion: 33 },
      /"queryExpansion": got 33, expected true, false or a number of tokens up to queryLength, 32/,
    ],
    [{ queryExpansion: 'min' }, /queryExpansion/],
    [{ skiplistTasks: ['passage'] }, /skiplistTasks/],
    [{ keepOnlyTokenIds: [-1] }, /keepOnlyTokenIds/],
  ]
  for (const [override, message] of bad) t.throws(() => defaultRecipe(override), { code: 'ERR_RECIPE', message })
})

t.test('featurizer: order, PyLate lengths, strip, lower case', async (t) => {
  const tok = tokenizer()
  const recipe = defaultRecipe({ queryPrompt: 'find: ', queryLength: 7, documentLength: 5 })
  const features = new Featurizer(tok, recipe)
  t.same([...features.query('  a ')], [CLS, Q, id('find'), id(':'), id('a'), SEP])
  t.same([...features.query('a b c')], [CLS, Q, id('find'), id(':'), id('a'), id('b'), SEP], 'cut to 7 in all')
  t.same([...features.document('\u0085\u001c a b c a')], [CLS, D, id('a'), id('b'), SEP], 'cut to 5 in all')
  t.same([...features.document('')], [CLS, D, SEP])
  t.same([...features.document('Ω')], [CLS, D, UNK, SEP])
  t.equal(features.expandTo, 7)
  t.equal(features.maskId, MASK)
  t.equal(features.recipe.tokenizerHash, tok.hash)

  const bare = new Featurizer(
    tok,
    defaultRecipe({ queryPrefix: '', documentPrefix: '', documentLength: 5, queryExpansion: false }),
  )
  t.same([...bare.document('a b c a')], [CLS, id('a'), id('b'), id('c'), SEP])
  t.equal(bare.expandTo, 0)
})

t.test('skiplist: exact tokens only, never the unknown id', async (t) => {
  const features = new Featurizer(tokenizer(), defaultRecipe())
  t.equal(features.skip.length, 14)
  t.same(
    [...features.skip.keys()].filter((i) => features.skip[i] === 1),
    [id(':'), id('.')],
  )
  t.equal(features.skip[UNK], 0)
  t.equal(features.skip[PAD], 0)
})

t.test('featurizer: expansion up to a floor, its token, whose skiplist, white space', async (t) => {
  const tok = tokenizer()
  t.equal(defaultRecipe({ queryExpansion: 32 }).queryExpansion, true, 'all of queryLength')
  const asked = defaultRecipe({ queryExpansion: 4, expansionToken: 'b', skiplistTasks: ['query'] })
  const features = new Featurizer(tok, asked)
  t.same([features.expandTo, features.maskId], [4, id('b')])
  t.same([features.skip.includes(1), features.querySkip?.[id('.')]], [false, 1])
  t.equal(new Featurizer(tok, defaultRecipe({ expansionToken: '[MASK]' })).recipe.expansionToken, '', 'its own name')
  t.throws(() => new Featurizer(tok, defaultRecipe({ expansionToken: '[X]' })), {
    code: 'ERR_RECIPE',
    message: /\[X\]/,
  })
  tok.addTokens(['c '])
  const ends = (strip: boolean) => new Featurizer(tok, defaultRecipe({ strip })).document('c ')[2]
  t.same([ends(true), ends(false)], [id('c'), tok.tokenToId('c ')])
})

t.test('featurizer refuses what it cannot honour', async (t) => {
  const tok = tokenizer()
  t.throws(() => new Featurizer(tok, defaultRecipe({ queryPrefix: '[X] ' })), {
    code: 'ERR_RECIPE',
    message: /addTokens/,
  })
  t.throws(() => new Featurizer(tok, defaultRecipe({ queryLength: 3 })), { code: 'ERR_RECIPE', message: /no room/ })
  const bound = new Featurizer(tok, defaultRecipe()).recipe
  const other = tokenizer()
  other.addTokens(['[Z]'])
  t.throws(() => new Featurizer(other, bound), { code: 'ERR_RECIPE', message: /tokenizer/ })
  t.doesNotThrow(() => new Featurizer(tokenizer(), bound))
})
