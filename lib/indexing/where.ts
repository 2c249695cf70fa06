/** Tests of metadata as data, in the notation that MongoDB has and vector databases took over: `{ year: { $gte: 1990 } }`. */
import { ArgumentError, didYouMean } from '../errors.js'
import { loadPackage } from '../packages.js'
import type { Metadata } from './segment.js'

/** What metadata are compared with. */
export type WhereValue = string | number | boolean | null

/** Tests of a field, which must all hold. One that is a list passes where an entry does. */
export interface FieldTests {
  /** Is this. */
  $eq?: WhereValue
  /** Is not this; a field that is not there is not. */
  $ne?: WhereValue
  /** Is greater: numbers than numbers, texts than texts. */
  $gt?: string | number
  /** Is as great or greater. */
  $gte?: string | number
  /** Is less. */
  $lt?: string | number
  /** Is as great or less. */
  $lte?: string | number
  /** Is one of these. */
  $in?: readonly WhereValue[]
  /** Is none of these; a field that is not there is none. */
  $nin?: readonly WhereValue[]
  /** Is there, or not. */
  $exists?: boolean
}

/** Fields with a value or with tests, which must all hold; `$and`, `$or` and `$nor` of several such. `a.b` is field b of field a. */
export interface Where {
  [field: string]: WhereValue | FieldTests | readonly Where[]
}

const isValue = (v: unknown): boolean => v === null || ['string', 'number', 'boolean'].includes(typeof v)
const isOrdered = (v: unknown): boolean => typeof v === 'string' || typeof v === 'number'
const isList = (v: unknown): boolean => Array.isArray(v) && v.every(isValue)
const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v)

const value = { expected: 'a text, a number, true, false or null', is: isValue }
const ordered = { expected: 'a text or a number', is: isOrdered }
const values = { expected: 'a list of texts, numbers, true, false or null', is: isList }
const tests: Record<keyof FieldTests, { expected: string; is(v: unknown): boolean }> = {
  ...{ $eq: value, $ne: value, $gt: ordered, $gte: ordered, $lt: ordered, $lte: ordered, $in: values, $nin: values },
  $exists: { expected: 'true or false', is: (v) => typeof v === 'boolean' },
}
const joints = ['$and', '$or', '$nor']

/** @throws ArgumentError ERR_ARGUMENT that names what is no test */
function check(where: unknown): void {
  const fail = (message: string, details: Record<string, unknown>) =>
    new ArgumentError('ERR_ARGUMENT', `where: ${message}`, details)
  if (!isObject(where) || Object.keys(where).length === 0)
    throw fail(`${JSON.stringify(where)} tests nothing, expected fields with values, as { "language": "de" }`, {
      where,
    })
  for (const [field, wanted] of Object.entries(where)) {
    if (field.startsWith('$')) {
      if (!joints.includes(field)) throw fail(`there is no "${field}", ${didYouMean(field, joints)}`, { field })
      if (!Array.isArray(wanted) || wanted.length === 0)
        throw fail(`${field} is ${JSON.stringify(wanted)}, expected a list of tests`, { field })
      wanted.forEach(check)
      continue
    }
    if (isValue(wanted)) continue
    if (!isObject(wanted) || Object.keys(wanted).length === 0)
      throw fail(`"${field}" is ${JSON.stringify(wanted)}, expected ${value.expected}, or tests as { "$in": [] }`, {
        field,
      })
    for (const [name, operand] of Object.entries(wanted)) {
      const test = Object.hasOwn(tests, name) && tests[name as keyof FieldTests]
      if (!test) throw fail(`"${field}" has "${name}", ${didYouMean(name, Object.keys(tests))}`, { field, name })
      if (!test.is(operand))
        throw fail(`${name} of "${field}" is ${JSON.stringify(operand)}, expected ${test.expected}`, { field, name })
    }
  }
}

/** What a document's metadata are tested with. @throws ArgumentError ERR_ARGUMENT */
export function testOf(where: Where): (metadata: Metadata) => boolean {
  check(where)
  const sift = loadPackage<typeof import('sift')>('sift')
  // Only these: others run code or regular expressions, which take as long as they like.
  const { $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $and, $or, $nor } = sift
  const operations = { $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $and, $or, $nor }
  return sift.createQueryTester(where as Record<string, unknown>, { operations })
}
