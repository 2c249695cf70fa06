import { overHttp } from './http.js'
import { vectorsJson } from './numbers.js'
import { uuidOf } from './uuid.js'

/** Qdrant 1.10 or later: a multivector with MaxSim, without a graph over token vectors, which would cost more than it finds. */
export const qdrant = overHttp({
  title: 'Qdrant',
  url: 'http://localhost:6333',
  create: ({ name, dim }) => ({
    request: { method: 'PUT', path: `/collections/${name}`, file: 'collection.json' },
    body: {
      vectors: {
        size: dim,
        distance: 'Dot',
        multivector_config: { comparator: 'max_sim' },
        hnsw_config: { m: 0 },
        on_disk: true,
      },
    },
  }),
  load: ({ name }) => ({ method: 'PUT', path: `/collections/${name}/points?wait=true`, file: 'points.jsonl' }),
  document: ({ id, text, metadata, vectors }, { dim }) => [
    `{"id":"${uuidOf(id)}","payload":${JSON.stringify({ id, text, metadata })},"vector":${vectorsJson(vectors, dim)}}`,
  ],
  body: ([points]) => `{"points":[${points}]}`,
  search: ({ name, dim }, { vectors }) => ({
    file: 'query.json',
    request: { method: 'POST', path: `/collections/${name}/points/query` },
    body: `{"query":${vectorsJson(vectors, dim)},"limit":10,"with_payload":true}`,
  }),
})
