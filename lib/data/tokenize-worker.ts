/** A worker thread that turns rows of text into tokens: see `encoder.ts`. */
import { parentPort, workerData } from 'node:worker_threads'
import { Featurizer } from '../text/featurizer.js'
import type { Recipe } from '../text/recipe.js'
import { type SharedTokenizer, Tokenizer } from '../text/tokenizer/tokenizer.js'
import { atOnce } from '../turns.js'
import { encodeRows, type RowTexts } from './tokenize.js'

/** What the thread is given at its start. */
export interface TokenizerWork {
  tokenizer: SharedTokenizer
  recipe: Recipe
}

const { tokenizer, recipe } = workerData as TokenizerWork
const featurizer = new Featurizer(Tokenizer.fromShared(tokenizer), recipe)

parentPort!.on('message', (rows: RowTexts[]) => {
  const encoded = atOnce(encodeRows(featurizer, rows))
  parentPort!.postMessage(encoded, [
    encoded.ids.buffer,
    encoded.lengths.buffer,
    encoded.hashes.buffer,
    encoded.documents.buffer,
  ])
})
