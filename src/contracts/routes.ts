/**
 * The REST API as a table: each row gives the handler its types, the server its validation, OpenAPI its page, the CLI and
 * the web page their client. Changing calls that take time answer 202 with a task. Every POST may bear an
 * `Idempotency-Key`: the same key with the same request is answered as the first time (for 24 hours).
 */
import { accessRoutes } from './routes/access.ts'
import { alarmRoutes } from './routes/alarms.ts'
import { clusterRoutes } from './routes/cluster.ts'
import { fencingRoutes } from './routes/fencing.ts'
import { hostRoutes } from './routes/hosts.ts'
import { managerRoutes } from './routes/managers.ts'
import { networkRoutes } from './routes/networks.ts'
import { ruleRoutes } from './routes/rules.ts'
import { storageRoutes } from './routes/storage.ts'
import { vmRoutes } from './routes/vms.ts'
import type { Static, TSchema } from './schema.ts'

export { SignIn } from './routes/access.ts'
export { roles, type Role, type Route } from './routes/row.ts'
export { Ticket, TicketKind } from './routes/vms.ts'

export const routes = {
  ...clusterRoutes,
  ...hostRoutes,
  ...fencingRoutes,
  ...vmRoutes,
  ...storageRoutes,
  ...networkRoutes,
  ...ruleRoutes,
  ...accessRoutes,
  ...managerRoutes,
  ...alarmRoutes,
} as const

export type Routes = typeof routes
export type RouteName = keyof Routes

type BodyOf<R> = R extends { readonly body: infer B extends TSchema } ? { body: Static<B> } : { body?: undefined }
type QueryOf<R> = R extends { readonly query: infer Q extends TSchema } ? { query?: Static<Q> } : { query?: undefined }
type ParamsOf<P extends string> = P extends `${string}{${infer Name}}${infer Rest}`
  ? { [K in Name]: string } & ParamsOf<Rest>
  : unknown

/** What a call of a route takes; the same for the server's handlers and for clients. */
export type CallOf<N extends RouteName> = { params: ParamsOf<Routes[N]['path']> } & BodyOf<Routes[N]> &
  QueryOf<Routes[N]>
export type ReplyOf<N extends RouteName> = Static<Routes[N]['response']>

/**
 * The event stream: `GET /v1/events/stream` (text/event-stream). Each message's `id` is `REVISION.SEQUENCE`, its data an
 * `Event`. `Last-Event-ID` (or `?after=REVISION.SEQUENCE`) resumes; an event named `relist` says that the place is no
 * longer kept: read the lists anew and go on from the revision that they bear.
 */
export const eventStreamPath = '/v1/events/stream'

/** Console WebSockets: `/v1/consoles?ticket=…`, binary frames, subprotocol `binary`. */
export const consolePath = '/v1/consoles'
