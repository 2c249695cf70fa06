/** `lateforge export`, as a person uses it. */
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { lateforge } from '../command.js'
import { makeIndex } from '../export/scenario.js'
import { folder } from '../train/tiny.js'

const cwd = folder(t)
const cli = (...args: string[]) => lateforge(['export', ...args], cwd)

t.test('an index goes out, counted, and a second time only elsewhere', async (t) => {
  await (await makeIndex(cwd, 'int8')).close()
  t.match(cli('qdrant', 'idx-int8', 'out', '--name', 'books'), {
    status: 0,
    stdout:
      /^out: 6 documents, 62 token vectors, [\d.]+ kB\n {2}62 token vectors .* float32\n {2}1 documents .* text\n {2}1 documents without/,
  })
  t.match(readFileSync(path.join(cwd, 'out', 'load.mjs'), 'utf8'), '/collections/books')
  t.match(cli('qdrant', 'idx-int8', 'out'), { status: 3, stderr: /ERR_FILE .*is there already/ })
  const { stdout } = cli('lancedb', 'idx-int8', 'lance', '--no-texts', '--json')
  t.match(JSON.parse(stdout), { name: 'documents', documents: 6, tokens: 62 })
  t.ok(existsSync(path.join(cwd, 'lance', 'db')))
})

t.test('what it refuses', async (t) => {
  t.match(cli('qdrand', 'idx-int8', 'x'), { status: 2, stderr: /ERR_USAGE .*qdrand/ })
  t.match(cli('vespa', 'nowhere', 'x'), { status: 4, stderr: /nowhere holds no index/ })
  t.match(cli('vespa', 'idx-int8', 'x', '--name', 'a b'), { status: 2, stderr: /ERR_ARGUMENT .*name is "a b"/ })
  t.match(cli('vespa', '--help'), { status: 0, stdout: /Example: lateforge export vespa/ })
})
