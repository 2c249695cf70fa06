// @ts-check
/** What all of the examples rank, and with which model. */
export const query = 'which fruit has vitamin c'
export const documents = [
  'late interaction keeps a vector for each token',
  'oranges are a fruit rich in vitamin c',
  'a table has four legs',
  'vitamin d comes from the sun',
]

const [given] = process.argv.slice(2)
if (!given) throw new Error('usage: node EXAMPLE.js MODEL-FOLDER')
/** Folder of a ColBERT, or its name on the Hub. */
export const folder = given
