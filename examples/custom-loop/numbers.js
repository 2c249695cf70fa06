// @ts-check
/** The text: a number in words is the query, its digits are the document. Small, and it needs no download. */

const ones = [
  ...['', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten', 'eleven', 'twelve'],
  ...['thirteen', 'fourteen', 'fifteen', 'sixteen', 'seventeen', 'eighteen', 'nineteen'],
]
const tens = ['', '', 'twenty', 'thirty', 'forty', 'fifty', 'sixty', 'seventy', 'eighty', 'ninety']

/** @param {number} n from 1 to 9,999 @returns {string} */
export function inWords(n) {
  if (n >= 1000) return `${inWords(Math.floor(n / 1000))} thousand ${n % 1000 ? inWords(n % 1000) : ''}`.trim()
  if (n >= 100) return `${ones[Math.floor(n / 100)]} hundred ${inWords(n % 100)}`.trim()
  return n < 20 ? (ones[n] ?? '') : `${tens[Math.floor(n / 10)]} ${ones[n % 10]}`.trim()
}

/** @param {number} n @returns {string} its digits, a token each: "4 0 7" */
export const inDigits = (n) => [...String(n)].join(' ')

/** 1 to 9,999 without every tenth number, which is held out. @returns {{ query: string, documents: string[] }[]} */
export const trainingRows = () =>
  range.filter((n) => n % 10 !== 3).map((n) => ({ query: inWords(n), documents: [inDigits(n)] }))

/** The numbers that training never sees. */
export const heldOut = () => range.filter((n) => n % 10 === 3)

const range = Array.from({ length: 9999 }, (_, i) => i + 1)
