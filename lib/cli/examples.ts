/** An example of every verb, and help by the names of verbs. */
import type { Command } from 'commander'
import { ArgumentError, didYouMean } from '../errors.js'

/** By the names of the verb; what comes behind them. */
const examples: Readonly<Record<string, string>> = {
  train: 'zero.yaml seed=7 phases.0.batch=64',
  init: 'colbert-zero zero.yaml',
  check: 'zero.yaml --steps 5 --test beir/scifact',
  resume: 'runs/zero',
  eval: 'runs/zero/model nanobeir --metrics ndcg@10,recall@100',
  search: 'runs/zero/model books.jsonl "what is late interaction" --top-k 5',
  encode: 'runs/zero/model books.jsonl encoded/ --keep-texts',
  explain:
    'runs/zero/model --query "what is late interaction" --document "ColBERT keeps a vector per token" --html why.html',
  report: 'runs/one runs/two --out report.html',
  ui: 'runs/one',
  'inspect model': 'lightonai/ColBERT-Zero',
  'inspect data': 'pairs/*.jsonl.gz --model runs/zero/model',
  'inspect run': 'runs/zero --json',
  'inspect index': 'books/',
  'index create': 'books/ runs/zero/model --type int8',
  'index add': 'books/ books.jsonl --existing skip',
  'index search': 'books/ "what is late interaction" --top-k 5',
  'index delete': 'books/ b17 b18',
  'index compact': 'books/',
  'index check': 'books/ --queries 500 --target 0.99',
  'index info': 'books/ --verify',
  'export onnx': 'runs/zero/model out/onnx',
  'export vespa-app': 'runs/zero/model out/app --cells bits',
  serve: 'runs/zero/model --index books/ --port 8080',
  mine: 'pairs.jsonl --by runs/zero/model --out mined.jsonl.gz --negatives 7 --drop-above 0.95',
  push: 'runs/zero/model org/name --private',
  'bench step': 'ettin-17m --batch 64',
  'bench maxsim': 'rerank-1k --seconds 2',
  'bench infonce': '--list',
  doctor: '--json',
  completion: 'bash >> ~/.bash_completion',
  help: 'index add',
}

/** The verbs that do something, with the names that they are called by. */
export function* verbsOf(
  command: Command,
  names: readonly string[] = [],
): Generator<{ names: string[]; verb: Command }> {
  for (const verb of command.commands) {
    const own = [...names, verb.name()]
    if (verb.commands.length > 0) yield* verbsOf(verb, own)
    else yield { names: own, verb }
  }
}

/** Puts its example behind the help of every verb. */
export function withExamples(program: Command): void {
  for (const { names, verb } of verbsOf(program)) {
    const [first, last] = [names[0], names.at(-1)]
    const isTarget = first === 'export' && examples[names.join(' ')] === undefined
    const example = isTarget ? `books/ ${last}/ --name books` : examples[names.join(' ')]
    verb.addHelpText('after', `\nExample: lateforge ${names.join(' ')} ${example}`)
  }
}

/** The help of a verb, or of the program. @throws ArgumentError ERR_ARGUMENT for a verb that there is not */
export function helpOf(program: Command, names: readonly string[]): string {
  let command = program
  for (const name of names) {
    const found = command.commands.find((verb) => verb.name() === name)
    if (!found)
      throw new ArgumentError(
        'ERR_ARGUMENT',
        `there is no verb "${names.join(' ')}"; ${didYouMean(
          name,
          command.commands.map((verb) => verb.name()),
        )}`,
        { name },
      )
    command = found
  }
  let text = ''
  command.configureOutput({ writeOut: (part) => (text += part) })
  command.outputHelp()
  return text
}
