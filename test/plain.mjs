/**
 * Loaded by tap into the process of every test file (.taprc). That process has tap's hooks in it, and would pass them on
 * to all it starts. Memory, threads and the starts of processes are to be tested as users have them, so the compiled file
 * runs in a plain Node beside it, which inherits the output and tap's channel.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import path from 'node:path'

const file = path.relative(process.cwd(), process.argv[1] ?? '')
if (file.endsWith('.test.ts')) {
  const sanitized = process.env.LATEFORGE_TEST_SANITIZED === '1' // the part `sanitized` of run.mjs
  const tree = sanitized ? 'build/sanitized/tree' : ''
  const compiled = path.join(tree, 'build/js', file.replace(/\.ts$/, '.js'))
  const options = (process.env.NODE_OPTIONS ?? '').replace(/"--import=[^"]*@tapjs[^"]*"|--import=\S*@tapjs\S*/g, '')
  // By `env`, because tap's hooks write themselves into the NODE_OPTIONS of whatever is started here.
  const variables = [`NODE_OPTIONS=${options.trim()}`, 'HF_HUB_OFFLINE=1'] // a name that is no folder is asked of no Hub
  if (sanitized) {
    variables.push(`LD_PRELOAD=${readFileSync(path.join(tree, 'runtime'), 'utf8')}`)
    variables.push('ASAN_OPTIONS=detect_leaks=0', 'UBSAN_OPTIONS=print_stacktrace=1') // the leaks are Node's own
  }
  const child = spawn('env', [...variables, process.execPath, '--enable-source-maps', compiled], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  })
  child.on('message', (message) => process.send?.(message))
  process.on('message', (message) => child.connected && child.send(message))
  for (const signal of ['SIGINT', 'SIGHUP', 'SIGTERM']) process.on(signal, () => child.kill(signal))
  process.on('SIGALRM', () => {
    child.kill('SIGALRM') // the time is over: it may say what it waited for
    setTimeout(() => child.kill('SIGKILL'), 400)
  })
  const [code, signal] = await once(child, 'exit')
  if (signal) process.stderr.write(`${file} was ended by ${signal}\n`)
  process.exit(code ?? 1)
}
