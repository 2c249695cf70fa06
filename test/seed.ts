/**
 * The seed of a test file that draws random numbers: `LATEFORGE_TEST_SEED` when it is set, 1 in CI, else a fresh one. It
 * is printed, so that any failure can be repeated. The host emulation (`cuda-host`) schedules by it too.
 * test/native/seed.h follows the same rule.
 */
import t from 'tap'

const given = process.env.LATEFORGE_TEST_SEED ?? (process.env.CI ? '1' : undefined)

export const seed = given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given)
if (!Number.isSafeInteger(seed) || seed < 0)
  throw new Error(`LATEFORGE_TEST_SEED is "${given}", expected a whole number`)
t.comment(`LATEFORGE_TEST_SEED=${seed}`)
process.env.LATEFORGE_EMULATION_SEED ??= `${seed}` // read when the library of the emulation is first used
