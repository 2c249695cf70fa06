/** Encodes into a folder, and says a word for each step, until it is through or killed. */
import { writeSync } from 'node:fs'
import { encodeCorpus } from '../../lib/indexing/index.js'
import { documents, settings, tinyModel } from './encoded-documents.js'

const model = await tinyModel()
const onProgress = () => writeSync(1, 'step\n')
await encodeCorpus(process.argv[2]!, documents, { model, ...settings, onProgress })
writeSync(1, 'done\n')
