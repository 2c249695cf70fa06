/** Stages of the check that train whole models: how exact bfloat16 is, the demo, and speed beside sentence-transformers. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { benchStep, type StepBenchOptions } from '../../lib/bench/step.js'
import { drawLengths } from '../../lib/bench/synthetic.js'
import { packageRoot } from '../../lib/packages.js'
import { Device } from '../../lib/tensor/index.js'
import { mixedDeviation } from '../train/ten-steps.js'
import type { Found } from './stages.js'

/** Three trajectories of ten steps in bfloat16 leave float64 at most twice as far as PyTorch's autocast does. */
export async function mixed(device: string): Promise<Found> {
  const found = await mixedDeviation(Device.open(device))
  return { ok: Object.values(found).every(({ ours, autocast }) => ours <= 2 * autocast), ...found }
}

/** One shape on both sides: ours, and sentence-transformers where Python has it with a GPU. */
interface Contest {
  shape: string
  batch: number
  microBatchTokens: number
  /** Tokens or sequences that the peer encodes at a time. */
  miniBatch: number
  modes: [ours: NonNullable<StepBenchOptions['mode']>, theirs: 'cached' | 'plain' | 'encode'][]
}

/**
 * ModernBERT-base in bfloat16: training with graphs kept, recomputed, and encoding; tokens a second, operations a second
 * and memory, on the same lengths in the same run.
 */
export async function contest(device: string, rehearsal: boolean): Promise<Found> {
  const base: Contest = {
    shape: 'modernbert-base',
    batch: 512,
    microBatchTokens: 32768,
    miniBatch: 128,
    modes: [
      ['kept', 'plain'],
      ['recompute', 'cached'],
      ['encode', 'encode'],
    ],
  }
  const { shape, batch, microBatchTokens, miniBatch, modes } = rehearsal ? { ...base, shape: 'tiny', batch: 3 } : base
  const lengths = [0, 1, 2, 3].map((i) => drawLengths(batch, i))
  const file = path.join(mkdtempSync(path.join(tmpdir(), 'lateforge-')), 'lengths.json')
  writeFileSync(file, JSON.stringify({ batch, steps: lengths }))
  const [steps, warmup] = rehearsal ? [1, 0] : [6, 3]
  const rows = []
  for (const [mode, theirs] of modes) {
    const cutting = mode === 'encode' ? {} : { microBatchTokens }
    const ours = await benchStep({ device, shape, mode, ...cutting, lengths, steps, warmup })
    const common = ['--shape', shape, '--mode', theirs, '--batch', String(batch), '--mini-batch', String(miniBatch)]
    const peer = rehearsal ? { skipped: 'a rehearsal' } : peerStep([...common, '--lengths', file, '--warmup', '2'])
    const ratio = 'tokensPerSecond' in peer ? ours.tokensPerSecond / Number(peer.tokensPerSecond) : null
    rows.push({ mode, ours, peer, ratio })
  }
  return { ok: true, rows }
}

/** What bench/peers/st6_step.py reports with the best attention that is installed, or why it did not run. */
function peerStep(options: readonly string[]): Record<string, unknown> {
  const python = (...args: string[]) => spawnSync('python3', args, { encoding: 'utf8', timeout: 100_000 })
  const probe = python('-c', 'import torch, sentence_transformers; assert torch.cuda.is_available()')
  if (probe.status !== 0) return { skipped: `python3 has no sentence-transformers on a GPU: ${last(probe.stderr)}` }
  const flash = python('-c', 'import flash_attn').status === 0
  const script = path.join(packageRoot(), 'bench/peers/st6_step.py')
  const attention = flash ? 'flash_attention_2' : 'sdpa'
  const result = python(script, ...options, '--device', 'cuda', '--dtype', 'bfloat16', '--attention', attention)
  if (result.status !== 0) return { skipped: `it failed: ${last(result.stderr) || result.signal}` }
  return JSON.parse(result.stdout)
}

const last = (text: string | undefined): string => text?.trim().split('\n').at(-1) ?? ''

/** The demo from end to end: three phases on WordNet, nDCG against BM25. */
export async function demo(device: string, rehearsal: boolean): Promise<Found> {
  const script = path.join(packageRoot(), 'examples/wordnet/run.js')
  if (rehearsal) return { ok: existsSync(script), rehearsal: 'thousands of steps are too many for the host emulation' }
  const out = mkdtempSync(path.join(tmpdir(), 'lateforge-demo-'))
  const started = performance.now()
  const result = spawnSync(process.execPath, [script, '--device', device, '--out', out], { encoding: 'utf8' })
  const file = path.join(out, 'seed-1/comparison.json')
  return {
    ok: result.status === 0,
    seconds: (performance.now() - started) / 1000,
    comparison: existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null,
    output: `${result.stdout}\n${result.stderr?.slice(-4000)}`,
  }
}
