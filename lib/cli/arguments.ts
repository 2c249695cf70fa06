/** What options and arguments of the command line have in common. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { homed } from '../environment.js'

export const whole = (text: string): number => {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('Expected a whole number above 0.')
  return Number(text)
}

export const fromZero = (text: string): number => (text === '0' ? 0 : whole(text))

export const positive = (text: string): number => {
  if (!(Number(text) > 0)) throw new InvalidArgumentError('Expected a number above 0.')
  return Number(text)
}

/** One of these; a shell completes them. */
export const choice = (names: readonly string[]): ((text: string) => string) & { names: readonly string[] } =>
  Object.assign(
    (text: string) => {
      if (!names.includes(text)) throw new InvalidArgumentError(`Expected ${names.join(' or ')}.`)
      return text
    },
    { names },
  )

/** An option that does nothing beside one of `others`, so that both together are a mistake. */
export const without = (others: string[], flags: string, description: string): Option =>
  new Option(flags, description).conflicts(others)

/** An object, written as JSON. */
export const json = (text: string): object => {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  } catch {}
  throw new InvalidArgumentError(`Expected JSON in quotes of the shell, as '{ "year": { "$gte": 1990 } }'.`)
}

/** Fields of documents that are kept. */
export const keepingMetadata = (command: Command): Command =>
  command.option(
    '--metadata <fields>',
    'fields of documents that are kept beside them, as year,language, with what "metadata" has; not of a text file',
    listed,
  )

export const allHomed = (path: string, before: string[] = []): string[] => [...before, homed(path)]

export const listed = (text: string, before: string[] = []): string[] => [
  ...before,
  ...text.split(',').map((x) => x.trim()),
]
export const collected = (text: string, before: string[] = []): string[] => [...before, text]

export const acceptRecipeChange = (): Option =>
  new Option(
    '--accept-recipe-change <fields>',
    'fields of the recipe that may differ from what the model was trained with, as queryPrompt,documentPrompt',
  ).argParser(listed)

/** The model that a verb is about. */
export const ofModel = (command: Command): Command =>
  command.argument('<model>', 'folder of the model, or its name on the Hub: org/name[@revision]', homed)

/** The options of `ModelOptions`. */
export const usingModel = (command: Command): Command =>
  command
    .option('--device <name>', 'where the model runs', 'cpu')
    .option(
      '--precision <name>',
      'float32, bfloat16 (the default on a GPU) or int8',
      choice(['float32', 'bfloat16', 'int8']),
    )
    .option('--dense', 'the model is a dense one, with one vector a text')
    .option('--recipe <field=value>', "instead of the model's, as queryLength=64; may be repeated", collected)
    .addOption(acceptRecipeChange())

export const port = (text: string): number => {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) throw new InvalidArgumentError('Expected a port, 0 to 65535.')
  return Number(text)
}
export const ranks = (text: string): [number, number] => {
  const [, from, to] = /^([1-9]\d*)-([1-9]\d*)$/.exec(text) ?? []
  if (!(Number(from) <= Number(to))) throw new InvalidArgumentError('Expected two ranks, from 1: as 10-100.')
  return [Number(from), Number(to)]
}

export const number = (text: string): number => {
  if (text.trim() === '' || !Number.isFinite(Number(text))) throw new InvalidArgumentError('Expected a number.')
  return Number(text)
}

/** The options of `ReadingOptions`. */
export const readingData = (command: Command): Command =>
  command
    .option(
      '--columns <role=column>',
      'which column is query, positive, negatives or documents; may be repeated',
      collected,
    )
    .option('--queries <files>', 'the query column holds ids, of this table', homed)
    .option('--documents <files>', 'the columns of documents hold ids, of this table', homed)
    .option('--config <name>', 'configuration of a data set of the Hub')
    .option('--split <name>', 'split of a BEIR folder, or of a data set of the Hub; default train')
    .option('--revision <name>', 'of a data set of the Hub')
