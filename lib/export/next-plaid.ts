import { overHttp } from './http.js'
import { vectorsJson } from './numbers.js'

/** next-plaid's server, which compresses vectors to 4 bits a number; ids are metadata there, since it numbers documents itself. */
export const nextPlaid = overHttp({
  title: 'next-plaid',
  url: 'http://localhost:8080',
  create: ({ name }) => ({
    request: { method: 'POST', path: '/indices', file: 'index.json' },
    body: { name, config: { nbits: 4 } },
  }),
  load: ({ name }) => ({ method: 'POST', path: `/indices/${name}/update`, file: 'documents.jsonl' }),
  document: ({ id, text, metadata, vectors }, { dim }) => [
    `{"embeddings":${vectorsJson(vectors, dim)}}`,
    JSON.stringify({ id, text, metadata: JSON.stringify(metadata) }),
  ],
  body: ([documents, metadata]) => `{"documents":[${documents}],"metadata":[${metadata}]}`,
  search: ({ name, dim }, { vectors }) => ({
    file: 'query.json',
    request: { method: 'POST', path: `/indices/${name}/search` },
    body: `{"queries":[${vectorsJson(vectors, dim)}],"params":{"top_k":10}}`,
  }),
})
