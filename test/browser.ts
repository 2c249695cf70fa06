/** Pages as a person has them: a headless Chromium that is there, of Debian (`chromium`) or another; none is fetched. */
import path from 'node:path'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { executable } from './executable.js'

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

/** The program, or undefined. */
function installed(): string | undefined {
  const folders = (process.env.PATH ?? '').split(path.delimiter)
  return executable(names.flatMap((name) => folders.map((folder) => path.join(folder, name))))
}

/** For `skip` of a test: why it cannot run, or false. */
export const noBrowser: string | false = installed() ? false : 'no browser: apt-get install chromium'

/** A browser that ends with the test. */
export async function browser(t: { teardown(fn: () => Promise<void>): unknown }): Promise<Browser> {
  const { chromium } = await import('playwright-core')
  // Chromium refuses to run in its sandbox as root, as containers have it.
  const opened = await chromium.launch({ executablePath: installed()!, chromiumSandbox: process.getuid?.() !== 0 })
  t.teardown(() => opened.close())
  return opened
}

/** A page with all it asked for and complained of. */
export interface Watched {
  page: Page
  requests: string[]
  complaints: string[]
}

/** Opens a page, and notes every request but the one for itself, and every error or refusal. */
export async function watched(from: Browser, url: string, options: BrowserContextOptions = {}): Promise<Watched> {
  const page = await from.newPage(options)
  const [requests, complaints]: [string[], string[]] = [[], []]
  page.on('request', (request) => {
    if (request.url() !== url && !request.url().startsWith('data:')) requests.push(request.url())
  })
  page.on('console', (message) => complaints.push(message.text()))
  page.on('pageerror', (error) => complaints.push(error.message))
  await page.goto(url)
  return { page, requests, complaints }
}
