/** What holds for every verb: help with an example, results as JSON on standard output and all else on standard error, completion. */
import { spawn, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { verbsOf } from '../../lib/cli/examples.js'
import { program } from '../../lib/cli/program.js'
import { ended, lateforge, main, read } from '../command.js'
import { reportedRun } from '../report/run.js'
import { folder } from '../train/tiny.js'

t.setTimeout(600_000) // a process for each verb

const verbs = [...verbsOf(program)]
const nameOf = (names: readonly string[]): string => names.join(' ')

/** Words of a line as a shell has them, without what it redirects. */
const wordsOf = (line: string): string[] =>
  [...line.replace(/ >.*/, '').matchAll(/"([^"]*)"|\S+/g)].map(([word, quoted]) => quoted ?? word)

t.test('help of every verb says what it does, with an example that it takes', async (t) => {
  t.ok(verbs.length > 30)
  for (const { names, verb } of verbs) {
    const name = nameOf(names)
    t.ok(verb.description().length > 10, name)
    const { status, stdout, stderr } = lateforge(['help', ...names])
    t.match({ status, stderr }, { status: 0, stderr: '' }, name)
    t.match(stdout, `Usage: lateforge ${name} `, name)
    const [, example] = /\nExample: lateforge (.+)\n$/.exec(stdout) ?? []
    t.ok(example?.startsWith(`${name} `), name)
    const given = wordsOf(example!.slice(name.length + 1))
    const { operands, unknown } = verb.parseOptions(given)
    t.same(unknown, [], `${name}: options that it has`)
    const least = verb.registeredArguments.filter(({ required }) => required).length
    const most = verb.registeredArguments.some(({ variadic }) => variadic) ? 99 : verb.registeredArguments.length
    t.ok(operands.length >= least && operands.length <= most, `${name}: as many arguments as it takes`)
  }
  t.match(lateforge(['help', 'index', 'ad']), {
    status: 2,
    stdout: '',
    stderr: /no verb "index ad"; did you mean "add"/,
  })
  t.match(lateforge(['help']), { status: 0, stdout: /^Usage: lateforge \[options\] \[command\]/ })
})

/** What each verb is called with; null for those that have no result but what they show. */
const calls: Record<string, string | null> = {
  ...{ completion: null, help: null },
  init: '',
  check: 'run.yaml',
  train: 'run.yaml',
  resume: 'own',
  eval: 'model beir --split dev',
  search: 'model docs.jsonl w1',
  encode: 'model docs.jsonl encoded',
  explain: 'model --query w1 --document w2',
  report: 'run --out report.html --queries 0',
  ui: 'run --queries 0',
  'inspect model': 'model',
  'inspect data': 'pairs.jsonl',
  'inspect run': 'run',
  'index create': 'books model',
  'index add': 'books docs.jsonl',
  'inspect index': 'books',
  'index search': 'books w1',
  'index delete': 'books d1',
  'index compact': 'books',
  'index check': 'books --queries 2',
  'index info': 'books --verify',
  'export onnx': 'model onnx --type float32',
  'export vespa-app': 'model app',
  'export qdrant': 'books qdrant',
  'export vespa': 'books vespa',
  'export weaviate': 'books weaviate',
  'export milvus': 'books milvus',
  'export next-plaid': 'books next-plaid',
  'export lancedb': 'books lancedb',
  mine: 'pairs.jsonl --by bm25 --out mined.jsonl',
  push: 'model org/name --dry-run',
  serve: 'model --port 0',
  'bench step': 'nano --batch 2 --steps 1 --warmup 1',
  'bench maxsim': 'tiny --seconds 0.01',
  'bench infonce': 'loss-tiny --seconds 0.01',
  doctor: '',
}

t.test('--json: the result on standard output and nothing else, no colours where nobody sees them', async (t) => {
  const dir = folder(t)
  await reportedRun(dir, 'run')
  const documents = Array.from({ length: 6 }, (_, i) => ({ _id: `d${i}`, text: `w${i} w${i + 1}` }))
  writeFileSync(path.join(dir, 'docs.jsonl'), documents.map((each) => `${JSON.stringify(each)}\n`).join(''))
  const phase = '{ name: a, loss: contrastive, data: pairs.jsonl, batch: 8, steps: 2, learningRate: 1e-3 }'
  writeFileSync(path.join(dir, 'run.yaml'), `model: model\nout: own\nphases: [${phase}]\n`)
  const named = verbs.map(({ names }) => nameOf(names))
  t.same(Object.keys(calls).sort(), [...named].sort(), 'every verb has a call')
  for (const [name, given] of Object.entries(calls)) {
    const has = verbs[named.indexOf(name)]!.verb.options.some(({ long }) => long === '--json')
    t.equal(has, given !== null, `${name}: ${given === null ? 'no result' : '--json'}`)
    if (given === null) continue
    const env: NodeJS.ProcessEnv = { ...process.env, LATEFORGE_CACHE: path.join(dir, 'cache') }
    delete env.NO_COLOR
    delete env.FORCE_COLOR
    const child = spawn(process.execPath, [main, ...name.split(' '), ...given.split(' ').filter(Boolean), '--json'], {
      ...{ cwd: dir, env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const said = read(child)
    const serves = name === 'serve' || name === 'ui'
    if (serves) child.stdout.once('data', () => child.kill('SIGTERM'))
    t.equal(await ended(child), 0, `${name}: ${said.err}`)
    const results = said.out.trimEnd().split('\n')
    for (const line of results) t.ok(JSON.parse(line), `${name}: ${line.slice(0, 60)}`)
    t.ok(results.length === 1 || name === 'train' || name === 'resume', `${name}: one object`)
    t.notMatch(said.out + said.err, '\u001b', name)
    t.notMatch(said.err, /^[{[]/m, `${name}: no result on standard error`)
  }
})

const hasScript = spawnSync('script', ['--version']).status === 0

t.test('on a terminal: colours, unless NO_COLOR is set', { skip: !hasScript && 'no script(1)' }, async (t) => {
  const dir = folder(t)
  await reportedRun(dir, 'run')
  const command = `${process.execPath} ${main} inspect run run`
  const onTerminal = (extra: NodeJS.ProcessEnv): string => {
    const env: NodeJS.ProcessEnv = { ...process.env, TERM: 'xterm', ...extra }
    for (const name of ['CI', 'FORCE_COLOR', ...(extra.NO_COLOR ? [] : ['NO_COLOR'])]) delete env[name]
    return spawnSync('script', ['-qec', command, '/dev/null'], { cwd: dir, env, encoding: 'utf8' }).stdout
  }
  t.match(onTerminal({}), '\u001b[2mgiven\u001b')
  const plain = onTerminal({ NO_COLOR: '1' })
  t.match(plain, 'settings that are no defaults')
  t.notMatch(plain, '\u001b[')
})

/** How each shell is asked what it completes behind words, the last of which is begun; files are its own. */
const shells = {
  bash: {
    arguments: ['--norc', '-c'],
    asking: `function=$(complete -p lateforge | sed 's/.*-F \\([^ ]*\\).*/\\1/')
try() { COMP_WORDS=(lateforge "$@"); COMP_CWORD=$#; COMPREPLY=(); $function; echo "\${COMPREPLY[*]}"; }`,
  },
  // Its completion runs in its line editor only, so what it calls there stands here.
  zsh: {
    arguments: ['-f', '-c'],
    asking: `compadd() { shift; local word found=(); for word in $@; do [[ $word == $words[CURRENT]* ]] && found+=$word; done; print -rn -- $found; (( $#found )) }
_files() {}
try() { words=(lateforge "$@"); CURRENT=$#words; _lateforge; print }`,
  },
  fish: {
    arguments: ['--no-config', '-c'],
    asking: `function try; echo (complete -C "lateforge $argv" | cut -f1); end`,
  },
}

/** What a shell completes, of each list of words. */
function completed(shell: keyof typeof shells, script: string, lines: readonly (readonly string[])[]): string[][] {
  const { arguments: options, asking } = shells[shell]
  const before = shell === 'zsh' ? 'compdef() {}' : ''
  const program = `${before}
source ${script}
${asking}
${lines.map((words) => `try ${words.map((word) => `'${word}'`).join(' ')}`).join('\n')}`
  const { stdout, stderr } = spawnSync(shell, [...options, program], { encoding: 'utf8', cwd: path.dirname(script) })
  t.equal(stderr, '')
  return stdout
    .split('\n')
    .slice(0, -1)
    .map((line) => line.split(' ').filter(Boolean))
}

for (const shell of Object.keys(shells) as (keyof typeof shells)[])
  t.test(
    `completion in ${shell}`,
    { skip: spawnSync(shell, ['--version']).status !== 0 && `no ${shell}` },
    async (t) => {
      const script = path.join(folder(t), 'completion')
      const { status, stdout: completion } = lateforge(['completion', shell])
      t.equal(status, 0)
      writeFileSync(script, completion)
      const cases: [words: string[], found: string[]][] = [
        [['ind'], ['index']],
        [['index', 'cr'], ['create']],
        [['index', 'create', '--ty'], ['--type']],
        [
          ['index', 'create', 'books', '--type', ''],
          ['int8', 'float16', 'float32', 'residual4', 'residual2'],
        ],
        [['eval', '--precision', 'bf'], ['bfloat16']],
        [['init', 'colbert-zero-'], ['colbert-zero-no-prompts']],
        [['mine', 'pairs.jsonl', '--by', ''], []], // a file, which bash completes by itself
        [['train', 'zero.y'], []],
        [['report', ''], []], // files here too: options where a word begins like one
      ]
      t.same(
        completed(
          shell,
          script,
          cases.map(([words]) => words),
        ).map((found) => found.filter((word) => word !== 'completion').sort()),
        cases.map(([, found]) => [...found].sort()),
      )
      const [all] = completed(shell, script, [['']])
      for (const verb of program.commands) t.ok(all!.includes(verb.name()), verb.name())
      const options = verbs.flatMap(({ names, verb }) => verb.options.map(({ long }) => [...names, long!]))
      for (const [i, found] of completed(shell, script, options).entries())
        t.ok(found.includes(options[i]!.at(-1)!), options[i]!.join(' '))
    },
  )

t.test('completion of shells that are not here', async (t) => {
  for (const shell of Object.keys(shells)) {
    const { stdout } = lateforge(['completion', shell])
    for (const { names, verb } of verbs)
      for (const word of [names.at(-1)!, ...verb.options.map(({ long }) => long!.slice(2))])
        if (!stdout.includes(word)) t.fail(`${shell}: ${nameOf(names)} ${word}`)
  }
  t.match(lateforge(['completion', 'tcsh']), { status: 2, stderr: /bash or zsh or fish/ })
})
