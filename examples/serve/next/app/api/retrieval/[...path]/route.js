// @ts-check
/** lateforge as a route of Next. The handler is the route: `next.config.js` beside `app` says what Next has to know. */
import { Colbert } from 'lateforge'
import { createHandler } from 'lateforge/serve'

export const runtime = 'nodejs'
export const dynamic = 'force-dynamic'

const model = await Colbert.load(process.env.RETRIEVAL_MODEL ?? 'model')
const handler = createHandler(model, { basePath: '/api/retrieval' })

export { handler as GET, handler as POST }
