/** `lateforge export …`: one command for each target. What they do is loaded when one is called. */
import type { Command } from 'commander'
import { homed } from '../environment.js'
import type { ExportTarget } from '../export/index.js'

const searchEngines: Record<ExportTarget, string> = {
  lancedb: 'a LanceDB database (npm install @lancedb/lancedb apache-arrow)',
  qdrant: "bodies of Qdrant's HTTP interface, and programs that send them",
  vespa: 'an application package and a feed for Vespa',
  weaviate: "bodies of Weaviate's HTTP interface, and programs that send them",
  milvus: "bodies of Milvus' HTTP interface, and programs that send them",
  'next-plaid': "bodies of next-plaid's HTTP interface, and programs that send them",
}

/** Adds the verb to the program. */
export function registerExport(program: Command): void {
  const verb = program.command('export').description('write what was made here for other programs')
  for (const [target, description] of Object.entries(searchEngines) as [ExportTarget, string][])
    verb
      .command(target)
      .description(`write an index as ${description}`)
      .argument('<index>', 'its folder', homed)
      .argument('<out>', 'a folder that is not there yet', homed)
      .option('--name <name>', 'of the collection, table or schema', 'documents')
      .option('--no-texts', 'without texts and metadata')
      .option('--json', 'print one JSON object')
      .addHelpText('after', `\nExample: lateforge export ${target} books/ ${target}/ --name books`)
      .action(async (index, out, options) => (await import('./export-index.js')).exportTo(target, index, out, options))
}
