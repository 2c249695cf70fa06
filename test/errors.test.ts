import { readFileSync } from 'node:fs'
import t from 'tap'
import { errorClasses } from '../lib/errors.js'

t.test('every error code has a row with its class in docs/errors.md', async (t) => {
  const page = readFileSync('docs/errors.md', 'utf8')
  for (const [code, { name }] of Object.entries(errorClasses))
    t.ok(page.includes(`\n| \`${code}\` | \`${name}\` |`), code)
})
