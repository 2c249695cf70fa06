/** A model behind HTTP: a function from a Web request to a Web response, and a server with it. */

export type { TokenMatch } from '../indexing/index.js'
export { createHandler, type Handler } from './handler.js'
export { type FetchHandler, type Listening, type ListenOptions, listen, nodeListener } from './node.js'
export type { HandlerOptions } from './options.js'
export type * from './types.js'
