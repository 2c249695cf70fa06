import type { Command } from 'commander'
import { homed } from '../environment.js'
import { allHomed, fromZero, ofModel, readingData, whole } from './arguments.js'

const verbs = async () => import('./inspect.js')

/** Adds what looks at things to the program. */
export function registerInspect(program: Command): void {
  const inspect = program.command('inspect').description('say what a model, data, a run or an index is, on one screen')
  ofModel(inspect.command('model'))
    .description(
      'layout, architecture, parameters, recipe, and what each field of its files is used for; loads no weights',
    )
    .option('--json', 'print one JSON object')
    .action(async (model, options) => (await verbs()).model(model, options))
  readingData(inspect.command('data'))
    .description('rows and columns of training data, or of BEIR collections, lengths, and some texts')
    .argument('<data...>', 'files, folders, patterns, hf://datasets/…; or BEIR folders, or BEIR by name', allHomed)
    .option('--model <model>', 'whose tokens lengths are counted in; default: characters', homed)
    .option('--rows <n>', 'whose lengths are taken', whole, 1000)
    .option('--examples <n>', 'rows that are shown', fromZero, 2)
    .option('--json', 'print one JSON object')
    .action(async (data, options) => (await verbs()).data(data, options))
  inspect
    .command('run')
    .description('how far a run is, what it scored, its settings and their origin, and what of it is on disk')
    .argument('<run>', 'folder of the run', homed)
    .option('--json', 'print one JSON object')
    .action(async (run, options) => (await verbs()).run(run, options))
  inspect
    .command('index')
    .description('documents, tokens, bytes and recipe of an index, or of what encode wrote')
    .argument('<index>', 'its folder', homed)
    .option('--json', 'print one JSON object')
    .action(async (index, options) => (await verbs()).index(index, options))
}
