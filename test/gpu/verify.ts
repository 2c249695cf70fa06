/**
 * Checks lateforge on a machine with a GPU: every stage in a process of its own with a hard end, each writing its JSON
 * when it is done, none stopping the others. Ends with verify.json, which names device, driver and commit.
 *
 *   node verify.js [--out folder] [--only device,ops] [--seconds most for a stage]
 *   LATEFORGE_VERIFY_DEVICE=cuda-host node verify.js     rehearses the stages in the host emulation
 *
 * Exit code 0: all stages as expected; 1: one was not; 3: this machine has no GPU, nothing was checked.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { native } from '../../lib/native.js'
import { packageRoot } from '../../lib/packages.js'
import { type Found, library, stages, target } from './stages.js'

const option = (name: string): string | undefined => {
  const at = process.argv.lastIndexOf(`--${name}`) // the last one counts: run.sh of the pack gives a default
  return at < 0 ? undefined : process.argv[at + 1]
}

/** Devices, and why there are none. */
function gpus(): { devices: number; facts: Record<string, string> } {
  if (!existsSync(library)) return { devices: 0, facts: { devices: `0 (${library} is not built)` } }
  const { devices, facts } = native().backendInfo(library)
  return { devices, facts: Object.fromEntries(facts) }
}

async function runStage(name: string, file: string): Promise<void> {
  const { devices, facts } = gpus()
  let found: Found
  if (devices === 0) found = { ok: false, skipped: facts.devices }
  else
    try {
      found = await stages[name]!.run()
    } catch (error) {
      found = { ok: false, error: (error as Error).stack }
    }
  writeFileSync(file, `${JSON.stringify(found, null, 1)}\n`)
}

function commit(): string {
  const file = path.join(packageRoot(), 'COMMIT')
  if (existsSync(file)) return readFileSync(file, 'utf8').trim()
  return spawnSync('git', ['rev-parse', 'HEAD'], { cwd: packageRoot(), encoding: 'utf8' }).stdout?.trim() ?? ''
}

function runAll(): void {
  const out = path.resolve(option('out') ?? path.join(packageRoot(), 'build/verify'))
  mkdirSync(out, { recursive: true })
  const only = option('only')?.split(',') ?? Object.keys(stages)
  const { devices, facts } = gpus()
  const summary: Record<string, unknown> = {}
  let [passed, failed, skipped] = [0, 0, 0]
  for (const [name, stage] of Object.entries(stages)) {
    if (!only.includes(name)) continue
    const seconds = Math.min(stage.seconds, Number(option('seconds') ?? stage.seconds))
    const file = path.join(out, `${name}.json`)
    const started = performance.now()
    const result = spawnSync(process.execPath, [fileURLToPath(import.meta.url), '--stage', name, '--file', file], {
      encoding: 'utf8',
      timeout: seconds * 1000,
      killSignal: 'SIGKILL',
      env: { ...process.env, LATEFORGE_VERIFY_SECONDS: String(seconds) },
    })
    let found: Found = { ok: false, error: `ended after ${seconds} s or crashed: ${result.signal ?? result.status}` }
    if (result.status === 0) found = JSON.parse(readFileSync(file, 'utf8'))
    else writeFileSync(file, `${JSON.stringify({ ...found, stderr: result.stderr?.slice(-4000) }, null, 1)}\n`)
    const took = ((performance.now() - started) / 1000).toFixed(1)
    const why = devices === 0 ? 'no GPU' : 'skipped'
    const word = found.skipped ? `${why}: ${found.skipped}` : found.ok ? 'ok' : 'FAILED'
    process.stdout.write(`${name.padEnd(15)} ${word} (${took} s)\n`)
    if (found.skipped) skipped++
    else if (found.ok) passed++
    else failed++
    summary[name] = { ok: found.ok, seconds: Number(took), ...(found.skipped ? { skipped: found.skipped } : {}) }
  }
  const report = { target, commit: commit(), node: process.version, devices, facts, stages: summary }
  writeFileSync(path.join(out, 'verify.json'), `${JSON.stringify(report, null, 1)}\n`)
  process.stdout.write(
    `${passed} passed, ${failed} failed, ${skipped} skipped; ${devices} devices; results in ${out}\n`,
  )
  process.exitCode = devices === 0 ? 3 : failed ? 1 : 0
}

const stage = option('stage')
if (stage) await runStage(stage, option('file')!)
else runAll()
