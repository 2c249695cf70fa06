/** A root that holds Node, the libraries it is linked to, npm and the tarballs: no shell, compiler, cmake, Python, checkout. */
import { copyFileSync, cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { type Finished, must, run, tail, writeConsumer } from './consumer.js'
import { type NodeMajor, nodeOf, tool } from './tools.js'

export interface Bare {
  /** The project, seen from outside. */
  app: string
  /** Runs Node in the project. */
  node: (args: string[]) => Finished
}

/** Why there cannot be such a root here; undefined where there can. */
export function noBareRoot(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root, for chroot'
  const done = run('unshare', ['--mount', '--net', 'true'], { cwd: '/' })
  return done.ok ? undefined : `unshare: ${done.said.trim()}`
}

/**
 * Makes the root in `root` and installs the tarballs there, without a network.
 */
export function bareRoot(root: string, major: NodeMajor, tarballs: string[]): Bare {
  const binary = nodeOf(major)
  const place = (from: string, to: string): void => {
    mkdirSync(path.dirname(path.join(root, to)), { recursive: true })
    copyFileSync(from, path.join(root, to))
  }
  place(binary, '/usr/bin/node')
  const libraries = must('ldd', [binary], { cwd: root }).matchAll(/(?:=> |^\s*)(\/\S+) \(0x/gm)
  for (const [, library] of libraries) place(library!, library!)
  cpSync(tool('npm'), path.join(root, 'usr/lib/node_modules/npm'), { recursive: true, dereference: true })
  for (const folder of ['tmp', 'root', 'proc', 'etc', 'dev']) mkdirSync(path.join(root, folder), { recursive: true })
  writeFileSync(path.join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/none\n')
  for (const [name, minor] of Object.entries({ null: '3', urandom: '9' }))
    if (!existsSync(path.join(root, 'dev', name)))
      must('mknod', ['-m', '666', path.join(root, 'dev', name), 'c', '1', minor], { cwd: root })
  const app = '/home/приложение one'
  writeConsumer(path.join(root, app))
  for (const tarball of tarballs) place(tarball, path.join(app, path.basename(tarball)))

  // No network, and a /proc of its own, as a container has it.
  const spaces = ['--mount', '--net', '--pid', '--fork', '--mount-proc=/proc']
  const env = { PATH: '/usr/bin', HOME: '/root', LANG: 'C.UTF-8' }
  const node = (args: string[]): Finished =>
    run('unshare', [...spaces, `--root=${root}`, `--wd=${app}`, '/usr/bin/node', ...args], { cwd: root, env })
  const names = tarballs.map((tarball) => `./${path.basename(tarball)}`)
  const installed = node(['/usr/lib/node_modules/npm/bin/npm-cli.js', 'install', '--offline', '--no-audit', ...names])
  if (!installed.ok) throw new Error(`npm install in a bare root: ${tail(installed.said)}`)
  return { app: path.join(root, app), node }
}
