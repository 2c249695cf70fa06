/**
 * Ours and no package: of training data nothing may be missing in silence. tinyglobby leaves out folders it may not read
 * and broken links, and takes files once more through links to folders; Node has its own from version 22.
 */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { extname, join } from 'node:path'
import { DataError } from '../errors.js'
import { nearby } from '../io/nearby.js'

/**
 * Files that match a pattern, sorted: `*` and `?` within a name, `**` for any folders. A plain path is itself, a
 * folder stands for the .jsonl, .jsonl.gz and .parquet files in it.
 * @throws DataError `ERR_DATA` when nothing matches.
 */
export function expandPattern(pattern: string): string[] {
  const plain = existsSync(pattern)
  const files = plain
    ? statSync(pattern).isDirectory()
      ? walk(pattern, [/^.*\.(jsonl(\.gz)?|parquet)$/])
      : [pattern]
    : match(pattern)
  if (files.length === 0) {
    throw new DataError(
      'ERR_DATA',
      `no file matches "${pattern}"${plain ? ' (a folder without .jsonl or .parquet files)' : hintFor(pattern)}.`,
      {
        pattern,
      },
    )
  }
  return files.sort()
}

/** What may have been meant by a pattern that is no file. */
function hintFor(pattern: string): string {
  if (/[*?]/.test(pattern)) return ''
  const name = /^(?:(?:hf:\/*|https?:\/\/[^/]+\/)(?:datasets\/)?)?([\w.-]+\/[\w.-]+)\/?$/i.exec(pattern)?.[1]
  const near = nearby(pattern)
  if (near !== '' || name === undefined || extname(pattern) !== '') return near
  return ` (a data set on the Hub is named hf://datasets/${name})`
}

function match(pattern: string): string[] {
  const parts = pattern.split('/')
  const fixed = parts.findIndex((part) => /[*?]/.test(part))
  if (fixed === -1) return []
  const root = parts.slice(0, fixed).join('/') || (pattern.startsWith('/') ? '/' : '.')
  const steps = parts.slice(fixed).map((part) => (part === '**' ? null : nameExpression(part)))
  return existsSync(root) ? walk(root, steps) : []
}

/** Files below `folder` along name expressions; null matches any number of folders, none of them by a link. */
function walk(folder: string, steps: readonly (RegExp | null)[]): string[] {
  const [step, ...rest] = steps
  const files: string[] = []
  if (step === null) files.push(...(rest.length > 0 ? walk(folder, rest) : []))
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = folder === '.' ? entry.name : join(folder, entry.name)
    if (entry.name.startsWith('.')) continue
    const isFolder =
      entry.isDirectory() ||
      (entry.isSymbolicLink() && statSync(path, { throwIfNoEntry: false })?.isDirectory() === true)
    if (step === null) {
      if (entry.isDirectory()) files.push(...walk(path, steps))
      else if (!isFolder && rest.length === 0) files.push(path)
    } else if (step!.test(entry.name)) {
      if (isFolder && rest.length > 0) files.push(...walk(path, rest))
      else if (!isFolder && rest.length === 0) files.push(path)
    }
  }
  return [...new Set(files)]
}

function nameExpression(part: string): RegExp {
  const escaped = part.replace(/[.+^${}()|[\]\\]/g, '\\$&')
  return new RegExp(`^${escaped.replace(/\*+/g, '.*').replace(/\?/g, '.')}$`, 'u')
}
