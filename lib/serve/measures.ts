/** What the server counts: docs/guides/serve.md lists it. */
import type { Colbert } from '../models/colbert.js'
import type { Role } from '../retrieval/embeddings.js'
import type { Admission } from './admission.js'
import type { Batcher } from './batcher.js'
import { Counter, exposition, Gauge, Histogram } from './metrics.js'
import type { Reason } from './refusal.js'

const seconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
const batchTokens = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768]

/** Counts of one handler. */
export class Measures {
  private readonly all

  constructor(model: Colbert, batcher: Batcher, admission: Admission) {
    const memory = (what: 'bytes' | 'peak') => () => model.device.memory()[what]
    this.all = {
      lateforge_requests_total: new Counter('Requests that were answered'),
      lateforge_refused_total: new Counter('Requests that were refused, or left, by reason'),
      lateforge_request_seconds: new Histogram('From the head of a request to its answer', seconds),
      lateforge_batch_tokens: new Histogram('Tokens that were encoded together', batchTokens),
      lateforge_tokens_total: new Counter('Tokens that were encoded'),
      lateforge_requests_in_flight: new Gauge('Requests under way', () => admission.inFlight),
      lateforge_waiting_tokens: new Gauge('Tokens that wait to be encoded', () => batcher.waitingTokens),
      lateforge_ready: new Gauge('1 while requests are taken', () => Number(!admission.draining && !batcher.lost)),
      lateforge_device_bytes: new Gauge('Memory of tensors', memory('bytes')),
      lateforge_device_peak_bytes: new Gauge('The most that it was', memory('peak')),
      process_resident_memory_bytes: new Gauge('Memory of the process', () => process.memoryUsage.rss()),
    }
  }

  batch(role: Role, tokens: number): void {
    this.all.lateforge_batch_tokens.observe({ role }, tokens)
    this.all.lateforge_tokens_total.add({ role }, tokens)
  }

  answer(route: string, status: number, took: number, reason: Reason | undefined): void {
    this.all.lateforge_requests_total.add({ route, status })
    if (reason) this.all.lateforge_refused_total.add({ reason })
    else this.all.lateforge_request_seconds.observe({ route }, took)
  }

  text(): string {
    return exposition(this.all)
  }
}
