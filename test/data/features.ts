import { Featurizer } from '../../lib/text/featurizer.js'
import { defaultRecipe, type Recipe } from '../../lib/text/recipe.js'
import { BERT_SPECIAL_TOKENS } from '../../lib/text/tokenizer/bert.js'
import { Tokenizer } from '../../lib/text/tokenizer/tokenizer.js'

/** A featurizer whose vocabulary is BERT's special tokens, the prefixes and these words. */
export function featurizerOf(words: readonly string[], recipe: Partial<Recipe>): Featurizer {
  const tokenizer = Tokenizer.fromVocabulary([...BERT_SPECIAL_TOKENS, ...words])
  tokenizer.addTokens(['[Q] ', '[D] '])
  return new Featurizer(tokenizer, defaultRecipe(recipe))
}
