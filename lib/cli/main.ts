#!/usr/bin/env node
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { homed } from '../environment.js'
import { packageVersion } from '../packages.js'
import { bearClosedOutput, report } from './common.js'
import { registerExport } from './export.js'

const program = new Command('lateforge')
  .description('Trains, evaluates and runs ColBERT (late-interaction) retrieval models.')
  .version(packageVersion())
  .showHelpAfterError('(lateforge <verb> --help says more)')
  .exitOverride()
  .configureOutput({ outputError: (text, write) => write(`error ERR_USAGE  ${text.replace(/^error: /, '')}`) })

const whole = (text: string): number => {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('Expected a whole number above 0.')
  return Number(text)
}

const fromZero = (text: string): number => (text === '0' ? 0 : whole(text))

const positive = (text: string): number => {
  if (!(Number(text) > 0)) throw new InvalidArgumentError('Expected a number above 0.')
  return Number(text)
}

const choice = (names: readonly string[]) => (text: string) => {
  if (!names.includes(text)) throw new InvalidArgumentError(`Expected ${names.join(' or ')}.`)
  return text
}

/** An option that does nothing beside one of `others`, so that both together are a mistake. */
const without = (others: string[], flags: string, description: string): Option =>
  new Option(flags, description).conflicts(others)

const allHomed = (path: string, before: string[] = []): string[] => [...before, homed(path)]

const listed = (text: string, before: string[] = []): string[] => [...before, ...text.split(',').map((x) => x.trim())]
const collected = (text: string, before: string[] = []): string[] => [...before, text]

const acceptRecipeChange = (): Option =>
  new Option(
    '--accept-recipe-change <fields>',
    'fields of the recipe that may differ from what the model was trained with, as queryPrompt,documentPrompt',
  ).argParser(listed)

/** The options of `ModelOptions`. */
const usingModel = (command: Command): Command =>
  command
    .option('--device <name>', 'where the model runs', 'cpu')
    .option(
      '--precision <name>',
      'float32, bfloat16 (the default on a GPU) or int8',
      choice(['float32', 'bfloat16', 'int8']),
    )
    .option('--dense', 'the model is a dense one, with one vector a text')
    .option('--recipe <field=value>', "instead of the model's, as queryLength=64; may be repeated", collected)
    .addOption(acceptRecipeChange())

// Every verb is a file of its own, loaded when it is called.
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
  .action(async (preset, file) => (await import('./init.js')).init(preset, file))

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

usingModel(program.command('eval'))
  .description('score a model on collections and their mean, with BM25 beside it')
  .argument('<model>', 'folder of the model, or its name on the Hub: org/name[@revision]', homed)
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

usingModel(program.command('search'))
  .description('find the best texts of a collection for queries')
  .argument('<model>', 'folder of the model, or its name on the Hub: org/name[@revision]', homed)
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

usingModel(program.command('encode'))
  .description('encode documents into shards of token vectors; once more goes on after an interruption')
  .argument('<model>', 'folder of the model, or its name on the Hub: org/name[@revision]', homed)
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
  .addHelpText(
    'after',
    '\nExample: lateforge explain runs/demo/model --query "what is late interaction" --document "ColBERT keeps a vector per token" --html why.html',
  )
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
  .addHelpText('after', '\nExample: lateforge report runs/one runs/two --out report.html')
  .action(async (runs, options) => (await import('./report.js')).report(runs, options))

program
  .command('ui')
  .description('show the report of a run in a browser, live while it goes on; on this machine alone')
  .argument('<run>', 'folder of the run', homed)
  .option('--port <n>', 'default: one that is free', whole, 0)
  .option('--queries <n>', 'best and worst queries shown with maps once the run is done; 0 loads no model', fromZero, 2)
  .option('--device <name>', 'where the model of these maps runs', 'cpu')
  .addHelpText('after', '\nExample: lateforge ui runs/one')
  .action(async (run, options) => (await import('./ui.js')).ui(run, options))

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
    'of the stored vectors: int8 (default), float16 or float32',
    choice(['int8', 'float16', 'float32']),
  )
  .option('--pool-factor <factor>', 'keep about one in so many token vectors, by clustering; default 1, all', positive)
  .option('--json', 'print one JSON object')
  .action(async (folder, model, options) => (await files()).create(folder, model, options))
usingIndex(indexVerb('add', 'encode documents and keep them'))
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
  .option('--candidates <n>', 'documents of each query that are scored exactly; default 1000 of bm25', whole)
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
  .option('--top-k <k>', 'hits of a query', whole, 10)
  .option('--target <share>', 'of the exact hits', positive, 0.98)
  .option('--json', 'print one JSON object')
  .action(async (folder, queries, options) => (await files()).check(folder, queries, options))
indexVerb('info', 'say what it holds')
  .option('--verify', 'read every file and compare it with what was written')
  .option('--json', 'print one JSON object')
  .action(async (folder, options) => (await files()).info(folder, options))

registerExport(program, usingModel)
const port = (text: string): number => {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) throw new InvalidArgumentError('Expected a port, 0 to 65535.')
  return Number(text)
}
usingModel(program.command('serve'))
  .description('answer requests over HTTP: embed, rank, search, explain, rerank')
  .argument('<model>', 'folder of the model, or its name on the Hub: org/name[@revision]', homed)
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
  .addHelpText('after', '\nAs: lateforge serve runs/own/model --index books/ --port 8080')
  .action(async (model, options) => (await import('./serve.js')).serve(model, options))

const ranks = (text: string): [number, number] => {
  const [, from, to] = /^([1-9]\d*)-([1-9]\d*)$/.exec(text) ?? []
  if (!(Number(from) <= Number(to))) throw new InvalidArgumentError('Expected two ranks, from 1: as 10-100.')
  return [Number(from), Number(to)]
}

const number = (text: string): number => {
  if (text.trim() === '' || !Number.isFinite(Number(text))) throw new InvalidArgumentError('Expected a number.')
  return Number(text)
}

usingModel(program.command('mine'))
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
  .option(
    '--columns <role=column>',
    'which column is query, positive, negatives or documents; may be repeated',
    collected,
  )
  .option('--queries <files>', 'the query column holds ids, of this table', homed)
  .option('--documents <files>', 'the columns of documents hold ids, of this table', homed)
  .option('--config <name>', 'configuration of a data set of the Hub')
  .option('--split <name>', 'split of a BEIR folder, or of a data set of the Hub; default train')
  .option('--revision <name>', 'of a data set of the Hub')
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

const bench = program.command('bench').description('measure this machine')

bench
  .command('step')
  .description('time training steps, or encoding, on random tokens in lengths with a real spread')
  .argument('[shape]', 'of the encoder: nano, ettin-17m or modernbert-base', 'ettin-17m')
  .option(
    '--mode <name>',
    'kept: graphs are kept; recompute: every micro-batch is encoded twice; encode: documents only',
  )
  .option('--device <name>', 'where it runs', 'cpu')
  .option('--precision <name>', 'float32 or bfloat16; default bfloat16 on a GPU', choice(['float32', 'bfloat16']))
  .option('--batch <pairs>', 'of a step; default 64', whole)
  .option('--micro-batch-tokens <tokens>', 'of a training step encoded at a time; default 4096', whole)
  .option('--steps <n>', 'that are timed', whole, 5)
  .option('--warmup <n>', 'steps before them', whole, 2)
  .addOption(
    without(
      ['batch'],
      '--lengths <file>',
      'JSON with the lengths to use, as bench/peers/st6_step.py writes it; default: drawn',
    ).argParser(homed),
  )
  .option('--threads <n>', 'of the CPU; default all cores', whole)
  .addOption(
    new Option('--trace <file>', 'write when each op of one more step ran, for Perfetto; CPU only').argParser(homed),
  )
  .option('--json', 'print one JSON object')
  .action(async (shape, options) => (await import('./bench.js')).step(shape, options))

const measuring = ['device', 'dim', 'dtype', 'seconds', 'threads', 'compare', 'blockQueries']
const benchCommand = (name: string, description: string) =>
  bench
    .command(name)
    .description(description)
    .argument('[shapes...]', 'names of shapes (--list)')
    .addOption(without(measuring, '--list', 'print the shapes and stop'))
    .option('--device <name>', 'where it runs', 'cpu')
    .option('--dim <features>', 'length of a token vector', whole, 128)
    .option('--dtype <type>', 'of token vectors: float32, float16 or bfloat16', 'float32')
    .option('--seconds <s>', 'for each measurement', positive, 1)
    .option('--threads <n>', 'of the CPU; default all cores', whole)
    .addOption(
      without(['json'], '--compare <file>', 'an earlier report (--json) to print the speed-up over').argParser(homed),
    )
    .option('--json', 'print one JSON object')
benchCommand('maxsim', 'time MaxSim and its gradient on random vectors of named shapes').action(
  async (shapes, options) => (await import('./bench.js')).maxsim(shapes, options),
)
benchCommand('infonce', 'time the contrastive loss with its gradients, and what memory it takes')
  .option('--block-queries <n>', 'queries scored at a time', whole, 1024)
  .action(async (shapes, options) => (await import('./bench.js')).infonce(shapes, options))

program
  .command('doctor')
  .description('say what this machine has, and what is missing')
  .option('--json', 'print one JSON object')
  .action(async (options) => (await import('./doctor.js')).doctor(options))

bearClosedOutput()

try {
  await program.parseAsync()
} catch (error) {
  // Commander has written its own message; help and version are no failures.
  process.exitCode = error instanceof CommanderError ? (error.exitCode === 0 ? 0 : 2) : report(error)
}
