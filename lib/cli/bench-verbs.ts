import { type Command, Option } from 'commander'
import { homed } from '../environment.js'
import { choice, positive, whole, without } from './arguments.js'

/** Adds what measures to the program. */
export function registerBench(program: Command): void {
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
}
