import { type BatchPart, openBatches, type TrainBatch, type TrainData } from '../../data/collate.js'
import { isFiles, isSource } from '../../data/sources.js'
import { rank0First } from '../../distributed/control.js'
import type { ProcessGroup } from '../../distributed/group.js'
import type { Colbert } from '../../models/colbert.js'
import { type OpenGuide, openGuide } from '../check/guide.js'
import type { ResolvedPhase, ResolvedRun } from '../config/types.js'
import type { EventHub, ProgressEvent } from '../events.js'

/** The rows of a step: as the model reads them, and as its guide does. */
export interface StepRows {
  batch: TrainBatch
  guided: TrainBatch | null
}

/** The data of a phase by step, and its guide; `close` it. */
export class PhaseRows {
  private constructor(
    private readonly data: TrainData,
    readonly guide: OpenGuide | null,
    private readonly guided: TrainData | null,
  ) {}

  static async open(
    host: { model: Colbert; config: ResolvedRun; group: ProcessGroup; signal?: AbortSignal; emit: EventHub['emit'] },
    phase: ResolvedPhase,
    seed: number,
  ): Promise<PhaseRows> {
    const { model, config, group, signal, emit } = host
    const onProgress = (progress: Omit<ProgressEvent, 'type'>) =>
      emit({ type: 'progress', phase: phase.name, ...progress })
    const batches = ({ featurizer }: Colbert): Promise<TrainData> =>
      rank0First(group, () =>
        openBatches({
          data: phase.data.filter(isFiles),
          sources: phase.data.filter(isSource),
          featurizer,
          batch: phase.batch,
          negatives: phase.negatives,
          sampleNegatives: phase.sampleNegatives,
          dropAbove: phase.dropAbove,
          seed,
          sampling: phase.sampling,
          smallSources: phase.smallSources,
          cacheDir: config.cacheDir,
          workers: config.workers,
          signal,
          onProgress,
        }),
      )
    const data = await batches(model)
    if (!phase.guide) return new PhaseRows(data, null, null)
    const opened: { close(): unknown }[] = [data]
    try {
      const onNote = () => {} // said when the run was checked
      const guide = await rank0First(group, () => openGuide(config, phase, model, { onNote, onProgress, signal }))
      opened.push(guide)
      return new PhaseRows(data, guide, await batches(guide.model))
    } catch (error) {
      for (const each of opened) each.close()
      throw error
    }
  }

  /** Of all that `at` depends on. */
  get fingerprint(): string {
    return [this.data, this.guided].flatMap((each) => each?.fingerprint ?? []).join(' ')
  }

  get rows(): number {
    return this.data.rows
  }

  get stepsPerEpoch(): number {
    return this.data.stepsPerEpoch
  }

  /** A rank's rows of a step. */
  async at(step: number, part: BatchPart): Promise<StepRows> {
    const batch = await this.data.at(step, part)
    return { batch, guided: this.guided && (await this.guided.at(step, { ...part, like: batch })) }
  }

  close(): void {
    this.guided?.close()
    this.guide?.close()
    this.data.close()
  }
}
