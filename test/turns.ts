/** How often the event loop came round while something ran; and what that gave. */
export async function turnsDuring<T>(run: () => Promise<T>): Promise<{ turns: number; result: T }> {
  let turns = 0
  const count = () => {
    turns++
    immediate = setImmediate(count)
  }
  let immediate = setImmediate(count)
  try {
    const result = await run()
    return { result, turns }
  } finally {
    clearImmediate(immediate)
  }
}
