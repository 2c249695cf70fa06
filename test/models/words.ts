import { PUNCTUATION } from '../../lib/text/recipe.js'
import { BERT_SPECIAL_TOKENS } from '../../lib/text/tokenizer/bert.js'
import { Tokenizer } from '../../lib/text/tokenizer/tokenizer.js'

const words = 'late interaction is a kind of retrieval that keeps one vector per token not for the whole text'.split(
  ' ',
)
export const tokenizer = Tokenizer.fromVocabulary([...new Set([...BERT_SPECIAL_TOKENS, ...PUNCTUATION, ...words])])
export const texts = [
  'late interaction is retrieval.',
  'one vector per token, not one for the text',
  'a',
  `${words.join(' ')}, ${words.reverse().join(' ')}`,
]
