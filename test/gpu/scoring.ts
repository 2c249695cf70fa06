/** Stages of the check that time scoring: MaxSim beside Python's libraries, and the contrastive loss of large batches. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { benchInfoNce } from '../../lib/bench/infonce.js'
import { benchMaxSim } from '../../lib/bench/maxsim.js'
import { packageRoot } from '../../lib/packages.js'
import type { Found } from './stages.js'

const shapes = ['rerank-1k', 'rerank-10k', 'batch-128', 'batch-512', 'batch-1024', 'distil-16x32', 'pages-1k']

/** The table of docs/cuda.md in float16: ours against float64, by device events; then others on the same vectors. */
export async function scoring(device: string, rehearsal: boolean): Promise<Found> {
  const which = rehearsal ? { shapes: ['tiny'], seconds: 0 } : { shapes, seconds: 0.2 }
  const ours = await benchMaxSim({ device, dtype: 'float16', ...which })
  const peers = rehearsal ? { skipped: 'a rehearsal' } : measurePeers(ours)
  return { ok: ours.results.every((r) => r.error < 1e-3), ours, peers }
}

function measurePeers(ours: unknown): unknown {
  const python = (...args: string[]) => spawnSync('python3', args, { encoding: 'utf8', timeout: 240_000 })
  const last = (text: string | undefined) => text?.trim().split('\n').at(-1) ?? ''
  const probe = python('-c', 'import torch; assert torch.cuda.is_available()')
  if (probe.status !== 0) return { skipped: `python3 has no torch with a GPU: ${last(probe.stderr)}` }
  const folder = mkdtempSync(path.join(tmpdir(), 'lateforge-'))
  const [report, out] = [path.join(folder, 'ours.json'), path.join(folder, 'peers.json')]
  writeFileSync(report, JSON.stringify(ours))
  const script = path.join(packageRoot(), 'bench/peers/maxsim.py')
  const result = python(script, '--ours', report, '--seconds', '0.2', '--out', out)
  if (!existsSync(out)) return { skipped: `it failed: ${last(result.stderr) || result.signal}`, table: result.stdout }
  return { ...JSON.parse(readFileSync(out, 'utf8')), table: result.stdout }
}

/** Time, memory beyond embeddings and gradients, and errors of the contrastive loss, up to the paper's batch. */
export async function largeBatches(device: string, rehearsal: boolean): Promise<Found> {
  const which = rehearsal
    ? { shapes: ['loss-tiny'], dim: 16, seconds: 0 }
    : { shapes: ['loss-1024', 'loss-4096', 'loss-16384'], seconds: 1 }
  const report = await benchInfoNce({ device, dtype: 'float16', ...which })
  const good = report.results.every(
    ({ error, extraBytes }) => Math.max(error.loss, error.queries, error.documents) < 1e-3 && extraBytes < 2e9,
  )
  return { ok: good, ...report }
}
