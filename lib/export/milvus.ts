import { DataError } from '../errors.js'
import { overHttp } from './http.js'
import { eachVector, vectorJson, vectorsJson } from './numbers.js'

/** Of a VarChar, and of JSON, in bytes. */
const longestText = 65_535
/** Elements of an array. */
const mostTokens = 4_096

/** @throws DataError ERR_DATA for a text that is too long */
function checked(id: string, what: string, text: string): void {
  const bytes = Buffer.byteLength(text)
  if (bytes > longestText)
    throw new DataError(
      'ERR_DATA',
      `document "${id}" has ${what} of ${bytes} bytes; Milvus takes ${longestText}. Export without texts, and keep them elsewhere`,
      { id, bytes },
    )
}

/** Milvus 2.6.4 or later: an array of structs with a vector each, whose index scores by MaxSim. */
export const milvus = overHttp({
  title: 'Milvus',
  url: 'http://localhost:19530',
  create: ({ name, dim }) => ({
    request: { method: 'POST', path: '/v2/vectordb/collections/create', file: 'collection.json' },
    body: {
      collectionName: name,
      schema: {
        autoID: false,
        fields: [
          {
            fieldName: 'id',
            dataType: 'VarChar',
            isPrimary: true,
            elementTypeParams: { max_length: `${longestText}` },
          },
          { fieldName: 'text', dataType: 'VarChar', elementTypeParams: { max_length: `${longestText}` } },
          { fieldName: 'metadata', dataType: 'JSON' },
        ],
        structArrayFields: [
          {
            name: 'tokens',
            elementTypeParams: { max_capacity: mostTokens },
            fields: [{ fieldName: 'vector', dataType: 'FloatVector', elementTypeParams: { dim: `${dim}` } }],
          },
        ],
      },
      indexParams: [
        { fieldName: 'tokens[vector]', indexName: 'tokens_vector', indexType: 'AUTOINDEX', metricType: 'MAX_SIM_IP' },
      ],
    },
  }),
  load: () => ({ method: 'POST', path: '/v2/vectordb/entities/insert', file: 'entities.jsonl' }),
  document({ id, text, metadata, vectors }, { dim }) {
    checked(id, 'an id', id)
    checked(id, 'a text', text)
    checked(id, 'metadata', JSON.stringify(metadata))
    if (vectors.length / dim > mostTokens)
      throw new DataError(
        'ERR_DATA',
        `document "${id}" has ${vectors.length / dim} token vectors; Milvus takes ${mostTokens}. Pool them when they are encoded`,
        { id, tokens: vectors.length / dim },
      )
    const tokens = eachVector(vectors, dim, (vector) => `{"vector":${vectorJson(vector)}}`)
    return [`${JSON.stringify({ id, text, metadata }).slice(0, -1)},"tokens":[${tokens.join(',')}]}`]
  },
  body: ([entities], { name }) => `{"collectionName":"${name}","data":[${entities}]}`,
  search: ({ name, dim }, { vectors }) => ({
    file: 'query.json',
    request: { method: 'POST', path: '/v2/vectordb/entities/search' },
    body:
      `{"collectionName":"${name}","data":[${vectorsJson(vectors, dim)}],"annsField":"tokens[vector]",` +
      `"searchParams":{"metric_type":"MAX_SIM_IP"},"limit":10,"outputFields":["id","text"]}`,
  }),
  refused: 'answer.code !== 0', // with status 200
})
