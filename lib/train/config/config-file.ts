import { readFile } from 'node:fs/promises'
import { type Document, isMap, isNode, isScalar, LineCounter, type Node, parse, parseDocument } from 'yaml'
import { ConfigError } from '../../errors.js'
import { resolveConfig } from './config.js'
import type { Locate } from './origins.js'
import type { ResolvedRun } from './types.js'

/**
 * Reads a run from a YAML file (or none) and `key=value` overrides with dotted keys: `seed=7`, `phases.0.batch=64`, or
 * with the phase's name, `phases.supervised.batch=64`. Values are YAML, merge keys (`<<`) included.
 * @throws ConfigError ERR_CONFIG with file, line and column of every problem
 */
export async function readConfig(file: string | undefined, overrides: readonly string[] = []): Promise<ResolvedRun> {
  const lines = new LineCounter()
  let document: Document | undefined
  let value: unknown = {}
  if (file !== undefined) {
    document = parseDocument(await readText(file), { lineCounter: lines, merge: true })
    const [error] = document.errors
    if (error) {
      const { line, col } = lines.linePos(error.pos[0])
      throw new ConfigError('ERR_CONFIG', `${file}:${line}:${col}: ${error.message.split('\n')[0]}`, {
        file,
        line,
        col,
      })
    }
    value = document.toJS() ?? {}
  }
  const set = new Map<string, string>()
  for (const override of overrides) set.set(applyOverride(value, override).join('\0'), override)

  const locate: Locate = (path, key) => {
    for (let depth = path.length; depth > 0; depth--) {
      const override = set.get(path.slice(0, depth).join('\0'))
      if (override) return `override "${override}"`
    }
    if (!document) return undefined
    const own = key === undefined ? undefined : keyNode(document, path.slice(0, -1), key)
    const node = own ?? nodeAt(document, path) // a key that was merged in has the place of what it was merged into
    if (!node?.range) return file
    const { line, col } = lines.linePos(node.range[0])
    return `${file}:${line}:${col}`
  }
  return resolveConfig(value, locate)
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw new ConfigError('ERR_CONFIG', `${file} cannot be read: ${(cause as Error).message}`, { file }, { cause })
  }
}

/** Sets one value; returns its path. */
function applyOverride(config: unknown, override: string): (string | number)[] {
  const split = override.indexOf('=')
  const fail = (problem: string): ConfigError =>
    new ConfigError('ERR_CONFIG', `override "${override}": ${problem}`, { override })
  if (split < 1) throw fail('expected key=value, as seed=7 or phases.0.batch=64')
  let value: unknown
  try {
    value = parse(override.slice(split + 1), { merge: true })
  } catch (cause) {
    throw fail(`the value is not YAML: ${(cause as Error).message.split('\n')[0]}`)
  }
  const path: (string | number)[] = []
  let at = config as Record<string | number, unknown>
  const parts = override.slice(0, split).split('.')
  for (const [i, part] of parts.entries()) {
    let key: string | number = part
    if (Array.isArray(at)) {
      const named = at.findIndex((item) => (item as { name?: unknown } | null)?.name === part)
      key = named === -1 ? Number(part) : named
      if (!Number.isInteger(key) || key < 0 || key > at.length)
        throw fail(`there is no ${path.join('.')}.${part}; the list has ${at.length} entries`)
    } else if (['__proto__', 'constructor', 'prototype'].includes(part)) throw fail(`"${part}" is no key`)
    path.push(key)
    if (i === parts.length - 1) at[key] = value
    else {
      const found = at[key] ?? (part === 'phases' && i === 0 ? [] : {})
      if (typeof found !== 'object') throw fail(`${path.join('.')} is ${JSON.stringify(found)}, it has no parts`)
      // A copy: aliases of YAML are one object in several places.
      at[key] = Array.isArray(found) ? [...found] : { ...found }
      at = at[key] as Record<string | number, unknown>
    }
  }
  return path
}

/** The node of a value, or of the nearest thing around it that is in the file. */
function nodeAt(document: Document, path: readonly (string | number)[]): Node | undefined {
  for (let depth = path.length; depth >= 0; depth--) {
    const node = depth === 0 ? document.contents : document.getIn(path.slice(0, depth), true)
    if (isNode(node)) return node
  }
  return undefined
}

function keyNode(document: Document, path: readonly (string | number)[], key: string): Node | undefined {
  const map = path.length === 0 ? document.contents : document.getIn(path, true)
  const pair = isMap(map) ? map.items.find((item) => isScalar(item.key) && item.key.value === key) : undefined
  return isNode(pair?.key) ? pair.key : undefined
}
