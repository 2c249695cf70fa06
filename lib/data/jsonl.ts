/** Files of one JSON value per line, also packed with gzip. */
import { DataError } from '../errors.js'
import { lineBatches } from '../io/lines.js'
import type { Layout, RowReader, TextRow } from './rows.js'

/** A line of a file: what it holds, and `file:line`. */
export interface JsonLine {
  value: unknown
  where: string
}

/** The values of a file; blank lines are none. @throws DataError ERR_DATA with file and line */
export async function* jsonLines(file: string): AsyncGenerator<JsonLine> {
  let number = 0
  for await (const lines of lineBatches(file))
    for (const line of lines) if (++number && line.trim() !== '') yield parseLine(line, file, number)
}

function parseLine(line: string, file: string, number: number): JsonLine {
  const where = `${file}:${number}`
  try {
    return { value: JSON.parse(line), where }
  } catch (cause) {
    const problem = `${where}: not valid JSON: ${(cause as Error).message}`
    throw new DataError('ERR_DATA', problem, { file, line: number }, { cause })
  }
}

/** Training rows of a file. Its lines may differ in their columns; `seen` gets the names of all. */
export async function* jsonRows(file: string, reader: RowReader, seen: Set<string>): AsyncGenerator<TextRow> {
  const layouts = new Map<string, Layout>()
  const layoutOf = (names: readonly string[], where: string): Layout => {
    const key = JSON.stringify(names)
    let layout = layouts.get(key)
    if (layout === undefined) {
      layout = reader.layoutOf(names, where)
      layouts.set(key, layout)
      for (const name of names) seen.add(name)
    }
    return layout
  }
  for await (const { value, where } of jsonLines(file)) {
    if (Array.isArray(value)) yield* reader.positional(value, where)
    else if (typeof value !== 'object' || value === null)
      throw new DataError('ERR_DATA', `${where}: expected a JSON object, or a list [query, positive, negative …].`, {
        where,
      })
    else {
      const values = value as Record<string, unknown>
      const names = Object.keys(values)
      yield* reader.rows(values, layoutOfRow(values, names, where, layoutOf), where)
    }
  }
}

/** What is null may be of another layout, which the row is not of: then it does not count. */
function layoutOfRow(
  values: Readonly<Record<string, unknown>>,
  names: readonly string[],
  where: string,
  layoutOf: (names: readonly string[], where: string) => Layout,
): Layout {
  const given = names.filter((name) => values[name] !== null)
  if (given.length === names.length) return layoutOf(names, where)
  try {
    return layoutOf(names, where)
  } catch {
    return layoutOf(given, where)
  }
}
