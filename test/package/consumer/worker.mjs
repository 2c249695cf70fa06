import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'

// Two at once, while the thread that started them imports lateforge too: each has an environment of its own.
if (isMainThread) {
  const folders = [1, 2].map((number) => `${process.argv[2]}${number}`)
  const answers = folders.map(
    (folder) =>
      new Promise((resolve, reject) => {
        const worker = new Worker(new URL(import.meta.url), { workerData: folder })
        worker.once('message', resolve)
        worker.once('error', reject)
        worker.once('exit', (code) => reject(new Error(`the worker ended with exit code ${code}`)))
      }),
  )
  await import('lateforge')
  const [first, second] = (await Promise.all(answers)).map((values) => JSON.stringify(values))
  if (first !== second) throw new Error(`two workers, two answers: ${first} and ${second}`)
  console.log(first)
} else {
  const { embed } = await import('./embed.mjs')
  parentPort.postMessage(await embed(await import('lateforge'), await import('lateforge/maxsim'), workerData))
}
