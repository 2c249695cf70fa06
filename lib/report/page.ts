/** A page that is whole in one file: it asks for nothing, and runs nothing but its own scripts. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { packageRoot, packageVersion, unloadable } from '../packages.js'
import { Html, html, jsonScript, type Value } from './html.js'

/** What a page is made of. */
export interface PageContent {
  /** Of the window, and of the page. */
  title: string
  /** Below the title. */
  body: Value
  /** What its scripts read. */
  data: Record<string, unknown>
  /** Has curves: uPlot is in it. Default false. */
  curves?: boolean
  /** It is served, and asks its own server for news. Default false. */
  live?: boolean
}

/** The page as a text. */
export function page({ title, body, data, curves = false, live = false }: PageContent): string {
  const styles = [...(curves ? [ofUPlot('uPlot.min.css')] : []), asset('page.css')]
  const scripts = [...(curves ? [ofUPlot('uPlot.iife.min.js'), asset('curves.js')] : []), asset('page.js')]
  const policy = [
    "default-src 'none'",
    `style-src ${styles.map(hashOf).join(' ')}`,
    `script-src ${scripts.map(hashOf).join(' ')}`,
    'img-src data:',
    ...(live ? ["connect-src 'self'"] : []),
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ')
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="lateforge ${packageVersion()}">
<link rel="icon" href="data:,">
<title>${title}</title>
${styles.map((style) => new Html(`<style>${style}</style>\n`))}</head>
<body>
<a class="skip" href="#main">To the content</a>
<header class="top"><h1><bdi>${title}</bdi></h1><button type="button" id="theme" hidden>Dark</button></header>
<main id="main">
${body}
</main>
<footer><p>Made by lateforge ${packageVersion()}. This page asks for nothing from anywhere; texts in it come from the data
and are shown as they are.${curves && ' Curves: uPlot, © Leon Sorokin, MIT licence.'}</p></footer>
${jsonScript('page-data', { ...data, live })}
${scripts.map((script) => new Html(`<script>${script}</script>\n`))}</body>
</html>
`.markup
}

const hashOf = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

/** A file of ours, which the browser gets as it is. */
const asset = (name: string): string => readFileSync(path.join(packageRoot(), 'assets', name), 'utf8')

function ofUPlot(name: string): string {
  try {
    return readFileSync(createRequire(import.meta.url).resolve(`uplot/dist/${name}`), 'utf8')
  } catch (cause) {
    throw unloadable('uplot', cause)
  }
}
