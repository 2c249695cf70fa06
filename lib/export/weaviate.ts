import { overHttp } from './http.js'
import { vectorsJson } from './numbers.js'
import { uuidOf } from './uuid.js'

/** Names of collections begin with a capital letter there. */
const collection = (name: string): string => name[0]!.toUpperCase() + name.slice(1)

/** Weaviate 1.29 or later: a named vector with MaxSim over token vectors. Its HTTP interface takes no such query; its clients do. */
export const weaviate = overHttp({
  title: 'Weaviate',
  url: 'http://localhost:8080',
  create: ({ name }) => ({
    request: { method: 'POST', path: '/v1/schema', file: 'collection.json' },
    body: {
      class: collection(name),
      properties: [
        { name: 'docid', dataType: ['text'], tokenization: 'field' },
        { name: 'text', dataType: ['text'] },
        { name: 'metadata', dataType: ['text'], indexSearchable: false },
      ],
      vectorConfig: {
        colbert: {
          vectorizer: { none: {} },
          vectorIndexType: 'hnsw',
          vectorIndexConfig: { distance: 'dot', multivector: { enabled: true, aggregation: 'maxSim' } },
        },
      },
    },
  }),
  load: () => ({ method: 'POST', path: '/v1/batch/objects', file: 'objects.jsonl' }),
  document: ({ id, text, metadata, vectors }, { name, dim }) => [
    `{"class":"${collection(name)}","id":"${uuidOf(id)}",` +
      `"properties":${JSON.stringify({ docid: id, text, metadata: JSON.stringify(metadata) })},` +
      `"vectors":{"colbert":${vectorsJson(vectors, dim)}}}`,
  ],
  body: ([objects]) => `{"objects":[${objects}]}`,
  search: ({ dim }, { vectors }) => ({ file: 'query.json', body: vectorsJson(vectors, dim) }),
  others: ({ name }) => ({
    'query.py': `# Written by lateforge. pip install weaviate-client; python query.py
import json, pathlib, weaviate

vectors = json.loads((pathlib.Path(__file__).parent / "query.json").read_text())
with weaviate.connect_to_local() as client:
    books = client.collections.get("${collection(name)}")
    for found in books.query.near_vector(near_vector=vectors, target_vector="colbert", limit=10).objects:
        print(found.properties["docid"])`,
  }),
  refused: 'Array.isArray(answer) && answer.some(({ result }) => result?.errors)', // with status 200
})
