/** lateforge under the flags of Node that its users have, and inside of bundles. */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { lateforge } from '../command.js'

t.setTimeout(300_000)

const lib = (path: string) => new URL(`../../lib/${path}.js`, import.meta.url).href

/** Tokenizes enough rows for worker threads to start, then computes. */
const program = `
import { prepareShards } from '${lib('data/shards')}'
import { memorySource } from '${lib('data/sources')}'
import { Featurizer } from '${lib('text/featurizer')}'
import { defaultRecipe } from '${lib('text/recipe')}'
import { Tokenizer } from '${lib('text/tokenizer/tokenizer')}'
const tokenizer = Tokenizer.fromVocabulary(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a', 'b'])
tokenizer.addTokens(['[Q] ', '[D] '])
const rows = Array.from({ length: 2400 }, () => ({ query: 'a b', documents: ['b a'] }))
try {
  const options = { cacheDir: process.argv[2], workers: 1 }
  const set = await prepareShards([memorySource('s', rows)], new Featurizer(tokenizer, defaultRecipe()), options)
  console.log('rows ' + set.sources[0].rows)
  set.close()
} catch (error) {
  console.log(error.name + ' ' + error.code + ' ' + error.message)
}`

t.test('flags of Node reach the worker threads without harm, or are named', async (t) => {
  const dir = t.testdir({ 'program.mjs': program, 'hook.mjs': 'globalThis.hooked = true' })
  const hook = pathToFileURL(join(dir, 'hook.mjs')).href
  const permission = process.allowedNodeEnvironmentFlags.has('--permission')
    ? '--permission'
    : '--experimental-permission'
  const files = ['--allow-fs-read=*', '--allow-fs-write=*']
  const works = /^rows 2400$/m
  const cases: [string[], RegExp, NodeJS.ProcessEnv?][] = [
    [['--frozen-intrinsics'], works],
    [['--disable-proto=delete', '--import', hook], works],
    [['--disallow-code-generation-from-strings', '--conditions=development'], works],
    [['--max-old-space-size=200', '--stack-size=1500', '--expose-gc'], works],
    [[], works, { NODE_OPTIONS: `--import=${hook} --enable-source-maps --throw-deprecation` }],
    [['--no-addons'], /^NativeError ERR_NATIVE Node was told to load no native addons.*--no-addons/m],
    [[permission, ...files], /^UnsupportedError ERR_UNSUPPORTED a worker thread.*--allow-worker.*workers: 0/m],
    [[permission, ...files, '--allow-worker'], /^NativeError ERR_NATIVE .*--allow-addons/m],
  ]
  for (const [i, [flags, expected, env]] of cases.entries()) {
    const { stdout, stderr } = spawnSync(
      process.execPath,
      [...flags, join(dir, 'program.mjs'), join(dir, `cache-${i}`)],
      { encoding: 'utf8', env: { ...process.env, ...env } },
    )
    t.match(stdout, expected, `${flags.join(' ')} ${JSON.stringify(env ?? {})} ${stderr.slice(-300)}`)
  }
})

t.test('a copy of lateforge inside of a bundle says where the fault is', async (t) => {
  // As a bundler leaves it: the code in the folder of another package, which has none of its dependencies.
  const dir = mkdtempSync(join(tmpdir(), 'lateforge-bundle-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  writeFileSync(join(dir, 'package.json'), '{ "name": "somebody", "type": "module" }')
  for (const file of ['packages', 'errors', 'environment', 'addon', 'native']) {
    mkdirSync(join(dir, 'out'), { recursive: true })
    cpSync(new URL(lib(file)), join(dir, 'out', `${file}.js`))
  }
  writeFileSync(
    join(dir, 'program.js'),
    `import { loadPackage } from './out/packages.js'
    import { native } from './out/native.js'
    for (const call of [() => loadPackage('@nobody/tokenizers'), native])
      try { call() } catch (error) { console.log(error.code + ' ' + error.message) }`,
  )
  const { stdout } = spawnSync(process.execPath, [join(dir, 'program.js')], { encoding: 'utf8' })
  const lines = stdout.trim().split('\n')
  t.equal(lines.length, 2)
  for (const line of lines) t.match(line, /^ERR_NATIVE .*--external:lateforge/)
})

t.test('flags of lateforge that would do nothing beside others are refused', async (t) => {
  for (const args of [
    ['train', 'x.yaml', '--print-config', '--quiet'],
    ['train', 'x.yaml', '--print-config', '--resume'],
    ['bench', 'maxsim', '--list', '--dim', '64'],
    ['bench', 'infonce', '--json', '--compare', 'x.json'],
    ['bench', 'step', '--lengths', 'x.json', '--batch', '8'],
  ]) {
    const { status, stderr } = lateforge(args)
    t.equal(status, 2, args.join(' '))
    t.match(stderr, /ERR_USAGE .*cannot be used with/)
  }
})
