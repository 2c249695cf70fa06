// @ts-check
/** lateforge as a route of Next. The handler is the route: `next.config.mjs` beside `app` says what Next has to know. */
import { Colbert } from 'lateforge'
import { createHandler } from 'lateforge/serve'

export const runtime = 'nodejs'
export const dynamic = 'force-dynamic'

/** Made by the first request: `next build` imports this file too, perhaps where there is no model. */
const opened = async () => {
  const model = await Colbert.load(process.env.RETRIEVAL_MODEL ?? 'model')
  return createHandler(model, { basePath: '/api/retrieval' })
}

/** @type {Promise<import('lateforge/serve').Handler> | undefined} */
let handler

/** @param {Request} request */
async function retrieval(request) {
  handler ??= opened()
  return (await handler)(request)
}

export { retrieval as GET, retrieval as HEAD, retrieval as POST }
