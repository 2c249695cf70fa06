// @ts-check
/** lateforge as routes of Hono. Needs: npm install hono @hono/node-server */
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { atTheEnd, served } from './served.js'

const { handler, close, port } = await served('/retrieval')
const app = new Hono()
app.get('/', (context) => context.text('a page of your own'))
app.all('/retrieval/*', (context) => handler(context.req.raw))

const server = serve({ fetch: app.fetch, port, hostname: '127.0.0.1' }, ({ port }) =>
  console.log(`http://127.0.0.1:${port}/retrieval`),
)
atTheEnd(async () => {
  server.close()
  await close()
})
