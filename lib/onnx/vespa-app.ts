import path from 'node:path'
import { typed, UnsupportedError } from '../errors.js'
import { writeAtomic, writeFolder } from '../io/atomic.js'
import type { Colbert } from '../models/colbert.js'
import { checkOptions, checkPath, oneOf, signal as signalKind } from '../options.js'
import { tokenizerJson } from '../text/tokenizer/save.js'
import type { Tokenizer } from '../text/tokenizer/tokenizer.js'
import { checkFree, filesOf, graphFiles, type OnnxResult, someOf, writeGraph } from './export.js'
import { freeTokenizer } from './files.js'
import type { OnnxPrecision } from './layers.js'
import { expansionOf } from './model.js'
import { schemaOf, servicesOf, type VespaCells } from './vespa-files.js'

/** What `exportVespaApp` writes. */
export interface VespaOptions {
  /** Weights of the graph that Vespa runs. Default float32. */
  type?: OnnxPrecision
  /** Fields of documents, each with a rank profile. Default all. */
  cells?: readonly VespaCells[]
  /** Ends the export between two weights, with ERR_ABORTED; nothing of it is left. */
  signal?: AbortSignal
}

/**
 * Writes an application folder of Vespa, whole or not at all: services.xml with a `colbert-embedder`, schemas/doc.sd with a
 * field and a rank profile for each way to store token vectors, and models/ with the graph and the tokenizer. What of the
 * recipe Vespa's embedder does otherwise is in the result's `notes`.
 * @throws UnsupportedError ERR_UNSUPPORTED for a model that Vespa's ColBertEmbedder would embed otherwise, with all reasons;
 *   FileError ERR_FILE when the folder is there already or cannot be written; ArgumentError ERR_ARGUMENT; AbortedError
 */
export async function exportVespaApp(model: Colbert, dir: string, options: VespaOptions = {}): Promise<OnnxResult> {
  checkPath('exportVespaApp', dir)
  checkOptions('exportVespaApp', options, {
    type: oneOf('float32', 'int8'),
    cells: someOf('float', 'bfloat16', 'bits'),
    signal: signalKind,
  })
  const { type = 'float32', cells = ['float', 'bfloat16', 'bits'], signal } = options
  const reasons = refusals(model)
  if (reasons.length > 0)
    throw new UnsupportedError(
      'ERR_UNSUPPORTED',
      `Vespa's ColBertEmbedder would embed otherwise than this model:\n  ${reasons.join('\n  ')}`,
      { reasons },
    )
  await checkFree(dir)
  try {
    await writeFolder(dir, async (folder) => {
      const models = path.join(folder, 'models')
      await writeGraph(model, models, { precision: type, output: 'contextual', zeroSkipped: true }, { signal })
      await writeAtomic(path.join(models, 'tokenizer.json'), tokenizerJson(vespaTokenizer(model)))
      await writeAtomic(path.join(folder, 'services.xml'), [servicesOf(model, `models/${graphFiles[type]}`)])
      await writeAtomic(path.join(folder, 'schemas', 'doc.sd'), [schemaOf(model, cells)])
    })
  } catch (error) {
    throw typed(error)
  }
  return { files: await filesOf(dir), notes: notesOf(model) }
}

/** Why Vespa's embedder would give other embeddings. */
function refusals(model: Colbert): string[] {
  const { recipe: r, tokenizer } = model
  const reasons: string[] = []
  const refuse = (when: boolean, why: string): void => {
    if (when) reasons.push(why)
  }
  if (r.pooling !== 'none')
    return [`it pools a text into one vector (${r.pooling}), which Vespa's hugging-face-embedder is for`]
  refuse(
    r.attendToExpansionTokens && !expansionOf(model),
    'tokens attend to expansion tokens (attendToExpansionTokens), which Vespa masks, and the graph cannot tell from padding',
  )
  refuse(
    typeof r.queryExpansion === 'number',
    `queries are expanded to ${r.queryExpansion} tokens and may be longer; Vespa expands all to the longest`,
  )
  for (const [role, prefix] of [
    ['queries', r.queryPrefix],
    ['documents', r.documentPrefix],
  ] as const)
    refuse(prefix === '', `${role} have no marker token; Vespa puts one into every text`)
  refuse(
    tokenizer.leading.length !== 1 || tokenizer.trailing.length !== 1,
    `its tokenizer puts ${tokenizer.leading.length} tokens before a text and ${tokenizer.trailing.length} after it; Vespa one each`,
  )
  refuse(r.clampNegatives, 'negative similarities count as 0 (clampNegatives)')
  refuse(r.lowerCase, 'texts are lower-cased before the tokenizer sees them (lowerCase)')
  refuse(model.dim % 8 !== 0, `it has ${model.dim} dimensions, no multiple of 8`)
  return reasons
}

/** What Vespa's embedder does otherwise, or leaves to others. */
function notesOf(model: Colbert): string[] {
  const { recipe: r, featurizer } = model
  const notes = ['a text that is one punctuation mark and no more is embedded as an empty one']
  if (featurizer.skip.includes(1))
    notes.push(
      'tokens that do not score are zeros: scores are those of the model wherever the best similarity of a query token ' +
        'is not negative',
    )
  if (r.queryPrompt) notes.push(`queries have to begin with ${JSON.stringify(r.queryPrompt)}: embed(colbert, "…")`)
  if (r.queryExpansion === false)
    notes.push('queries are not expanded, which takes a Vespa of 2026-05-13 or later (attend-to-expansion-tokens)')
  if (r.strip) notes.push('Vespa does not take white space from the ends of texts; feed and ask without')
  return notes
}

/**
 * tokenizer.json for Vespa. It takes from documents, before the encoder sees them, the tokens that it finds for each punctuation
 * mark by itself; so by itself, a mark is nothing here.
 */
function vespaTokenizer(model: Colbert): Tokenizer['shared'] {
  const { json, ...rest } = freeTokenizer(model).shared
  const alone = { type: 'Replace', pattern: { Regex: '\\A[!-/:-@\\[-`{-~]\\z' }, content: '' }
  const normalizers = json.normalizer ? [alone, json.normalizer] : [alone]
  return { ...rest, json: { ...json, normalizer: { type: 'Sequence', normalizers } } }
}
