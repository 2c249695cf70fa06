/**
 * Every error lateforge throws on purpose. `code` is stable (`ERR_…`); the message says what was found, what was
 * expected and the likely fix. Native code throws the same classes: `lib/native.ts` hands it this table.
 */
export class LateforgeError extends Error {
  /** Stable name of the kind of error, `ERR_…`: docs/errors.md lists them all. */
  readonly code: string
  /** Machine-readable facts about the failure (file, line, field, shapes …). */
  readonly details: Readonly<Record<string, unknown>>
  constructor(code: string, message: string, details: Record<string, unknown> = {}, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
    this.code = code
    this.details = details
  }
}

/** A tensor shape, rank or length does not fit the operation. Code `ERR_SHAPE`. */
export class ShapeError extends LateforgeError {}
/** A tensor has the wrong element type. Code `ERR_DTYPE`. */
export class DTypeError extends LateforgeError {}
/** A handle was used after `dispose()` or outside its scope. Code `ERR_DISPOSED`. */
export class DisposedError extends LateforgeError {}
/** The device's memory limit would be exceeded; nothing was allocated. Code `ERR_OUT_OF_MEMORY`. */
export class OutOfMemoryError extends LateforgeError {}
/** A device is missing, unusable or lost. Code `ERR_DEVICE`. */
export class DeviceError extends LateforgeError {}
/** The operation exists but not for this input, backend or dtype. Code `ERR_UNSUPPORTED`. */
export class UnsupportedError extends LateforgeError {}
/** The native addon is missing or does not fit. Code `ERR_NATIVE`. */
export class NativeError extends LateforgeError {}
/** An argument is out of range or of the wrong type. Code `ERR_ARGUMENT`. */
export class ArgumentError extends LateforgeError {}
/** A configuration has an unknown key or a bad value. Code `ERR_CONFIG`. */
export class ConfigError extends LateforgeError {}
/** Training or evaluation data is malformed; `details` names file and line. Code `ERR_DATA`. */
export class DataError extends LateforgeError {}
/** A model folder or file is missing something or is damaged. Code `ERR_FORMAT`. */
export class FormatError extends LateforgeError {}
/** Recipes (prefixes, prompts, lengths, tokenizer …) differ where they must agree. Code `ERR_RECIPE`. */
export class RecipeError extends LateforgeError {}
/** A gradient norm or loss became NaN or infinite; the last checkpoint is intact. Code `ERR_DIVERGED`. */
export class DivergedError extends LateforgeError {}
/** A checkpoint cannot be resumed by this configuration or is damaged. Code `ERR_CHECKPOINT`. */
export class CheckpointError extends LateforgeError {}
/** A run's folder belongs to another run that is under way; `details` names its host, pid and start. Code `ERR_LOCKED`. */
export class LockedError extends LateforgeError {}
/** A collective operation between ranks failed. Code `ERR_GROUP`. */
export class GroupError extends LateforgeError {}
/** The caller's AbortSignal fired. Code `ERR_ABORTED`. */
export class AbortedError extends LateforgeError {}

/**
 * The Hub (huggingface.co, or what HF_ENDPOINT names) refused, cannot be reached, or sent something else than it promised.
 * Code `ERR_HUB`; `details.reason` says which.
 */
export class HubError extends LateforgeError {}

/**
 * A server of lateforge (`lateforge serve`, `createHandler`) refused a request, or could not be asked. Code `ERR_REQUEST`;
 * `details.status` is the HTTP status, `details.reason` a stable word for what is wrong.
 */
export class RequestError extends LateforgeError {}

/** The operating system refused a file: permission, space, a name in use. Code `ERR_FILE`; `details` has its code. */
export class FileError extends LateforgeError {}

/** What a caller is given for `error`: a refusal of the operating system becomes a FileError, all else stays. */
export function typed(error: unknown): unknown {
  if (typeof error !== 'object' || error === null || error instanceof LateforgeError || !('syscall' in error))
    return error
  const { code, syscall, path, message } = error as NodeJS.ErrnoException
  return new FileError('ERR_FILE', message, { code, syscall, path }, { cause: error })
}

/** The class that goes with each code, for errors that arrive as (code, message) from native code. */
export const errorClasses: Readonly<Record<string, typeof LateforgeError>> = {
  ERR_SHAPE: ShapeError,
  ERR_DTYPE: DTypeError,
  ERR_DISPOSED: DisposedError,
  ERR_OUT_OF_MEMORY: OutOfMemoryError,
  ERR_DEVICE: DeviceError,
  ERR_UNSUPPORTED: UnsupportedError,
  ERR_NATIVE: NativeError,
  ERR_ARGUMENT: ArgumentError,
  ERR_CONFIG: ConfigError,
  ERR_DATA: DataError,
  ERR_FORMAT: FormatError,
  ERR_RECIPE: RecipeError,
  ERR_DIVERGED: DivergedError,
  ERR_CHECKPOINT: CheckpointError,
  ERR_LOCKED: LockedError,
  ERR_GROUP: GroupError,
  ERR_ABORTED: AbortedError,
  ERR_FILE: FileError,
  ERR_HUB: HubError,
  ERR_REQUEST: RequestError,
}

/**
 * How a complaint about a word that is not `known` ends: what was probably meant, else all there is. Edit distance is
 * ours and no package, since this file is loaded with lateforge, which loads none.
 */
export function didYouMean(word: string, known: Iterable<string>): string {
  const names = [...known]
  const near = nearest(word, names)
  return near === undefined ? `expected one of ${names.join(', ')}` : `did you mean "${near}"?`
}

/** The nearest of `known` to a misspelled word, or undefined if none is near (edit distance ≤ a third of its length). */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1
  for (const candidate of known) {
    const distance = editDistance(word, candidate)
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best
}

/** Insertions, deletions, substitutions and swaps of neighbours. */
function editDistance(a: string, b: string): number {
  let before: number[] = []
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitute = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      next.push(Math.min(substitute, row[j]! + 1, next[j - 1]! + 1, swapped ? before[j - 2]! + 1 : substitute))
    }
    before = row
    row = next
  }
  return row[b.length]!
}
