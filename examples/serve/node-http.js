// @ts-check
/** lateforge beside routes of your own in `node:http`. */
import { createServer } from 'node:http'
import { nodeListener } from 'lateforge/serve'
import { atTheEnd, served } from './served.js'

const { handler, close, port } = await served('/retrieval')
const retrieval = nodeListener(handler)
const server = createServer((request, response) => {
  if (request.url?.startsWith('/retrieval/')) return retrieval(request, response)
  response.end('a page of your own\n')
})
server.listen(port, '127.0.0.1', () => {
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  console.log(`http://127.0.0.1:${port}/retrieval`)
})
atTheEnd(async () => {
  server.close()
  server.closeIdleConnections()
  await close()
})
