/** Whether tests take the time for all of what they can do: `node test/run.mjs long`, which CI runs. Without it they do less. */
export const long = process.env.LATEFORGE_TEST_LONG === '1'
