// @ts-check
/** lateforge as routes of Fastify. Needs: npm install fastify */
import Fastify from 'fastify'
import { nodeListener } from 'lateforge/serve'
import { atTheEnd, served } from './served.js'

const { handler, close, port } = await served('/retrieval')
const app = Fastify()
app.get('/', () => 'a page of your own\n')
app.register(async (routes) => {
  // The handler reads bodies itself, within its limits: Fastify hands them on as they come.
  routes.removeAllContentTypeParsers()
  routes.addContentTypeParser('*', (_request, _payload, done) => done(null))
  const retrieval = nodeListener(handler)
  routes.all('/retrieval/*', (request, reply) => {
    reply.hijack()
    retrieval(request.raw, reply.raw)
  })
})
app.addHook('preClose', close)
await app.listen({ port, host: '127.0.0.1' })
console.log(`${app.listeningOrigin}/retrieval`)
atTheEnd(() => app.close())
