import { type Command, InvalidArgumentError } from 'commander'
import { homed } from '../environment.js'
import type { ExportTarget } from '../export/index.js'
import { choice, ofModel, usingModel } from './arguments.js'

/** Adds the verb to the program. */
export function registerExport(program: Command): void {
  const verb = program.command('export').description('write what was made here for other programs')
  registerModels(verb)
  registerIndexes(verb)
}

const graphTypes = choice(['float32', 'int8'])

const cells = (text: string): string[] => {
  const kinds = text.split(',').map((kind) => kind.trim())
  if (!kinds.every((kind) => ['float', 'bfloat16', 'bits'].includes(kind)))
    throw new InvalidArgumentError('Expected some of float, bfloat16, bits, with commas between.')
  return kinds
}

function registerModels(verb: Command): void {
  const written = (name: string, description: string): Command =>
    ofModel(usingModel(verb.command(name)))
      .description(description)
      .argument('<out>', 'a folder that is not there yet', homed)
      .option('--json', 'print one JSON object')
  written('onnx', 'write a model as one ONNX graph, with the files that next-plaid, transformers.js and fastembed read')
    .option('--type <type>', 'of the weights, float32 or int8; default: a graph of each', graphTypes)
    .option('--output <name>', "of the graph's output; default: output, of a dense model sentence_embedding")
    .action(async (model, out, options) => (await import('./export-model.js')).onnx(model, out, options))
  written('vespa-app', 'write an application folder of Vespa whose own embedder runs the model')
    .option('--type <type>', 'of the weights, float32 or int8; default float32', graphTypes)
    .option('--cells <list>', 'how documents are stored: some of float, bfloat16, bits; default: all', cells)
    .action(async (model, out, options) => (await import('./export-model.js')).vespaApp(model, out, options))
}

const searchEngines: Record<ExportTarget, string> = {
  lancedb: 'a LanceDB database (npm install @lancedb/lancedb apache-arrow)',
  qdrant: "bodies of Qdrant's HTTP interface, and programs that send them",
  vespa: 'an application package and a feed for Vespa',
  weaviate: "bodies of Weaviate's HTTP interface, and programs that send them",
  milvus: "bodies of Milvus' HTTP interface, and programs that send them",
  'next-plaid': "bodies of next-plaid's HTTP interface, and programs that send them",
}

function registerIndexes(verb: Command): void {
  for (const [target, description] of Object.entries(searchEngines) as [ExportTarget, string][])
    verb
      .command(target)
      .description(`write an index, or encoded documents, as ${description}`)
      .argument('<folder>', 'of the index, or of what `lateforge encode` wrote', homed)
      .argument('<out>', 'a folder that is not there yet', homed)
      .option('--name <name>', 'of the collection, table or schema', 'documents')
      .option('--no-texts', 'without texts and metadata')
      .option('--json', 'print one JSON object')
      .action(async (folder, out, options) =>
        (await import('./export-index.js')).exportTo(target, folder, out, options),
      )
}
