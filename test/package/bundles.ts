/** Bundlers: each builds an app with one documented line, and without it, and what it built is run. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { packageRoot } from '../../lib/packages.js'
import { differences, must, run, sources, tail, type Values } from './consumer.js'
import { environmentOf, type NodeMajor, nextPackages, nodeOf, nodes, tool, versionOf } from './tools.js'

/** What is wrong with a bundle under each Node: nothing where the list is empty. */
export type ByNode = Record<NodeMajor, string[]>

interface Bundler {
  title(): string
  /** What keeps lateforge outside: the lines of docs/install.md, for which `documented` looks there. */
  lines: string[]
  /** Bundles, with those lines or without any, in a project that has the package; returns faults under each Node. */
  build(project: string, lines: string[], check: Check): Promise<ByNode>
}

/** What is wrong with what a bundle said. */
type Check = (stdout: string) => string[]

/** Bundles are built once and run under each Node. */
const builtWith: NodeMajor = '22'

function runsBundle(project: string, file: string, check: Check): ByNode {
  return eachNode((major) => {
    const done = run(nodeOf(major), [file, `model of ${file} ${major}`], { cwd: project, env: environmentOf(major) })
    return check(done.ok ? done.stdout : done.said)
  })
}

function eachNode(faults: (major: NodeMajor) => string[]): ByNode {
  return Object.fromEntries(nodes.map((major) => [major, faults(major)])) as ByNode
}

/** Runs `work` while the packages of the project are away, as on a machine to which only the bundle was copied. */
function withoutPackages<T>(project: string, work: () => T): T {
  const [there, away] = ['node_modules', 'away'].map((name) => path.join(project, name)) as [string, string]
  renameSync(there, away)
  try {
    return work()
  } finally {
    renameSync(away, there)
  }
}

const webpackLine = "externals: /^lateforge/, externalsType: 'node-commonjs'"
const nextLine = "serverExternalPackages: ['lateforge']"
const nextFiles =
  "outputFileTracingIncludes: { '/*': ['node_modules/{lateforge,node-gyp-build,sift,@huggingface/tokenizers}/**'] }"

export const bundlers: Record<string, Bundler> = {
  esbuild: {
    title: () => `esbuild ${versionOf('esbuild')}`,
    lines: ['--external:lateforge'],
    async build(project, lines, check) {
      const formats = ['esm', 'cjs'].map((format): ByNode => {
        const file = `esbuild.${lines.length}.${format === 'esm' ? 'mjs' : 'cjs'}`
        const entry = format === 'esm' ? 'esm.mjs' : 'require.cjs'
        const options = ['--bundle', '--platform=node', `--format=${format}`, `--outfile=${file}`, '--log-level=error']
        const command = [tool('esbuild/bin/esbuild'), entry, ...options, ...lines]
        must(nodeOf(builtWith), command, { cwd: project, env: environmentOf(builtWith) })
        const runs = (): ByNode => runsBundle(project, file, check)
        return lines.length > 0 ? runs() : withoutPackages(project, runs)
      })
      return eachNode((major) => formats.flatMap((byNode) => byNode[major]))
    },
  },
  webpack: {
    title: () => `webpack ${versionOf('webpack')}`,
    lines: [webpackLine],
    async build(project, lines, check) {
      const file = `webpack.${lines.length}.cjs`
      writeFileSync(
        path.join(project, 'build.cjs'),
        `require(${JSON.stringify(tool('webpack'))})({
  mode: 'production', target: 'node', context: __dirname, entry: './esm.mjs',
  output: { path: __dirname, filename: '${file}' },
  ${lines.join(', ')}
}, (error, stats) => {
  if (!error && !stats.hasErrors()) return
  console.error(error ?? stats.toString('errors-only'))
  process.exitCode = 1
})
`,
      )
      must(nodeOf(builtWith), ['build.cjs'], { cwd: project, env: environmentOf(builtWith) })
      const runs = (): ByNode => runsBundle(project, file, check)
      return lines.length > 0 ? runs() : withoutPackages(project, runs)
    },
  },
  next: {
    title: () => `Next ${nextPackages.next}`,
    lines: [nextLine],
    build: (project, lines, check) => buildNext(project, lines, false, check),
  },
  'next-standalone': {
    title: () => `Next ${nextPackages.next}, standalone`,
    lines: [nextLine, nextFiles],
    build: (project, lines, check) => buildNext(project, lines, true, check),
  },
}

/** A route handler, built by `next build`, served by `next start`, or by its own server from a folder that was copied. */
async function buildNext(project: string, lines: string[], standalone: boolean, check: Check): Promise<ByNode> {
  const env = { ...environmentOf(builtWith), NEXT_TELEMETRY_DISABLED: '1' }
  const options = { cwd: project, env }
  const packages = Object.entries(nextPackages).map(([name, version]) => `${name}@${version}`)
  const npm = [tool('npm/bin/npm-cli.js'), 'install', '--no-audit', '--no-fund', '--prefer-offline', ...packages]
  must(nodeOf(builtWith), npm, options)
  mkdirSync(path.join(project, 'app/api/rank'), { recursive: true })
  cpSync(path.join(sources, 'route.js'), path.join(project, 'app/api/rank/route.js'))
  const settings = [...(standalone ? ["output: 'standalone'"] : []), ...lines]
  writeFileSync(path.join(project, 'next.config.mjs'), `export default { ${settings.join(', ')} }\n`)
  const next = path.join(project, 'node_modules/next/dist/bin/next')
  rmSync(path.join(project, '.next'), { recursive: true, force: true })
  must(nodeOf(builtWith), [next, 'build'], options)

  const faults: Partial<ByNode> = {}
  for (const major of nodes) {
    const port = await freePort()
    const env = { ...environmentOf(major), NEXT_TELEMETRY_DISABLED: '1', PORT: String(port), HOSTNAME: '127.0.0.1' }
    const folder = standalone ? path.join(project, '..', `standalone ${major}`) : project
    if (standalone) {
      rmSync(folder, { recursive: true, force: true })
      cpSync(path.join(project, '.next/standalone'), folder, { recursive: true })
    }
    const args = standalone ? ['server.js'] : [next, 'start']
    faults[major] = await served(spawn(nodeOf(major), args, { cwd: folder, env }), port, check)
  }
  return faults as ByNode
}

/** Asks a server that is starting, then ends it. */
async function served(server: ChildProcess, port: number, check: Check): Promise<string[]> {
  let said = ''
  server.stdout!.on('data', (data) => (said += data))
  server.stderr!.on('data', (data) => (said += data))
  const ended = once(server, 'exit')
  try {
    for (const started = Date.now(); ; await new Promise((resolve) => setTimeout(resolve, 250))) {
      if (server.exitCode !== null) return [`the server ended: ${tail(said)}`]
      const answer = await fetch(
        `http://127.0.0.1:${port}/api/rank?folder=${encodeURIComponent('model of Next')}`,
      ).catch(() => null)
      if (answer) return check(await answer.text())
      if (Date.now() - started > 60_000) return [`the server did not answer in a minute: ${tail(said)}`]
    }
  } finally {
    server.kill()
    await ended
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

/** The bundle computes what the checkout does. */
export function computes(expected: Values): Check {
  return (stdout) => {
    const answer = /^\{"order".*\}$/m.exec(stdout)?.[0]
    return answer ? differences(JSON.parse(answer), expected) : [tail(stdout)]
  }
}

/** The bundle fails, and says which line is missing. */
export const saysWhatToDo: Check = (stdout) =>
  /ERR_NATIVE/.test(stdout) && /must stay outside \(esbuild: --external:lateforge; webpack: .*; Next: /.test(stdout)
    ? []
    : [tail(stdout)]

/** Lines that docs/install.md lacks. */
export function documented(lines: string[]): string[] {
  const document = readFileSync(path.join(packageRoot(), 'docs/install.md'), 'utf8')
  return lines.filter((line) => !document.includes(`\`${line}\``)).map((line) => `docs/install.md lacks ${line}`)
}
