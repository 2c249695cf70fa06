/** The package managers: each installs the tarball into an empty project and runs Node there. */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { type Finished, must, run, writeConsumer } from './consumer.js'
import { environmentOf, type NodeMajor, nodeOf, tool, versionOf } from './tools.js'

interface Manager {
  /** As a column is called. */
  title(): string
  /** Settings of the project, written before. */
  files?: Record<string, string>
  install: (tarball: string) => string[]
  /** Runs Node; by default the plain one. */
  node?: (args: string[]) => string[]
}

const berry = (...args: string[]): string[] => [tool('@yarnpkg/cli-dist/bin/yarn.js'), ...args]
const berrySettings = (linker: string): Record<string, string> => ({
  '.yarnrc.yml': `nodeLinker: ${linker}\nenableTelemetry: false\nenableImmutableInstalls: false\n`,
  'yarn.lock': '',
})

export const managers: Record<string, Manager> = {
  npm: {
    title: () => `npm ${versionOf('npm')}`,
    install: (tarball) => [tool('npm/bin/npm-cli.js'), 'install', '--no-audit', '--no-fund', `./${tarball}`],
  },
  pnpm: {
    title: () => `pnpm ${versionOf('pnpm')}`,
    install: (tarball) => [tool('pnpm/bin/pnpm.mjs'), 'add', `./${tarball}`],
  },
  'yarn-classic': {
    title: () => `yarn ${versionOf('yarn')}`,
    install: (tarball) => [tool('yarn/bin/yarn.js'), 'add', '--no-progress', `file:./${tarball}`],
  },
  'yarn-modules': {
    title: () => `yarn ${versionOf('@yarnpkg/cli-dist')}, node_modules`,
    files: berrySettings('node-modules'),
    install: (tarball) => berry('add', `lateforge@file:./${tarball}`),
  },
  'yarn-pnp': {
    title: () => `yarn ${versionOf('@yarnpkg/cli-dist')}, PnP`,
    files: berrySettings('pnp'),
    install: (tarball) => berry('add', `lateforge@file:./${tarball}`),
    node: (args) => berry('node', ...args),
  },
}

/** A project in `folder` with the tarball installed; what runs Node in it. */
export function project(name: string, major: NodeMajor, tarball: string, folder: string): (args: string[]) => Finished {
  const manager = managers[name]!
  writeConsumer(folder)
  for (const [file, text] of Object.entries(manager.files ?? {})) writeFileSync(path.join(folder, file), text)
  const copy = path.basename(tarball)
  copyFileSync(tarball, path.join(folder, copy))
  const registry = must('npm', ['config', 'get', 'registry'], { cwd: folder }).trim()
  const env = environmentOf(major, { YARN_NPM_REGISTRY_SERVER: registry, YARN_ENABLE_GLOBAL_CACHE: 'false' })
  const node = nodeOf(major)
  must(node, manager.install(copy), { cwd: folder, env })
  const through = manager.node ?? ((args: string[]) => args)
  return (args) => run(node, through(args), { cwd: folder, env })
}

/** A name with spaces and letters beyond ASCII: a path that breaks what puts paths into command lines or URLs. */
export function folderFor(scratch: string, ...names: string[]): string {
  const folder = path.join(scratch, 'пример ünï 森', ...names)
  mkdirSync(folder, { recursive: true })
  return folder
}
