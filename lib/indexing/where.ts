/** Tests of metadata as data, in the notation that MongoDB has and vector databases took over: `{ year: { $gte: 1990 } }`. */
import { ArgumentError, didYouMean } from '../errors.js'
import { checkOptions, flag, type Kinds, kind, list, object } from '../options.js'
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

const value = kind(
  'a text, a number, true, false or null',
  (v) => v === null || ['string', 'number', 'boolean'].includes(typeof v),
)
const ordered = kind('a text or a number', (v) => typeof v === 'string' || typeof v === 'number')
const fieldTests: Kinds<FieldTests> = {
  ...{ $eq: value, $ne: value, $gt: ordered, $gte: ordered, $lt: ordered, $lte: ordered },
  ...{ $in: list(value), $nin: list(value), $exists: flag },
}
const joints = ['$and', '$or', '$nor']
/** Levels of those: more overflow the stack some day. */
const deepest = 32

/** @returns how many values a document is compared with. @throws ArgumentError ERR_ARGUMENT that names what is no test */
export function checkWhere(where: unknown, depth = 0): number {
  const fail = (message: string) => new ArgumentError('ERR_ARGUMENT', `where: ${message}`)
  if (!object.is(where) || Object.keys(where as object).length === 0)
    throw fail('expected fields with values or tests, as { "language": "de" }')
  if (depth > deepest) throw fail(`more than ${deepest} levels of $and, $or and $nor`)
  let values = 0
  for (const [field, wanted] of Object.entries(where as object)) {
    if (joints.includes(field)) {
      if (!Array.isArray(wanted) || wanted.length === 0) throw fail(`${field} has no list of tests`)
      for (const inner of wanted) values += checkWhere(inner, depth + 1)
    } else if (field.startsWith('$')) throw fail(`there is no "${field}", ${didYouMean(field, joints)}`)
    else if (value.is(wanted)) values++
    else {
      if (!object.is(wanted) || Object.keys(wanted).length === 0)
        throw fail(`"${field}" has neither ${value.expected}, nor tests, as { "$in": ["de", "en"] }`)
      checkOptions(`where: "${field}"`, wanted as FieldTests, fieldTests)
      for (const [name, operand] of Object.entries(wanted)) {
        if (operand === undefined) throw fail(`"${field}": ${name} is undefined; leave it out`)
        values += Array.isArray(operand) ? operand.length : 1
      }
    }
  }
  return values
}

/** What a document's metadata are tested with. @throws ArgumentError ERR_ARGUMENT */
export function testOf(where: Where): (metadata: Metadata) => boolean {
  checkWhere(where)
  const sift = loadPackage<typeof import('sift')>('sift')
  // Only these: others run code or regular expressions, which take as long as they like.
  const { $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $and, $or, $nor } = sift
  const operations = { $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists, $and, $or, $nor }
  return sift.createQueryTester(where as Record<string, unknown>, { operations })
}
