/** Every verb with its options, from which help, completion and parsing are made. A verb is a file, loaded when it is called. */
import { Command } from 'commander'
import { homed } from '../environment.js'
import { packageVersion } from '../packages.js'
import {
  acceptRecipeChange,
  allHomed,
  choice,
  collected,
  fromZero,
  keepingMetadata,
  number,
  ofModel,
  port,
  positive,
  ranks,
  readingData,
  usingModel,
  whole,
  without,
} from './arguments.js'
import { registerBench } from './bench-verbs.js'
import { print } from './common.js'
import { helpOf, withExamples } from './examples.js'
import { registerExport } from './export.js'
import { registerIndex } from './index-verbs.js'
import { registerInspect } from './inspect-verbs.js'

export const program = new Command('lateforge')
  .description('Trains, evaluates and runs ColBERT (late-interaction) retrieval models.')
  .version(packageVersion())
  .showHelpAfterError('(lateforge <verb> --help says more)')
  .exitOverride()
  .configureOutput({ outputError: (text, write) => write(`error ERR_USAGE  ${text.replace(/^error: /, '')}`) })

program
  .command('train')
  .description('train a model through the phases of a YAML file')
  .argument('[arguments...]', 'config.yaml and overrides, as seed=7 or phases.0.batch=64')
  .option('--resume', "go on from the run's last intact checkpoint, if it has one")
  .addOption(without(['resume', 'quiet'], '--print-config', 'print the whole config and stop'))
  .addOption(acceptRecipeChange())
  .option('--json', 'print events as JSON lines')
  .option('--quiet', 'no progress')
  .action(async (args, options) => (await import('./train.js')).train(args, options))

program
  .command('init')
  .description('write a config with a preset written out and explained; without arguments, list the presets')
  .argument('[preset]', 'colbert-zero, finetune …')
  .argument('[file]', 'default: the name of the preset with .yaml; - for standard output', homed)
  .option('--json', 'print the presets, or what was written, as one JSON object')
  .action(async (preset, file, options) => (await import('./init.js')).init(preset, file, options))

program
  .command('check')
  .description('check a run without training it: data, lengths, memory, and texts as the model reads them')
  .argument('[arguments...]', 'config.yaml and overrides, as for train')
  .option(
    '--steps <n>',
    'also try so many steps of each phase in memory: bytes, tokens/s, and how long the run takes',
    whole,
  )
  .option('--test <collections...>', 'look for their queries and relevant documents in the data, as for eval', allHomed)
  .option('--split <name>', 'split of these collections; default: as for eval')
  .addOption(acceptRecipeChange())
  .option('--json', 'print one JSON object')
  .action(async (args, options) => (await import('./check.js')).check(args, options))

program
  .command('resume')
  .description('go on with a run from its last intact checkpoint')
  .argument('<run>', 'folder of the run', homed)
  .option('--json', 'print events as JSON lines')
  .option('--quiet', 'no progress')
  .action(async (folder, options) => (await import('./resume.js')).resume(folder, options))

ofModel(usingModel(program.command('eval')))
  .description('score a model on collections and their mean, with BM25 beside it')
  .argument(
    '<collections...>',
    'BEIR folders, folders of them, patterns, or names: nanobeir, NanoSciFact …, beir, beir/scifact …',
    allHomed,
  )
  .option('--split <name>', 'split of the judgments; default: test, of MS MARCO dev')
  .option('--metrics <list>', 'comma-separated', 'ndcg@10,mrr@10,recall@100')
  .option('--top-k <k>', 'documents kept per query; default: as many as the metrics look at, at least 100', whole)
  .option('--no-bm25', 'without the baseline')
  .option('--run <folder>', 'write TREC run files there', homed)
  .option(
    '--rerank <path>',
    "rerank the documents of a TREC run instead of all: its file, or a folder that has one a collection, as --run's",
    homed,
  )
  .option(
    '--against <path>',
    "compare with a TREC run instead of BM25's, query by query: its file, or a folder that --run wrote",
    homed,
  )
  .option('--mteb <folder>', "write results as MTEB's JSON there", homed)
  .option('--json', 'print one JSON object')
  .action(async (model, collections, options) => (await import('./eval.js')).evaluate(model, collections, options))

ofModel(usingModel(program.command('search')))
  .description('find the best texts of a collection for queries')
  .argument(
    '<corpus>',
    '.jsonl(.gz) with "text" (and "_id", "title"), a text file with a document per line, a BEIR folder, or what encode wrote',
    homed,
  )
  .argument('[queries...]', 'default: one per line from standard input')
  .option('--top-k <k>', 'documents per query', whole, 10)
  .option('--json', 'print one JSON object')
  .action(async (model, corpus, queries, options) =>
    (await import('./search.js')).search(model, corpus, queries, options),
  )

keepingMetadata(ofModel(usingModel(program.command('encode'))))
  .description('encode documents into shards of token vectors; once more goes on after an interruption')
  .argument(
    '<corpus>',
    '.jsonl(.gz) with "text" (and "_id", "title"), a text file with a document per line, or a BEIR folder',
    homed,
  )
  .argument('<out>', 'folder of the shards, which is made', homed)
  .option('--type <type>', 'of the vectors: float16 (default), int8 or float32', choice(['int8', 'float16', 'float32']))
  .option('--pool-factor <factor>', 'keep about one in so many token vectors, by clustering; default 1, all', positive)
  .option('--keep-texts', 'keep texts beside the ids')
  .option('--shard-tokens <n>', 'tokens that fill a shard; default those of 128 MiB of vectors', whole)
  .option('--json', 'print one JSON object')
  .action(async (model, corpus, out, options) => (await import('./encode.js')).encode(model, corpus, out, options))

usingModel(program.command('explain'))
  .description('show which token of a document answers which token of a query, and how strongly')
  .argument('<target>', 'folder of a model, its name on the Hub, a run, or an index', homed)
  .requiredOption('--query <text>', 'the query')
  .option('--document <text>', 'a document; may be repeated', collected)
  .option('--id <id>', 'of an index: this document; may be repeated', collected)
  .option('--top-k <k>', 'of an index: the best documents of the query; default 3', whole)
  .option('--model <model>', 'of an index: instead of the model that it was made with', homed)
  .option('--html <file>', 'write one page that works without a network', homed)
  .option('--json', 'print one JSON object')
  .action(async (target, options) => (await import('./explain.js')).explain(target, options))

program
  .command('report')
  .description('write one page of a run, finished or not, or of several beside each other')
  .argument('<runs...>', 'folders of runs', allHomed)
  .requiredOption('--out <file>', 'the page; it works without a network', homed)
  .option(
    '--queries <n>',
    'best and worst queries of the last evaluation shown with maps; 0 loads no model',
    fromZero,
    2,
  )
  .option('--device <name>', 'where the model of these maps runs', 'cpu')
  .option('--json', 'print one JSON object')
  .action(async (runs, options) => (await import('./report.js')).report(runs, options))

program
  .command('ui')
  .description('show the report of a run in a browser, live while it goes on; on this machine alone')
  .argument('<run>', 'folder of the run', homed)
  .option('--port <n>', '0 for any that is free', port, 0)
  .option('--queries <n>', 'best and worst queries shown with maps once the run is done; 0 loads no model', fromZero, 2)
  .option('--device <name>', 'where the model of these maps runs', 'cpu')
  .option('--json', 'print where it listens as one JSON object')
  .action(async (run, options) => (await import('./ui.js')).ui(run, options))

registerIndex(program)
registerExport(program)
registerInspect(program)
ofModel(usingModel(program.command('serve')))
  .description('answer requests over HTTP: embed, rank, search, explain, rerank')
  .option('--index <folder>', 'the index that /v1/search searches', homed)
  .option('--host <address>', 'where it can be reached from; the default is this machine alone', '127.0.0.1')
  .option('--port <port>', '0 for any that is free', port, 8080)
  .option('--name <name>', "what answers call the model; default: its folder's, or that on the Hub")
  .option('--token-file <file>', 'ask for the token in it; default: that in LATEFORGE_SERVE_TOKEN, or none', homed)
  .option('--max-requests <n>', 'under way at a time; default 2048', whole)
  .option('--max-queue-tokens <n>', 'that wait to be encoded; default 262144', whole)
  .option('--batch-tokens <n>', 'of several requests that are encoded together; default 8192, of int8 1024', whole)
  .option('--drain <seconds>', 'that requests under way are given at the end', whole, 30)
  .option('--json', 'print where it listens as one JSON object')
  .action(async (model, options) => (await import('./serve.js')).serve(model, options))

readingData(usingModel(program.command('mine')))
  .description('find hard negatives for rows of training data: documents that a model, or BM25, takes for right')
  .argument(
    '<data...>',
    'files, folders, patterns, hf://datasets/…; or BEIR folders, or BEIR by name: beir/scifact',
    allHomed,
  )
  .requiredOption('--by <model>', 'what ranks the documents: folder of a model, its name on the Hub, or bm25', homed)
  .requiredOption('--out <path>', '.jsonl or .jsonl.gz file; for several sources a folder, with a file for each', homed)
  .option('--overwrite', 'replace files that are there')
  .option(
    '--corpus <path>',
    'documents to choose from: BEIR folder or name, files of ids and texts, or of rows; default: those of the same source',
    homed,
  )
  .option('--negatives <n>', 'of a row, at most; default 10', whole)
  .option('--min-negatives <n>', 'rows that get fewer are left out; default 1', number)
  .option('--depth <from-to>', 'ranks to choose from, without the positives; default 1-100', ranks)
  .option('--drop-above <p>', "drop documents that score p times the positive's score, or more; as 0.95", positive)
  .option('--margin <score>', 'drop documents that score less than this below the positive', number)
  .option('--max-score <score>', 'drop documents that score higher', number)
  .option('--min-score <score>', 'drop documents that score lower', number)
  .option(
    '--sampling <name>',
    'top: the best that are left; random: drawn among them; default top',
    choice(['top', 'random']),
  )
  .option('--seed <n>', 'of the draws; default 0', number)
  .option('--teacher <model>', "attach this model's scores of the positive and each negative", homed)
  .option('--dense-teacher', 'the teacher is a dense model, with one vector a text')
  .addOption(without(['teacher'], '--miner-scores', 'attach the scores of --by'))
  .option('--query-block <n>', 'queries searched at a time, each block with all documents anew; default 32768', whole)
  .option('--micro-batch-tokens <n>', 'tokens encoded at a time', whole)
  .option('--json', 'print one JSON object')
  .action(async (data, options) => (await import('./mine.js')).mine(data, options))

program
  .command('push')
  .description('send a model folder with its card to the Hub')
  .argument('<folder>', 'folder of the model', homed)
  .argument('<name>', 'of its repository, org/name; it is made if it is not there')
  .option('--private', 'a repository that is made can be seen by its owners alone')
  .option('--revision <branch>', 'branch; made from main if it is not there; default: main')
  .option('--message <text>', 'title of the commit')
  .option('--dry-run', 'send nothing, list what would be sent')
  .option('--json', 'print one JSON object')
  .action(async (folder, name, options) => (await import('./push.js')).push(folder, name, options))

program
  .command('doctor')
  .description('say what this machine has, and what is missing')
  .option('--json', 'print one JSON object')
  .action(async (options) => (await import('./doctor.js')).doctor(options))

registerBench(program)

program
  .command('completion')
  .description('print what makes a shell complete verbs, options and their values')
  .argument('<shell>', 'bash, zsh or fish', choice(['bash', 'zsh', 'fish']))
  .action(async (shell) => {
    const { completion } = await import('./completion.js')
    print(completion(program, shell))
  })

program
  .helpCommand(false)
  .command('help')
  .description('say what a verb does, with its options and an example')
  .argument('[verb...]', 'as train, or index add')
  .action(async (names: string[]) => print(helpOf(program, names)))

withExamples(program)
