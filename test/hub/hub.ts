import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { HubError } from '../../lib/errors.js'
import type { HubSettings } from '../../lib/hub/settings.js'
import { folder } from '../train/tiny.js'
import { HubServer } from './server.js'

/** A server, an empty cache, and settings that make them each other's; waits are short. */
export async function hub(
  t: { teardown(fn: () => unknown): unknown },
  changes: Partial<HubSettings> = {},
): Promise<{ server: HubServer; settings: HubSettings }> {
  const server = await HubServer.start(t)
  const settings = {
    endpoint: server.endpoint,
    cache: path.join(folder(t), 'hub'),
    token: undefined,
    tokenFrom: undefined,
    offline: false,
    timeoutMs: 2000,
    retryMs: 2,
    symlinks: true,
    ...changes,
  }
  return { server, settings }
}

/** For a process of its own, or for public functions: variables that say the same. */
export function variables({ endpoint, cache, token, offline }: HubSettings): Record<string, string> {
  return {
    HF_ENDPOINT: endpoint,
    HF_HUB_CACHE: cache,
    HF_TOKEN: token ?? '',
    HF_HUB_OFFLINE: offline ? '1' : '0',
    HF_TOKEN_PATH: path.join(cache, 'no-token'),
  }
}

/** Sets variables for the length of a test. */
export function withVariables(t: { teardown(fn: () => unknown): unknown }, given: Record<string, string>): void {
  const before = Object.keys(given).map((name) => [name, process.env[name]] as const)
  Object.assign(process.env, given)
  t.teardown(() => {
    for (const [name, value] of before)
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
  })
}

/** The files of a folder, by their paths. */
export function filesOf(root: string): Record<string, Buffer> {
  const entries = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => !entry.isDirectory())
  return Object.fromEntries(
    entries.map((entry) => {
      const file = path.join(entry.parentPath, entry.name)
      return [path.relative(root, file), readFileSync(file)]
    }),
  )
}

/** The error that something ends with; the test fails where it ends well. */
export const failure = (work: Promise<unknown>): Promise<HubError> =>
  work.then(
    () => t.fail('no error'),
    (error) => error,
  ) as never
