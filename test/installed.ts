/** Copies of lateforge as an installation leaves them: compiled code, package.json and what lies in prebuilds/. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { addonFile } from '../lib/addon.js'
import { backendPath } from '../lib/backends.js'

export const platform = `${process.platform}-${process.arch}`

/** Where files of the build go, by their place in the package. */
export type Files = Record<string, string | Buffer>

/** An installation without prebuilds but those in `files` (text, or bytes); `root` is node_modules/lateforge. */
export function install(t: { teardown(fn: () => void): unknown }, files: Files = {}): string {
  const folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'lateforge-installed-')))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const root = path.join(folder, 'node_modules/lateforge')
  cpSync('build/js/lib', path.join(root, 'dist'), { recursive: true, filter: (file) => !file.endsWith('.map') })
  for (const name of ['node-gyp-build', 'commander'])
    cpSync(path.join('node_modules', name), path.join(folder, 'node_modules', name), {
      recursive: true,
      dereference: true,
    })
  copyFileSync('package.json', path.join(root, 'package.json'))
  write(root, files)
  return root
}

export function write(root: string, files: Files): void {
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(root, name)
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, content)
  }
}

/** The addon and libraries of this build, in the prebuilds of an installation. */
export function prebuild(root: string, ...libraries: string[]): void {
  const folder = path.join(root, 'prebuilds', platform)
  mkdirSync(folder, { recursive: true })
  copyFileSync(addonFile(), path.join(folder, 'lateforge.node'))
  for (const name of libraries) copyFileSync(backendPath(name), path.join(folder, `${name}.so`))
}

/** Runs Node in the folder of an installation, without what this process has of ranks and lateforge's variables. */
export function runNode(root: string, args: string[], env: NodeJS.ProcessEnv = {}): SpawnSyncReturns<string> {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(LATEFORGE|OMPI|PMIX?|SLURM)_/.test(name))
  return spawnSync(process.execPath, args, {
    cwd: path.dirname(path.dirname(root)),
    encoding: 'utf8',
    env: { ...Object.fromEntries(inherited), ...env },
  })
}

export interface Told {
  /** What the code returned; else what it threw. */
  result?: unknown
  name: string
  code: string
  message: string
  details: Record<string, unknown>
}

/** Runs the body of an async function within an installation, where `lib('native')` imports a module of lateforge. */
export function told(root: string, body: string, flags: string[] = [], env: NodeJS.ProcessEnv = {}): Told {
  const script = `const lib = (name) => import(${JSON.stringify(path.join(root, 'dist'))} + '/' + name + '.js')
const told = await (async () => { ${body} })().then(
  (result) => ({ result }),
  ({ name, code, message, details }) => ({ name, code, message, details }))
process.stdout.write(JSON.stringify(told))`
  const { stdout, stderr } = runNode(root, [...flags, '--input-type=module', '-e', script], env)
  if (!stdout.startsWith('{')) throw new Error(`${stdout}${stderr}`)
  return JSON.parse(stdout)
}
