/** docs/scaling.md says what its script computes. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import t from 'tap'

t.test('the tables of docs/scaling.md are those of bench/scaling.mjs', async (t) => {
  const page = readFileSync('docs/scaling.md', 'utf8')
  const lines = execFileSync(process.execPath, ['bench/scaling.mjs'], { encoding: 'utf8' }).trim().split('\n')
  t.ok(lines.length > 10)
  for (const line of lines) t.ok(page.includes(line), line)
})
