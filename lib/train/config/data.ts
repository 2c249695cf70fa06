/** The data of a phase, as a config has it. */
import { resolve } from 'node:path'
import { z } from 'zod'
import { type DataEntry, isSource, type Source } from '../../data/sources.js'
import type { TableFiles } from '../../data/table-files.js'
import { isObject } from '../../distributed/differences.js'
import { homed, pathProblem } from '../../environment.js'
import type { ResolvedPhase } from './types.js'

/** A string, or those of a list, that are paths: their `~` is the home folder. Everything else is left as it is. */
export const paths = <T>(schema: z.ZodType<T>) =>
  schema.transform((value, context): T => {
    const list = (Array.isArray(value) ? value : [value]) as unknown[]
    const problem = list.map((item) => typeof item === 'string' && pathProblem(item)).find(Boolean)
    if (problem) {
      context.addIssue({ code: 'custom', message: problem })
      return z.NEVER
    }
    const known = list.map((item) => (typeof item === 'string' ? homed(item) : item))
    return (Array.isArray(value) ? known : known[0]) as T
  })

const name = z.string().min(1)
const files = paths(z.union([name, z.array(name).min(1)], { error: 'expected a file pattern, or a list of them' }))

export const column = z.strictObject({
  query: name.optional(),
  positive: name.optional(),
  negatives: z.union([name, z.array(name)], { error: 'expected a column, or a list of them' }).optional(),
  documents: name.optional(),
  scores: z
    .union([name, z.tuple([name, name])], { error: 'expected a column, or two: of the positives and of the negatives' })
    .optional(),
})

export const table = z.strictObject({ files, id: name.optional(), text: name.optional() })

const tableOf = z
  .unknown()
  .transform((value, context): string | readonly string[] | TableFiles =>
    isObject(value) && !Array.isArray(value) ? forward(table, value, context) : forward(files, value, context),
  )

export const entry = z.strictObject({
  name: name.optional(),
  files,
  columns: column.optional(),
  queries: tableOf.optional(),
  documents: tableOf.optional(),
  config: name.optional(),
  split: name.optional(),
  revision: name.optional(),
})

const expected = 'expected a file pattern, { files }, a list of them or, from TypeScript, sources'

/** As a list, and one of them or many: an issue is where its value is. */
export const data = z.unknown().transform((value, context): ResolvedPhase['data'] => {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) {
    context.addIssue({ code: 'custom', message: expected })
    return z.NEVER
  }
  if (!Array.isArray(value)) return [item(value, context, [])]
  return value.map((given, i) => item(given, context, [i]))
})

function item(value: unknown, context: z.RefinementCtx, at: number[]): string | DataEntry | Source {
  if (isObject(value) && isSource(value as never)) return value as unknown as Source
  if (isObject(value)) return forward(entry, value, context, at)
  if (typeof value === 'string' && value !== '') return forward(paths(name), value, context, at)
  context.issues.push({ code: 'custom', input: value, path: at, message: expected })
  return z.NEVER
}

/** What a schema makes of a value, with its issues at the places where they are; those of a union have none. */
function forward<T>(schema: z.ZodType<T>, value: unknown, context: z.RefinementCtx, at: number[] = []): T {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  for (const issue of parsed.error.issues)
    context.issues.push({ ...issue, path: [...at, ...issue.path], input: value } as never)
  return z.NEVER
}

/** With absolute paths, which mean the same wherever a run is resumed; an object is what stands for it. */
export function absolute(given: string | DataEntry | Source): unknown {
  const path = (file: string): string => (file.startsWith('hf://') ? file : resolve(file))
  const each = (list: string | readonly string[]) => (typeof list === 'string' ? path(list) : list.map(path))
  if (typeof given === 'string') return path(given)
  if (isSource(given)) return { object: given.name }
  const tableAt = (table: DataEntry['queries']) =>
    isObject(table) && !Array.isArray(table)
      ? { ...(table as TableFiles), files: each((table as TableFiles).files) }
      : each(table as string)
  return {
    ...given,
    files: each(given.files),
    ...(given.queries && { queries: tableAt(given.queries) }),
    ...(given.documents && { documents: tableAt(given.documents) }),
  }
}
