/** Training data, looked at before anybody trains on it. */
import type { Layout } from '../data/rows.js'
import type { Source } from '../data/sources.js'
import { type Survey, survey } from '../data/survey.js'
import type { OnProgress } from '../progress.js'
import type { Featurizer } from '../text/featurizer.js'
import { lengthsOf, measureTexts, type TextLengths } from '../train/check/texts.js'

/** What a source is. */
export interface SourceInfo {
  name: string
  rows: number
  /** Which column is read as what; several where its files differ. */
  columns: Omit<Layout, 'unused'>[]
  /** Columns that nothing reads, and how many rows have them. */
  unusedColumns: Survey['unused']
  /** Files of a kind that is not read. */
  unusedFiles: readonly string[]
  /** Sets of files that are not whole, in words. */
  incomplete: readonly string[]
  /** How many rows have so many documents, positive included. */
  documents: { count: number; rows: number }[]
  /** Whether its rows have a teacher's scores. */
  scores: boolean
  /** Negatives that are null or empty, and left out. */
  missing: number
  /** Of rows spread evenly over it: in tokens by the model that was given, else in characters. */
  lengths: { rows: number; unit: 'tokens' | 'characters'; queries: TextLengths; documents: TextLengths }
  /** Some of its rows, as text. */
  examples: { row: number; query: string; documents: string[] }[]
}

/** Options of `inspectSource`. */
export interface InspectDataOptions {
  /** Rows whose lengths are taken. */
  rows: number
  /** Rows that are shown. */
  examples: number
  /** Cuts texts into tokens. */
  featurizer?: Featurizer | undefined
  signal?: AbortSignal
  onProgress?: OnProgress
}

/** Reads a source once. Errors as `survey`. */
export async function inspectSource(
  source: Source,
  { rows, examples, featurizer, signal, onProgress }: InspectDataOptions,
): Promise<SourceInfo> {
  const found = await survey(source, {
    sample: rows,
    ...(signal && { signal }),
    onProgress: (done) => onProgress?.({ stage: 'reading', name: source.name, done, unit: 'rows' }),
  })
  const { sample, documents, unused, unusedFiles, incomplete, scores, missing } = found
  const lengths = featurizer ? await measureTexts(found, featurizer, Number.POSITIVE_INFINITY) : inCharacters(found)
  const step = Math.max(1, Math.floor(sample.length / examples))
  return {
    name: found.name,
    rows: found.rows,
    columns: [...(source.layouts ?? [])].map(({ unused: _, ...layout }) => layout),
    ...{ unusedColumns: unused, unusedFiles, incomplete },
    documents: documents.map(({ count, rows }) => ({ count, rows })),
    ...{ scores, missing },
    lengths: {
      rows: sample.length,
      unit: featurizer ? 'tokens' : 'characters',
      ...{ queries: lengths.queries, documents: lengths.documents },
    },
    examples: sample
      .filter((_, i) => i % step === 0)
      .slice(0, examples)
      .map(({ row, value }) => ({ row, query: value.query, documents: value.documents })),
  }
}

function inCharacters({ sample }: Survey): { queries: TextLengths; documents: TextLengths } {
  const none = Number.POSITIVE_INFINITY
  return {
    queries: lengthsOf(
      sample.map(({ value }) => value.query.length),
      none,
    ),
    documents: lengthsOf(
      sample.flatMap(({ value }) => value.documents.map((text) => text.length)),
      none,
    ),
  }
}
