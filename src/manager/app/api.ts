/** The use cases behind the routes, as one total table: a route without its handler does not compile. */
import type { CallOf, ReplyOf, RouteName } from '../../contracts/routes.ts'
import type { Caller } from './context.ts'

/** Routes that are more than JSON in and out: a stream comes in, or a cookie goes out. The server has them itself. */
export type SpecialRoute = 'appendUpload' | 'signIn' | 'signOut'

export interface CallContext {
  readonly caller: Caller
  /** Aborted when the caller has gone away. Only waiting ends then; what was begun goes on. */
  readonly signal: AbortSignal
}

export type ApiHandlers = {
  readonly [N in Exclude<RouteName, SpecialRoute>]: (call: CallOf<N>, context: CallContext) => Promise<ReplyOf<N>>
}

/** Routes that are asked often and answer much: beside their handlers, the same answers as JSON, ready to be sent. */
export type ReadyRoute = 'listVms' | 'getVm'

export type ReadyAnswers = { readonly [N in ReadyRoute]: (call: CallOf<N>) => Promise<string | Buffer> }

/** Routes whose answers bear a secret, or whose requests bear one that could be guessed from a digest. */
export const secretRoutes: ReadonlySet<RouteName> = new Set<RouteName>([
  'createToken',
  'createJoinToken',
  'createManagerToken',
  'createSignInCode',
  'createTicket',
  'createNotificationTarget',
])
