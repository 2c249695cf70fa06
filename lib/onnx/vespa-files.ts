/** services.xml and the schema of an application of Vespa. */
import { vespaServices } from '../export/vespa-services.js'
import type { Colbert } from '../models/colbert.js'

/** How token vectors of documents are stored in Vespa; `bits` keeps their signs, 1/32 of `float`. */
export type VespaCells = 'float' | 'bfloat16' | 'bits'

/** services.xml, with the embedder. */
export function servicesOf(model: Colbert, graph: string): string {
  const { recipe: r, tokenizer, featurizer } = model
  const settings: Record<string, string | number> = {
    'max-query-tokens': r.queryLength,
    'max-document-tokens': r.documentLength,
    'max-tokens': model.positions,
    'transformer-start-sequence-token': tokenizer.leading[0]!,
    'transformer-end-sequence-token': tokenizer.trailing[0]!,
    'transformer-mask-token': featurizer.maskId,
    'transformer-pad-token': tokenizer.pad ?? featurizer.maskId,
    'query-token-id': tokenizer.tokenToId(r.queryPrefix)!,
    'document-token-id': tokenizer.tokenToId(r.documentPrefix)!,
    'transformer-output': 'contextual',
    ...(r.queryExpansion === false && { 'attend-to-expansion-tokens': 'false' }),
  }
  const lines = Object.entries(settings).map(([name, value]) => `      <${name}>${value}</${name}>`)
  return vespaServices(
    'doc',
    `
    <component id="colbert" type="colbert-embedder">
      <transformer-model path="${graph}"/>
      <tokenizer-model path="models/tokenizer.json"/>
${lines.join('\n')}
    </component>`,
  )
}

/** How a field is stored, and what a rank profile reads of it. */
const stored: Readonly<Record<VespaCells, { type: (dim: number) => string; read: (field: string) => string }>> = {
  float: { type: (dim) => `tensor<float>(dt{}, x[${dim}])`, read: (field) => field },
  bfloat16: { type: (dim) => `tensor<bfloat16>(dt{}, x[${dim}])`, read: (field) => field },
  bits: { type: (dim) => `tensor<int8>(dt{}, x[${dim / 8}])`, read: (field) => `unpack_bits(${field})` },
}

/** schemas/doc.sd: a text, and for each way to store its token vectors a field and a rank profile. */
export function schemaOf(model: Colbert, cells: readonly VespaCells[]): string {
  const { dim, recipe } = model
  const prompt = recipe.documentPrompt === '' ? '' : `${JSON.stringify(recipe.documentPrompt)} . `
  const fields = cells.map(
    (kind) => `
  field colbert_${kind} type ${stored[kind].type(dim)} {
    indexing: ${prompt}input text | embed colbert | attribute
  }
`,
  )
  const profiles = cells.map(
    (kind) => `
  rank-profile colbert_${kind} {
    inputs {
      query(qt) tensor<float>(qt{}, x[${dim}])
    }
    function max_sim() {
      expression: sum(reduce(sum(query(qt) * ${stored[kind].read(`attribute(colbert_${kind})`)}, x), max, dt), qt)
    }
    first-phase {
      expression: bm25(text)
    }
    second-phase {
      rerank-count: 100
      expression: max_sim
    }
  }
`,
  )
  return `schema doc {
  document doc {
    field id type string {
      indexing: summary | attribute
    }
    field text type string {
      indexing: index | summary
      index: enable-bm25
    }
  }

  fieldset default {
    fields: text
  }
${fields.join('')}${profiles.join('')}}
`
}
