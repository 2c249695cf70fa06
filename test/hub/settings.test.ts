import { writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { hubSettings, readSettings } from '../../lib/hub/settings.js'
import { folder } from '../train/tiny.js'

t.test('as huggingface_hub reads its variables', async (t) => {
  const home = homedir()
  const caches: [NodeJS.ProcessEnv, string][] = [
    [{}, `${home}/.cache/huggingface/hub`],
    [{ XDG_CACHE_HOME: '/x' }, '/x/huggingface/hub'],
    [{ XDG_CACHE_HOME: '/x', HF_HOME: '~/hf' }, `${home}/hf/hub`],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a shell's
    [{ HF_HOME: '$BASE/a/${USER}', BASE: '/b', USER: 'u' }, '/b/a/u/hub'],
    [{ HF_HOME: '/h', HUGGINGFACE_HUB_CACHE: '/old' }, '/old'],
    [{ HF_HOME: '/h', HUGGINGFACE_HUB_CACHE: '/old', HF_HUB_CACHE: '/new' }, '/new'],
    [{ HF_HOME: '', HF_HUB_CACHE: '' }, `${home}/.cache/huggingface/hub`],
  ]
  for (const [env, cache] of caches) t.equal(hubSettings(env).cache, cache, JSON.stringify(env))
  t.match(hubSettings({ HF_ENDPOINT: 'http://mirror/hub//' }), {
    endpoint: 'http://mirror/hub',
    offline: false,
    timeoutMs: 10_000,
  })
  t.equal(hubSettings({ HF_HUB_OFFLINE: 'yes' }).offline, true)
  t.equal(hubSettings({ TRANSFORMERS_OFFLINE: '1' }).offline, true)
  t.equal(hubSettings({ HF_HUB_OFFLINE: '0', TRANSFORMERS_OFFLINE: '1' }).offline, false)
  t.match(hubSettings({ HF_HUB_DOWNLOAD_TIMEOUT: '30', HF_HUB_DISABLE_SYMLINKS: '1' }), {
    timeoutMs: 30_000,
    symlinks: false,
  })
  t.throws(() => hubSettings({ HF_ENDPOINT: 'mirror' }), { code: 'ERR_CONFIG', message: /HF_ENDPOINT is "mirror"/ })
  t.throws(() => hubSettings({ HF_HUB_DOWNLOAD_TIMEOUT: 'x' }), { code: 'ERR_CONFIG' })
})

t.test('tokens', async (t) => {
  const dir = folder(t)
  writeFileSync(path.join(dir, 'token'), 'hf_file\n')
  writeFileSync(path.join(dir, 'other'), ' hf_other\r\n')
  t.match(hubSettings({ HF_HOME: dir }), { token: 'hf_file', tokenFrom: path.join(dir, 'token') })
  t.match(hubSettings({ HF_HOME: dir, HF_TOKEN_PATH: path.join(dir, 'other') }), { token: 'hf_other' })
  t.match(hubSettings({ HF_HOME: dir, HF_TOKEN: 'hf_env\n' }), { token: 'hf_env', tokenFrom: 'HF_TOKEN' })
  t.match(hubSettings({ HF_HOME: dir, HUGGING_FACE_HUB_TOKEN: 'hf_old' }), { token: 'hf_old' })
  t.equal(hubSettings({ HF_HOME: path.join(dir, 'none') }).token, undefined)
  t.equal(readSettings({ HF_TOKEN: 'hf_env', HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' }).token, undefined)
})
