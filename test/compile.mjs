/** Before any test, `npx tap` compiles what was changed since: native code and TypeScript (.taprc). */
import { spawnSync } from 'node:child_process'

const command = [process.execPath, 'native/tools/setup.cjs', '--tests', '--compile']
// By `env`: tap would measure the coverage of the set-up.
const { status } = spawnSync('env', ['_TAPJS_PROCESSINFO_COVERAGE_=0', ...command], { stdio: ['ignore', 2, 2] })
process.exit(status ?? 1)
