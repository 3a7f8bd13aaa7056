/** The REST API: the routes table with its handlers. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Readable } from 'node:stream'
import { HoldfastError } from '../../base/errors.ts'
import { routes, type Route, type RouteName } from '../../contracts/routes.ts'
import { Strict } from '../../contracts/schema.ts'
import { secretRoutes, type CallContext, type SpecialRoute } from '../../manager/app/api.ts'
import type { Manager } from '../../manager/app/manager.ts'
import type { Caller, Pledge } from '../../manager/app/context.ts'
import { checkOrigin, sessionCookie, sessionOf, type Callers } from '../auth/callers.ts'
import type { FailureLimit } from '../auth/failure-limit.ts'
import type { Validation } from './validation.ts'

export interface RestParts {
  readonly manager: Manager
  readonly callers: Callers
  readonly failures: FailureLimit
  readonly validation: Validation
}

const noQuery = Strict({})
type AnyHandler = (call: unknown, context: CallContext) => Promise<unknown>
type AnyReady = (call: unknown) => Promise<string | Buffer>

export function installRoutes(server: FastifyInstance, parts: RestParts): void {
  server.addContentTypeParser('application/octet-stream', (_request, payload, done) => done(null, payload))
  for (const name of Object.keys(routes) as RouteName[]) {
    if (name === 'appendUpload' || name === 'signIn' || name === 'signOut') installSpecial(server, parts, name)
    else install(server, parts, name)
  }
}

function install(server: FastifyInstance, parts: RestParts, name: Exclude<RouteName, SpecialRoute>): void {
  const route: Route = routes[name]
  const handler = parts.manager.api[name] as AnyHandler
  const ready = (parts.manager.ready as Partial<Record<RouteName, AnyReady>>)[name]
  server.route({
    method: route.method,
    url: urlOf(route),
    onRequest: async (request) => {
      if (route.role !== null) request.caller = await parts.callers.need(request, route.role)
    },
    handler: async (request, reply) => {
      const call = readCall(route, parts.validation, request)
      if (ready !== undefined) return sendJson(reply, route, await ready(call))
      const caller = request.caller ?? nobody
      const context: CallContext = { caller, signal: goneSignal(reply) }
      const run = async (pledge?: Pledge): Promise<unknown> =>
        handler(call, pledge === undefined ? context : { ...context, caller: { ...caller, pledge } })
      const key = request.headers['idempotency-key']
      if (route.method !== 'POST' || typeof key !== 'string') return send(reply, route, await run())
      const keyed = {
        ...{ key, caller, method: route.method, path: request.url, body: call.body, status: route.status },
        hasSecretAnswer: secretRoutes.has(name),
      }
      return send(reply, route, await parts.manager.idempotency.once(keyed, run))
    },
  })
}

function installSpecial(server: FastifyInstance, parts: RestParts, name: SpecialRoute): void {
  const route: Route = routes[name]
  const handlers = { appendUpload, signIn, signOut }
  server.route({
    method: route.method,
    url: urlOf(route),
    onRequest: async (request) => {
      if (route.role !== null) request.caller = await parts.callers.need(request, route.role)
    },
    handler: (request, reply) => handlers[name](parts, route, request, reply),
  })
}

async function appendUpload(
  parts: RestParts,
  route: Route,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<unknown> {
  if (!(request.body instanceof Readable)) {
    throw new HoldfastError('invalid-request', 'a piece of an upload is sent as application/octet-stream')
  }
  const query = parts.validation.check(route.query ?? noQuery, 'querystring', request.query) as { offset: number }
  const { upload } = request.params as { upload: string }
  return reply.send(await parts.manager.uploads.append(upload, query.offset, request.body))
}

async function signIn(parts: RestParts, route: Route, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  checkOrigin(request)
  const { code } = parts.validation.check(route.body ?? noQuery, 'body', request.body) as { code: string }
  const { session, maxAgeMs } = await parts.manager.access.signIn(code).catch((thrown: unknown) => {
    throw thrown instanceof HoldfastError ? parts.failures.failed(request.ip, thrown) : thrown
  })
  return reply
    .code(204)
    .header('set-cookie', cookie(session, Math.floor(maxAgeMs / 1000)))
    .send()
}

async function signOut(
  parts: RestParts,
  _route: Route,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<unknown> {
  checkOrigin(request)
  const session = sessionOf(request)
  if (session !== undefined) await parts.manager.access.signOut(session)
  return reply.code(204).header('set-cookie', cookie('', 0)).send()
}

function cookie(value: string, maxAgeSeconds: number): string {
  return `${sessionCookie}=${value}; Path=/; Max-Age=${maxAgeSeconds}; HttpOnly; Secure; SameSite=Strict`
}

/** Validated; a request without a body where one may be empty counts as `{}`. */
function readCall(
  route: Route,
  validation: Validation,
  request: FastifyRequest,
): { params: unknown; query: unknown; body?: unknown } {
  const query = validation.check(route.query ?? noQuery, 'querystring', request.query)
  if (request.body instanceof Readable) {
    throw new HoldfastError('invalid-request', 'this takes application/json', { mend: 'Send a JSON document.' })
  }
  if (route.body === undefined) return { params: request.params, query }
  return { params: request.params, query, body: validation.check(route.body, 'body', request.body ?? {}) }
}

function send(reply: FastifyReply, route: Route, body: unknown): FastifyReply {
  if (route.status === 204) return reply.code(204).send()
  if (body instanceof Uint8Array) return reply.code(200).type('image/png').send(Buffer.from(body))
  return sendJson(reply, route, JSON.stringify(body))
}

function sendJson(reply: FastifyReply, route: Route, text: string | Buffer): FastifyReply {
  return reply.code(route.status).type('application/json; charset=utf-8').send(text)
}

/** `/v1/vms/{vm}` as the router writes it: `/v1/vms/:vm`. */
function urlOf(route: Route): string {
  return route.path.replaceAll(/\{([a-zA-Z]+)\}/g, ':$1')
}

function goneSignal(reply: FastifyReply): AbortSignal {
  const gone = new AbortController()
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort(new HoldfastError('cancelled', 'the caller has gone away'))
  })
  return gone.signal
}

const nobody: Caller = { name: 'nobody', role: 'reader', id: 'nobody' }

declare module 'fastify' {
  interface FastifyRequest {
    /** Who was identified by `onRequest`; undefined on routes that are open to all. */
    caller: Caller | undefined
  }
}
