/**
 * The typed client of the REST API, over the Network port. Every call is a row of the routes table; errors are
 * HoldfastErrors made from problem documents, and `unreachable` when no answer came (the outcome is then unknown: a call
 * with the same idempotency key may be repeated).
 */
import type { Duplex, Readable } from 'node:stream'
import { HoldfastError } from '../base/errors.ts'
import type { HttpRequest, HttpResponse, Network, TlsIdentity } from '../base/network.ts'
import { readEventStream } from './event-stream.ts'
import { exchange, fillPath, openWebSocket, queryText, readBody, readJson } from './http-exchange.ts'
import type { Event, Upload } from './inventory.ts'
import { routePaths, streamPaths, type RoutePath } from './paths.ts'
import type { CallOf, ReplyOf, RouteName } from './routes.ts'

export interface ClientOptions {
  /** `https://manager:8443`, without a path. */
  readonly url: string
  /** Of all managers: when one does not answer the next is asked, where that cannot do a thing twice. Absent: `url` alone. */
  readonly urls?: readonly string[] | undefined
  readonly token?: string | undefined
  /** The cluster's CA, PEM: the only authority that is believed. Absent: the machine's own list of authorities. */
  readonly ca?: string | undefined
  /** The name that the certificate must bear; default with `ca`: `manager.holdfast`, which every manager's has. */
  readonly serverName?: string | undefined
}

export interface CallOptions {
  /** Ends the call; what the manager does with it is then unknown. */
  readonly signal?: AbortSignal | undefined
  /** Makes a POST repeatable. */
  readonly idempotencyKey?: string | undefined
}

/** What a call takes: `params` only where the path has any, `body` where the route has one. */
export type CallInput<N extends RouteName> = Omit<CallOf<N>, 'params'> &
  (keyof CallOf<N>['params'] extends never ? { params?: undefined } : { params: CallOf<N>['params'] })

type CallArguments<N extends RouteName> =
  Partial<CallInput<N>> extends CallInput<N>
    ? [input?: CallInput<N>, options?: CallOptions]
    : [input: CallInput<N>, options?: CallOptions]

export interface Client {
  /** Calls a route by its name in the table. `ReplyOf` is null where the route answers 204, bytes for a screenshot. */
  call<N extends RouteName>(name: N, ...args: CallArguments<N>): Promise<ReplyOf<N>>
  /**
   * Events after a place (`eventPlace`), or from now on. Ends when the manager closes the stream; throws `unreachable`
   * when it breaks: call again with the place of the last event. `'relist'`: the place is no longer kept, read lists anew.
   */
  events(after: string | undefined, signal: AbortSignal): AsyncIterable<Event | 'relist'>
  /** Appends bytes to an upload at `offset`. Throws `conflict` with `details.offset` when that is not its end. */
  upload(id: string, offset: number, body: Readable | Uint8Array, options?: CallOptions): Promise<Upload>
  /** Opens the console that a ticket's `url` names, as a stream of bytes. */
  openConsole(ticketUrl: string): Promise<Duplex>
}

export function createClient(network: Network, options: ClientOptions): Client {
  const bases = (options.urls ?? [options.url]).map((url) => url.replace(/\/+$/, ''))
  let first = 0
  const tls = tlsOf(options)
  const headers: Record<string, string> =
    options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }
  const send: Send = async (request) => {
    const { path, ...rest } = request
    const common = { ...rest, headers: { ...headers, ...request.headers }, ...(tls === undefined ? {} : { tls }) }
    const patience = bases.length === 1 ? {} : { connectMs: severalConnectMs }
    for (let tried = 1; ; tried++) {
      const at = first
      try {
        return await exchange(network, { ...common, ...patience, url: (bases[at] ?? '') + path })
      } catch (thrown) {
        // One that the caller has given up waiting for is not asked first again either: it may be frozen.
        if (isUnanswered(thrown) || request.signal?.aborted === true) first = (at + 1) % bases.length
        if (tried >= bases.length || !mayAskAnother(thrown, request)) throw thrown
      }
    }
  }
  return {
    call: async (name, ...args) => callRoute(send, routePaths[name], args[0], args[1] ?? {}),
    events: (after, signal) => openEvents(send, after, signal),
    async upload(id, offset, body, callOptions = {}) {
      const response = await send({
        method: 'PUT',
        path: `${fillPath(routePaths.appendUpload.path, { upload: id })}?offset=${offset}`,
        headers: { 'content-type': 'application/octet-stream' },
        body,
        ...signalOf(callOptions),
      })
      return (await readJson(response)) as Upload
    },
    openConsole: (ticketUrl) =>
      openWebSocket(network, (bases[first] ?? '').replace(/^http/, 'ws') + ticketUrl, {
        headers,
        ...(tls === undefined ? {} : { tls }),
      }),
  }
}

/** Where an event stands in the stream: `REVISION.SEQUENCE`. */
export function eventPlace(event: Pick<Event, 'revision' | 'sequence'>): string {
  return `${event.revision}.${event.sequence}`
}

type Send = (request: Omit<HttpRequest, 'tls' | 'url'> & { path: string }) => Promise<HttpResponse>

interface AnyCall {
  readonly params?: unknown
  readonly query?: unknown
  readonly body?: unknown
}

async function callRoute<Reply>(
  send: Send,
  route: RoutePath,
  input: AnyCall = {},
  options: CallOptions,
): Promise<Reply> {
  const { hasBody } = route
  const response = await send({
    method: route.method,
    path:
      fillPath(route.path, (input.params ?? {}) as Record<string, string>) +
      queryText(input.query as Record<string, unknown> | undefined),
    headers: {
      accept: 'application/json, application/problem+json, image/png',
      ...(hasBody ? { 'content-type': 'application/json' } : {}),
      ...(options.idempotencyKey === undefined ? {} : { 'idempotency-key': options.idempotencyKey }),
    },
    ...(hasBody ? { body: JSON.stringify(input.body ?? {}) } : {}),
    ...signalOf(options),
  })
  return (route.isBytes ? await readBody(response.body) : await readJson(response)) as Reply
}

async function* openEvents(
  send: Send,
  after: string | undefined,
  signal: AbortSignal,
): AsyncGenerator<Event | 'relist'> {
  const response = await send({
    method: 'GET',
    path: streamPaths.events,
    headers: { accept: 'text/event-stream', ...(after === undefined ? {} : { 'last-event-id': after }) },
    signal,
  })
  yield* readEventStream(response.body, signal)
}

function signalOf(options: CallOptions): { signal?: AbortSignal } {
  return options.signal === undefined ? {} : { signal: options.signal }
}

/** With several managers one that is silent is not waited for. */
const severalConnectMs = 2000
const neverArrived = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN', 'ECONNLATE'])

function isUnanswered(thrown: unknown): thrown is HoldfastError {
  return thrown instanceof HoldfastError && thrown.isUnknown
}

/** Whether the same may be asked of another manager without being done twice. */
function mayAskAnother(thrown: unknown, request: Pick<HttpRequest, 'method' | 'headers' | 'body' | 'signal'>): boolean {
  if (!isUnanswered(thrown) || request.signal?.aborted === true) return false
  if (request.method === 'GET' || request.headers?.['idempotency-key'] !== undefined) return true
  const isWhole = request.body === undefined || typeof request.body === 'string' || request.body instanceof Uint8Array
  const cause = thrown.cause instanceof Error && 'code' in thrown.cause ? thrown.cause.code : undefined
  return isWhole && typeof cause === 'string' && neverArrived.has(cause)
}

function tlsOf(options: ClientOptions): TlsIdentity | undefined {
  if (options.ca === undefined) return undefined
  return { ca: options.ca, serverName: options.serverName ?? 'manager.holdfast' }
}
