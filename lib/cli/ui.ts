import { serveRun } from '../report/live.js'
import { interruptible, print, printJson } from './common.js'

/** `lateforge ui <run>`: until it is interrupted. */
export async function ui(
  folder: string,
  { json, ...options }: { port: number; queries: number; device: string; json?: boolean },
): Promise<void> {
  const signal = interruptible('closing the page')
  const live = await serveRun(folder, options)
  if (json) printJson({ url: live.url, run: folder, pid: process.pid })
  else print(live.url)
  process.stderr.write('The page follows the run. Ctrl-C closes it; the run goes on\n')
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
  await live.close()
}
