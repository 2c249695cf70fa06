/** Where the Hub is and what is kept of it: the variables of Python's huggingface_hub, read as it reads them. */
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { ConfigError } from '../errors.js'

/** What a conversation with the Hub goes by. */
export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string
  /** Folder of the cache. */
  readonly cache: string
  /** Is sent with every request to the endpoint, and to nobody else. */
  readonly token: string | undefined
  /** What the token was read from, for messages. */
  readonly tokenFrom: string | undefined
  readonly offline: boolean
  /** How long the Hub may be silent, ms. */
  readonly timeoutMs: number
  /** Before the first of a request's repetitions, ms; twice as long before each one after it. */
  readonly retryMs: number
  readonly symlinks: boolean
}

const isTrue = (value: string | undefined): boolean => /^(1|on|yes|true)$/i.test(value ?? '')

/**
 * The settings of this process. A variable that is empty counts as not set.
 * @throws ConfigError ERR_CONFIG for an HF_ENDPOINT that is no URL, or an HF_HUB_DOWNLOAD_TIMEOUT that is no time
 */
export function hubSettings(env: NodeJS.ProcessEnv = process.env): HubSettings {
  const path = (text: string): string => {
    const home = text === '~' || text.startsWith('~/') ? join(homedir(), text.slice(1)) : text
    return home.replace(/\$(?:(\w+)|\{([^}]*)\})/g, (all, plain, braced) => env[plain ?? braced] ?? all)
  }
  const home = path(env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface'))
  const endpoint = (env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '')
  if (!URL.canParse(endpoint) || !/^https?:/.test(endpoint))
    throw new ConfigError('ERR_CONFIG', `HF_ENDPOINT is "${endpoint}"; expected a URL, as https://huggingface.co`)
  const seconds = Number(env.HF_HUB_DOWNLOAD_TIMEOUT || 10)
  if (!(seconds > 0))
    throw new ConfigError(
      'ERR_CONFIG',
      `HF_HUB_DOWNLOAD_TIMEOUT is "${env.HF_HUB_DOWNLOAD_TIMEOUT}"; expected a number of seconds above 0`,
    )
  const [token, tokenFrom] = tokenOf(env, path(env.HF_TOKEN_PATH || join(home, 'token')))
  return {
    endpoint,
    cache: path(env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(home, 'hub')),
    token,
    tokenFrom,
    offline: isTrue(env.HF_HUB_OFFLINE || env.TRANSFORMERS_OFFLINE),
    timeoutMs: 1000 * seconds,
    retryMs: 1000,
    symlinks: !isTrue(env.HF_HUB_DISABLE_SYMLINKS),
  }
}

/** With what it was read from. HF_HUB_DISABLE_IMPLICIT_TOKEN is about reading: who writes has asked for it to be sent. */
function tokenOf(env: NodeJS.ProcessEnv, file: string): [token?: string, from?: string] {
  const clean = (text: string): string | undefined => text.replace(/[\r\n]/g, '').trim() || undefined
  for (const name of ['HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN']) {
    const token = clean(env[name] ?? '')
    if (token !== undefined) return [token, name]
  }
  try {
    return [clean(readFileSync(file, 'utf8')), file]
  } catch {
    return [] // nobody has logged in here
  }
}

/** Settings for reading: without the token where the user asks for that. */
export function readSettings(env: NodeJS.ProcessEnv = process.env): HubSettings {
  const settings = hubSettings(env)
  return isTrue(env.HF_HUB_DISABLE_IMPLICIT_TOKEN) ? { ...settings, token: undefined, tokenFrom: undefined } : settings
}
