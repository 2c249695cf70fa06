// @ts-check
/** Asks a server with the typed client: node examples/serve/client.js URL */
import { createClient } from 'lateforge/client'

const client = createClient(process.argv[2] ?? 'http://127.0.0.1:8080')
const texts = ['Late interaction keeps a vector for each token.', 'Oranges are rich in vitamin C.']
const { hits } = await client.rank({ query: 'vitamin', texts })
for (const { index, score } of hits) console.log(score.toFixed(3), texts[index])
const { data, offsets, dim } = await client.embed({ role: 'document', texts })
console.log(`${offsets.at(-1)} token embeddings of ${dim} numbers, ${data.length} in all`)
