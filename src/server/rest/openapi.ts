/** The OpenAPI 3.1 document, made from the routes table by @fastify/swagger in a server that never listens. */
import swagger from '@fastify/swagger'
import Fastify from 'fastify'
import { Problem, problemMediaType } from '../../contracts/problem.ts'
import { eventStreamPath, routes, type Route, type RouteName } from '../../contracts/routes.ts'
import { Strict, Type, type TSchema } from '../../contracts/schema.ts'

const about = `The API of a Holdfast manager.

Sign in with \`Authorization: Bearer TOKEN\`. Errors are problem documents (RFC 9457) with a stable \`code\`; the page
/docs/problems lists them. Calls that take time answer 202 with a task: follow it with \`GET /v1/tasks/{task}?waitSeconds=60\`.
Every POST may bear an \`Idempotency-Key\`: the same key with the same request is answered as the first time, for a day.
Lists are paged by \`limit\` and \`after\`, and bear the \`revision\` from which the event stream can be followed.`

const groups: Record<string, string> = {
  cluster: 'The cluster as a whole',
  hosts: 'The machines that run VMs',
  vms: 'Virtual machines, their power, moves and consoles',
  storage: 'Datastores, images and uploads',
  networks: 'Networks (port groups)',
  tasks: 'Operations that run or have run',
  events: 'Every change',
  access: 'Tokens and sessions',
}

export async function openApiDocument(version: string): Promise<Record<string, unknown>> {
  const server = Fastify()
  // Nothing is validated or sent here: the schemas are only described.
  server.setValidatorCompiler(() => () => true)
  server.setSerializerCompiler(() => () => '')
  await server.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Holdfast',
        version,
        description: about,
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      tags: Object.entries(groups).map(([name, description]) => ({ name, description })),
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
      security: [{ token: [] }],
    },
  })
  for (const name of Object.keys(routes) as RouteName[]) {
    const route: Route = routes[name]
    server.route({
      method: route.method,
      url: route.path.replaceAll(/\{([a-zA-Z]+)\}/g, ':$1'),
      schema: schemaOf(name, route),
      handler: async () => null,
    })
  }
  server.get(eventStreamPath, { schema: eventStreamSchema }, async () => null)
  await server.ready()
  // As JSON alone: schemas carry marks of their library that are no part of the document.
  return JSON.parse(JSON.stringify(server.swagger())) as Record<string, unknown>
}

function schemaOf(name: RouteName, route: Route): Record<string, unknown> {
  const names = [...route.path.matchAll(/\{([a-zA-Z]+)\}/g)].map((match) => match[1] ?? '')
  const isUpload = name === 'appendUpload'
  return {
    operationId: name,
    summary: route.summary,
    description: roleText(route),
    tags: [route.group],
    ...(route.role === null ? { security: [] } : {}),
    ...(names.length === 0
      ? {}
      : { params: Strict(Object.fromEntries(names.map((each) => [each, Type.String({ description: 'its id' })]))) }),
    ...(route.query === undefined ? {} : { querystring: route.query }),
    ...(route.body === undefined ? {} : { body: route.body }),
    ...(isUpload ? { consumes: ['application/octet-stream'], body: bytes } : {}),
    ...(route.method === 'POST' ? { headers: Type.Object({ 'idempotency-key': idempotencyKey }) } : {}),
    response: { [route.status]: answerOf(route), default: problemAnswer },
  }
}

const bytes = { type: 'string', contentMediaType: 'application/octet-stream' }
const idempotencyKey = Type.Optional(Type.String({ description: 'makes the request repeatable' }))
const problemAnswer = {
  description: 'A problem document',
  content: { [problemMediaType]: { schema: Problem } },
}

function answerOf(route: Route): Record<string, unknown> | TSchema {
  if (route.status === 204) return { description: 'Done', type: 'null' }
  const { contentMediaType } = route.response as { contentMediaType?: string }
  const mediaType = contentMediaType ?? 'application/json'
  const words = { 200: 'The answer', 201: 'What was made', 202: 'The task that does it' }
  return { description: words[route.status], content: { [mediaType]: { schema: route.response } } }
}

function roleText(route: Route): string {
  return route.role === null ? 'Open to all.' : `Needs the role ${route.role}.`
}

const eventStreamSchema = {
  operationId: 'streamEvents',
  summary: 'Events as they happen (text/event-stream)',
  description:
    'Each message has `id: REVISION.SEQUENCE` and an event as its data. `Last-Event-ID` (or `?after=`) resumes; a message ' +
    'named `relist` says that the place is no longer kept: read the lists anew. Needs the role reader.',
  tags: ['events'],
  querystring: Strict({ after: Type.Optional(Type.String({ description: 'REVISION.SEQUENCE' })) }),
  response: {
    200: { description: 'The stream', content: { 'text/event-stream': { schema: Type.String() } } },
    default: problemAnswer,
  },
}
