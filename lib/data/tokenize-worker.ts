/** A worker thread that turns rows of text into tokens: see `encoder.ts`. */
import { parentPort, workerData } from 'node:worker_threads'
import { Featurizer } from '../text/featurizer.js'
import type { Recipe } from '../text/recipe.js'
import { Tokenizer } from '../text/tokenizer.js'
import { encodeRows, type RowTexts } from './encode.js'

const { json, config, recipe } = workerData as { json: object; config: object; recipe: Recipe }
const featurizer = new Featurizer(Tokenizer.fromJson(json, config), recipe)

parentPort!.on('message', (rows: RowTexts[]) => {
  const encoded = encodeRows(featurizer, rows)
  parentPort!.postMessage(encoded, [
    encoded.ids.buffer,
    encoded.lengths.buffer,
    encoded.hashes.buffer,
    encoded.documents.buffer,
  ])
})
