/**
 * npm run matrix -- TARBALL [--only NAME,…]: installs the tarball by every package manager under every Node, in a bare
 * root, in bundles and on other platforms as far as they run here, and writes the table of docs/install.md. `--only` runs
 * some columns (npm, pnpm, yarn-classic, yarn-modules, yarn-pnp, bare, esbuild, webpack, next, next-standalone, platforms,
 * facts) and writes nothing. Needs the network for the tools and packages.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { platformName } from '../../lib/addon.js'
import { bareRoot, noBareRoot } from './bare.js'
import { bundlers, computes, documented, saysWhatToDo } from './bundles.js'
import { checkoutValues, embeds, type Finished, run, type Values } from './consumer.js'
import { checkers, contents, type Fact, importTime, packageVersionIn, types, writeTable } from './facts.js'
import { folderFor, managers, project } from './managers.js'
import { entriesOf, packDependencies, prebuildsOf } from './tarball.js'
import { type NodeMajor, nodes, prepareTools, tool, versionOf } from './tools.js'

const { values, positionals } = parseArgs({ options: { only: { type: 'string' } }, allowPositionals: true })
const only = values.only?.split(',')
const wanted = (name: string): boolean => !only || only.includes(name)
if (positionals.length !== 1) throw new Error('usage: npm run matrix -- TARBALL [--only NAME,…]')
const tarball = path.resolve(positionals[0]!)

const failures: string[] = []
/** Table cells by column, then row. Only what has run is in it. */
const cells: Record<string, Record<string, string>> = {}

function settle(row: string, column: string, faults: string[], cell = 'run'): void {
  ;(cells[column] ??= {})[row] = faults.length === 0 ? cell : 'no'
  console.log(`${faults.length === 0 ? 'ok  ' : 'FAIL'} ${row}, ${column}`)
  for (const fault of faults) {
    failures.push(`${row}, ${column}: ${fault}`)
    console.log(fault.replace(/^/gm, '       '))
  }
}

const rowOf = (major: NodeMajor): string => `linux-x64, Node ${versionOf(`node${major}`)}`

function faultsIn(work: () => string[]): string[] {
  try {
    return work()
  } catch (error) {
    return [(error as Error).message]
  }
}

function byManagers(scratch: string, expected: Values): void {
  for (const [name, { title }] of Object.entries(managers).filter(([name]) => wanted(name)))
    for (const major of nodes) {
      const folder = folderFor(scratch, `${name} ${major}`)
      settle(
        rowOf(major),
        title(),
        faultsIn(() => embeds(folder, project(name, major, tarball, folder), expected)),
      )
    }
}

function inBareRoots(scratch: string, expected: Values): void {
  const reason = noBareRoot()
  const tarballs = [tarball, ...packDependencies(scratch)]
  for (const major of nodes)
    settle(
      rowOf(major),
      'npm, bare root',
      faultsIn(() => {
        if (reason) return [reason]
        const { app, node } = bareRoot(path.join(scratch, `bare ${major}`), major, tarballs)
        const doctor = node(['node_modules/.bin/lateforge', 'doctor'])
        return [...embeds(app, node, expected), ...(doctor.ok ? [] : [`doctor: ${doctor.said}`])]
      }),
    )
}

async function bundled(scratch: string, expected: Values): Promise<void> {
  for (const [name, bundler] of Object.entries(bundlers).filter(([name]) => wanted(name))) {
    const folder = folderFor(scratch, `${name} bundle`)
    project('npm', '22', tarball, folder)
    for (const [lines, column, check, cell] of [
      [bundler.lines, bundler.title(), computes(expected), 'run'],
      [[], `${bundler.title()} without the line`, saysWhatToDo, 'says what to do'],
    ] as const) {
      const failed = (error: Error): Record<string, string[]> =>
        Object.fromEntries(nodes.map((major) => [major, [error.message]]))
      const faults = await bundler.build(folder, [...lines], check).catch(failed)
      for (const major of nodes) settle(rowOf(major), column, [...documented([...lines]), ...faults[major]!], cell)
    }
  }
}

/** Node of another architecture, run by qemu-user: what Debian's cross compiler brings are its libraries. */
const emulated: Record<string, { emulator: string[]; node: string }> = {
  'linux-arm64': { emulator: ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu'], node: 'node22-arm64' },
}

function platforms(scratch: string, expected: Values): void {
  const built = prebuildsOf(entriesOf(tarball))
  for (const platform of ['linux-arm64', 'darwin-arm64', 'win32-x64']) {
    const row = (node: string): string => `${platform}${node}`
    const { emulator, node } = emulated[platform] ?? {}
    const column = managers.npm!.title()
    if (!built.includes(platform)) settle(row(''), column, [], 'no: build from source')
    else if (!emulator || !node || !run('which', [emulator[0]!], { cwd: '/' }).ok)
      settle(row(''), column, [], 'built, not run')
    else {
      const folder = folderFor(scratch, platform)
      const faults = faultsIn(() => {
        project('npm', '22', tarball, folder)
        const slow = (args: string[]): Finished =>
          run(emulator[0]!, [...emulator.slice(1), tool(node, 'bin/node'), ...args], { cwd: folder, timeout: 600_000 })
        return embeds(folder, slow, expected)
      })
      settle(row(`, Node ${versionOf(node)}`), column, faults, 'run (by qemu-user)')
    }
  }
}

function facts(scratch: string): Fact[] {
  const folder = folderFor(scratch, 'facts')
  project('npm', '22', tarball, folder)
  const found = [contents(tarball), types(folder), checkers(tarball, scratch), importTime(folder, '22')]
  for (const { name, found: text, faults } of found) {
    console.log(`${faults.length === 0 ? 'ok  ' : 'FAIL'} ${name}: ${text}`)
    for (const fault of faults) console.log(fault.replace(/^/gm, '       '))
    failures.push(...faults.map((fault) => `${name}: ${fault}`))
  }
  return found
}

/** Rows are platforms with their Node, columns package managers and bundlers; empty is what nobody has tried. */
function table(found: Fact[]): string {
  const columns = Object.keys(cells)
  const rows = [...new Set(columns.flatMap((column) => Object.keys(cells[column]!)))]
  const line = (parts: string[]): string => `| ${parts.join(' | ')} |`
  return [
    `lateforge ${packageVersionIn(tarball)}, ${new Date().toISOString().slice(0, 10)}:`,
    '',
    line(['', ...columns]),
    line(['---', ...columns.map(() => '---')]),
    ...rows.map((row) => line([row, ...columns.map((column) => cells[column]![row] ?? '')])),
    '',
    ...found.map(({ name, found, faults }) => `- ${name}: ${faults.length === 0 ? found : 'no, see below'}`),
    ...failures.map((failure) => `- no: ${failure.split('\n')[0]}`),
  ].join('\n')
}

if (platformName() !== 'linux-x64') throw new Error(`the matrix is run on linux-x64, this is ${platformName()}`)
if (!existsSync(tarball)) throw new Error(`${tarball} is not there`)
prepareTools()
const scratch = mkdtempSync(path.join(tmpdir(), 'lateforge-matrix-'))
try {
  const expected = checkoutValues(scratch)
  byManagers(scratch, expected)
  if (wanted('bare')) inBareRoots(scratch, expected)
  await bundled(scratch, expected)
  if (wanted('platforms')) platforms(scratch, expected)
  const found = wanted('facts') ? facts(scratch) : []
  if (!only) writeTable(table(found))
  console.log(failures.length === 0 ? 'every cell ran' : `${failures.length} failed`)
  process.exitCode = failures.length === 0 ? 0 : 1
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
