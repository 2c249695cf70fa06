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

/** How well the text of a page can be read on what is behind it: the worst contrast there is, and what has it. */
export const worstContrast = (page: Page): Promise<{ contrast: number; of: string }> =>
  page.evaluate(`(() => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d', { willReadFrequently: true })
    const painted = (colours) => {
      for (const colour of colours) {
        canvas.fillStyle = colour
        canvas.fillRect(0, 0, 1, 1)
      }
      return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)
    }
    const luminance = (rgb) => {
      const [r, g, b] = rgb.map((value) => (value <= 10 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4))
      return 0.2126 * r + 0.7152 * g + 0.0722 * b
    }
    let worst = { contrast: 21, of: '' }
    const texts = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT)
    while (texts.nextNode()) {
      const element = texts.currentNode.parentElement
      if (texts.currentNode.data.trim() === '' || !element.checkVisibility()) continue
      const behind = ['#fff']
      for (let at = element; at; at = at.parentElement) behind.splice(1, 0, getComputedStyle(at).backgroundColor)
      const lights = [painted(behind), painted([...behind, getComputedStyle(element).color])].map(luminance)
      const contrast = (Math.max(...lights) + 0.05) / (Math.min(...lights) + 0.05)
      if (contrast < worst.contrast) worst = { contrast, of: element.outerHTML.slice(0, 200) }
    }
    return worst
  })()`)

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
