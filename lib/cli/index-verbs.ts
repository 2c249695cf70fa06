import type { Command } from 'commander'
import { homed } from '../environment.js'
import { choice, json, keepingMetadata, positive, usingModel, whole, without } from './arguments.js'

/** Adds the verbs of an index to the program. */
export function registerIndex(program: Command): void {
  const index = program.command('index').description('keep encoded documents in a folder, and search them')
  const indexVerb = (name: string, description: string): Command =>
    index.command(name).description(description).argument('<index>', 'its folder', homed)
  const usingIndex = (command: Command): Command =>
    usingModel(command).option('--model <model>', 'instead of the one that it was made with', homed)
  const files = async () => import('./index-folder.js')

  usingModel(indexVerb('create', 'make an empty index'))
    .argument('<model>', 'folder of the model that encodes, or its name on the Hub', homed)
    .option(
      '--type <type>',
      'of the stored vectors: int8 (default), float16, float32, or residual4 and residual2, which take less and find less',
      choice(['int8', 'float16', 'float32', 'residual4', 'residual2']),
    )
    .option(
      '--pool-factor <factor>',
      'keep about one in so many token vectors, by clustering; default 1, all',
      positive,
    )
    .option('--json', 'print one JSON object')
    .action(async (folder, model, options) => (await files()).create(folder, model, options))
  keepingMetadata(usingIndex(indexVerb('add', 'encode documents and keep them')))
    .argument(
      '<corpus>',
      '.jsonl(.gz) with "_id" and "text" (and "title"), a text file with one a line, a BEIR folder, or what encode wrote',
      homed,
    )
    .option(
      '--existing <what>',
      'documents whose id is there: refuse (default), replace, or skip, to go on after an interruption',
      choice(['refuse', 'replace', 'skip']),
    )
    .option('--json', 'print one JSON object')
    .action(async (folder, corpus, options) => (await files()).add(folder, corpus, options))
  usingIndex(indexVerb('search', 'find the best documents for queries'))
    .argument('[queries...]', 'default: one per line from standard input')
    .option('--top-k <k>', 'documents per query', whole, 10)
    .option(
      '--first-stage <name>',
      'bm25: score the best documents by their words; default: by token vectors',
      choice(['bm25']),
    )
    .option('--probes <n>', 'centroids that each query token looks behind; default as check found, or by size', whole)
    .option(
      '--candidates <n>',
      'documents of each query that are scored exactly; default as probes, 1000 of bm25',
      whole,
    )
    .option('--exact', 'score every document')
    .option(
      '--where <tests>',
      `only documents whose metadata pass, as '{ "year": { "$gte": 1990 } }'; $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists`,
      json,
    )
    .option('--ids <file>', 'only documents whose ids are in this file, one a line', homed)
    .option('--json', 'print one JSON object')
    .action(async (folder, queries, options) => (await files()).search(folder, queries, options))
  indexVerb('delete', 'delete documents')
    .argument('<ids...>', 'their ids')
    .option('--json', 'print one JSON object')
    .action(async (folder, ids, options) => (await files()).remove(folder, ids, options))
  indexVerb('compact', 'write the files anew, without deleted documents')
    .option('--json', 'print one JSON object')
    .action(async (folder, options) => (await files()).compact(folder, options))
  usingIndex(
    indexVerb('check', 'measure what searches find of the exact hits, and choose the cheapest way that finds enough'),
  )
    .argument('[queries...]', "default: made of the index's own documents")
    .option('--queries <n>', 'so many made of documents; default 200', whole)
    .addOption(
      without(['queries'], '--collection <folder>', 'queries of a BEIR folder and their judgments, for nDCG').argParser(
        homed,
      ),
    )
    .option('--split <name>', 'of the judgments; default test')
    .option('--top-k <k>', 'hits of a query', whole, 10)
    .option('--target <share>', 'of the exact hits', positive, 0.98)
    .option('--json', 'print one JSON object')
    .action(async (folder, queries, options) => (await files()).check(folder, queries, options))
  indexVerb('info', 'say what it holds')
    .option('--verify', 'read every file and compare it with what was written')
    .option('--json', 'print one JSON object')
    .action(async (folder, options) => (await files()).info(folder, options))
}
