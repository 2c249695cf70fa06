import { z } from 'zod'
import { looks, works } from './endpoints.js'
import { statuses } from './refusal.js'
import type { Schemas } from './schemas.js'

const reference = (name: string) => ({ $ref: `#/components/schemas/${name}` })
const json = (schema: object) => ({ 'application/json': { schema } })

/** Answers that are no success, for whoever writes a client: by status the reasons that it may have. */
function refusals(): Record<string, object> {
  const reasons = new Map<number, string[]>()
  for (const [reason, status] of Object.entries(statuses))
    if (reason !== 'left') reasons.set(status, [...(reasons.get(status) ?? []), reason])
  const headers = { 'Retry-After': { description: 'seconds', schema: { type: 'integer' } } }
  return Object.fromEntries(
    [...reasons].map(([status, names]) => [
      `${status}`,
      {
        description: names.join(', '),
        ...((status === 429 || status === 503) && { headers }),
        content: json(reference('ErrorResponse')),
      },
    ]),
  )
}

/** The description of all that is served, made of the schemas that requests are checked by. */
export function openApiOf(schemas: Schemas, { version, basePath, auth }: OpenApiFacts): object {
  const registry = z.registry<{ id: string }>()
  for (const [id, schema] of Object.entries(schemas)) registry.add(schema as z.ZodType, { id })
  const made = z.toJSONSchema(registry, { uri: (id) => reference(id).$ref }).schemas
  const components = Object.fromEntries(
    Object.entries(made).map(([id, { $schema: _, $id: __, ...schema }]) => [id, schema]),
  )
  const security = (open: boolean) => (auth && open ? { security: [] } : {})
  const paths: Record<string, object> = {}
  for (const { paths: all, request, response, binary, summary } of works)
    for (const path of all)
      paths[basePath + path] = {
        post: {
          ...{ summary, operationId: path.slice(1).replaceAll('/', '_') },
          requestBody: { required: true, content: json(reference(request)) },
          responses: {
            200: {
              description: 'done',
              content: {
                ...json(reference(response)),
                ...(binary && { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } }),
              },
            },
            ...refusals(),
          },
        },
      }
  for (const [name, { path, open, type, summary }] of Object.entries(looks)) {
    const schema =
      name === 'health' || name === 'ready'
        ? reference('HealthResponse')
        : { type: type === 'text/plain' ? 'string' : 'object' }
    const description = 'done'
    const unready = name === 'ready' && {
      503: { description: 'nothing new is taken', content: json(reference('HealthResponse')) },
    }
    paths[basePath + path] = {
      get: {
        ...{ summary, operationId: name, ...security(open) },
        responses: { 200: { description, content: { [type]: { schema } } }, ...unready },
      },
    }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'lateforge',
      version,
      description: 'Late-interaction (ColBERT) retrieval',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths,
    components: {
      schemas: components,
      ...(auth && { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } }),
    },
    ...(auth && { security: [{ bearer: [] }] }),
  }
}

interface OpenApiFacts {
  version: string
  basePath: string
  /** Whether a token is asked for. */
  auth: boolean
}
