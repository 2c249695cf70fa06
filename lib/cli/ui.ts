import { serveRun } from '../report/live.js'
import { interruptible, print } from './common.js'

/** `lateforge ui <run>`: until it is interrupted. */
export async function ui(folder: string, options: { port: number; queries: number; device: string }): Promise<void> {
  const signal = interruptible('closing the page')
  const live = await serveRun(folder, options)
  print(live.url)
  process.stderr.write('The page follows the run. Ctrl-C closes it; the run goes on\n')
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
  await live.close()
}
