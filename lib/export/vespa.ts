import path from 'node:path'
import { DataError } from '../errors.js'
import { writeAtomic } from '../io/atomic.js'
import { eachVector, vectorHex, vectorJson } from './numbers.js'
import { type Example, exampleOf, type Outgoing, type Plan, type Target } from './target.js'
import { vespaServices } from './vespa-services.js'

/** Characters that Vespa takes in no text. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const forbidden = /[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g

/** Vespa 8: a mixed tensor with a vector a token, scored by MaxSim of all documents, or of the best by BM25. */
export const vespa: Target = {
  async write(folder, documents, plan) {
    let example: Example | undefined
    async function* feed(): AsyncGenerator<string> {
      for await (const document of documents) {
        example ??= exampleOf(document, plan.dim)
        yield `${operation(document, plan)}\n`
      }
    }
    await writeAtomic(path.join(folder, 'feed.jsonl'), feed())
    for (const [name, text] of Object.entries({
      [`application/schemas/${plan.name}.sd`]: schema(plan),
      'application/services.xml': vespaServices(plan.name),
      'query.json': query(plan, example!),
    }))
      await writeAtomic(path.join(folder, name), [text])
  },
}

/** @throws DataError ERR_DATA for an id that Vespa cannot hold */
function operation({ id, text, metadata, vectors }: Outgoing, { name, dim }: Plan): string {
  if (id.search(forbidden) >= 0)
    throw new DataError('ERR_DATA', `the id ${JSON.stringify(id)} has a control character, which Vespa takes in none`, {
      id,
    })
  const clean = (given: string) => given.replace(forbidden, ' ')
  const cells = eachVector(vectors, dim, vectorHex).map((hex, i) => `"${i}":"${hex}"`)
  const fields = JSON.stringify({ id, text: clean(text), metadata: JSON.stringify(metadata) })
  return `{"put":${JSON.stringify(`id:${name}:${name}::${id}`)},"fields":${fields.slice(0, -1)},"colbert":{${cells.join(',')}}}}`
}

const schema = ({ name, dim }: Plan): string => `# Written by lateforge.
schema ${name} {
  document ${name} {
    field id type string {
      indexing: summary | attribute
    }
    field text type string {
      indexing: summary | index
      index: enable-bm25
    }
    field metadata type string {
      indexing: summary
    }
    field colbert type tensor<float>(dt{}, x[${dim}]) {
      indexing: attribute
    }
  }
  fieldset default {
    fields: text
  }
  # MaxSim of every document that matches.
  rank-profile maxsim {
    inputs {
      query(qt) tensor<float>(qt{}, x[${dim}])
    }
    function maxsim() {
      expression: sum(reduce(sum(query(qt) * attribute(colbert), x), max, dt), qt)
    }
    first-phase {
      expression: maxsim
    }
  }
  # MaxSim of the best by BM25.
  rank-profile bm25_maxsim inherits maxsim {
    first-phase {
      expression: bm25(text)
    }
    second-phase {
      expression: maxsim
      rerank-count: 500
    }
  }
}
`

/** A body of POST /search/ that finds the example. */
function query({ name, dim }: Plan, { vectors }: Example): string {
  const cells = eachVector(vectors, dim, vectorJson).map((vector, i) => `"${i}":${vector}`)
  const asked = JSON.stringify({ yql: `select id, text from ${name} where true`, ranking: 'maxsim', hits: 10 })
  return `${asked.slice(0, -1)},"input.query(qt)":{${cells.join(',')}}}\n`
}
