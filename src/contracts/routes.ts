/**
 * The REST API as a table: each row gives the handler its types, the server its validation, OpenAPI its page, the CLI and
 * the web page their client. Changing calls that take time answer 202 with a task. Every POST may bear an
 * `Idempotency-Key`: the same key with the same request is answered as the first time (for 24 hours).
 */
import {
  ApiToken,
  ChangeVm,
  ClusterInfo,
  CreateDatastore,
  CreateNetwork,
  CreateVm,
  Datastore,
  Event,
  Host,
  Image,
  ImportImage,
  MigratePrecheck,
  MigrateVm,
  NetworkObject,
  StartVm,
  Task,
  Upload,
  Vm,
} from './inventory.ts'
import { Count, Name, Nullable, OneOf, Open, Strict, Time, Type, type Static, type TSchema } from './schema.ts'

export const roles = ['reader', 'operator', 'administrator'] as const
export type Role = (typeof roles)[number]

export interface Route {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE'
  /** With `{name}` for path parameters. Objects are named by id here; clients resolve names by `?name=`. */
  readonly path: string
  readonly summary: string
  readonly group: string
  /** The least role that may call it; null: anybody. */
  readonly role: Role | null
  readonly query?: TSchema
  readonly body?: TSchema
  readonly response: TSchema
  readonly status: 200 | 201 | 202 | 204
}

function route<const R extends Route>(row: R): R {
  return row
}

const paging = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: 'default 1000' })),
  after: Type.Optional(Type.String({ description: 'the `next` of the page before' })),
}
const ListQuery = Strict({ ...paging, name: Type.Optional(Type.String()) })
const VmListQuery = Strict({
  ...paging,
  name: Type.Optional(Type.String()),
  host: Type.Optional(Type.String()),
  state: Type.Optional(Type.String()),
})

/** A page of a list; `next` is null on the last. `revision` is what an event stream may resume from. */
function Page<T extends TSchema>(item: T) {
  return Open({ items: Type.Array(item), next: Nullable(Type.String()), revision: Count })
}

const Nothing = Type.Null()
const EmptyBody = Strict({})

export const TicketKind = OneOf(['serial', 'vnc'])
export const Ticket = Open({
  url: Type.String({ description: 'WebSocket path with the one-use ticket' }),
  expires: Time,
})
export const SignIn = Strict({ code: Type.String() })

export const routes = {
  getCluster: route({
    method: 'GET',
    path: '/v1/cluster',
    summary: 'The cluster',
    group: 'cluster',
    role: 'reader',
    response: ClusterInfo,
    status: 200,
  }),

  listHosts: route({
    method: 'GET',
    path: '/v1/hosts',
    summary: 'List hosts',
    group: 'hosts',
    role: 'reader',
    query: ListQuery,
    response: Page(Host),
    status: 200,
  }),
  getHost: route({
    method: 'GET',
    path: '/v1/hosts/{host}',
    summary: 'Show a host',
    group: 'hosts',
    role: 'reader',
    response: Host,
    status: 200,
  }),
  enterMaintenance: route({
    method: 'POST',
    path: '/v1/hosts/{host}/maintenance',
    summary: 'Move every VM away and keep the host empty',
    group: 'hosts',
    role: 'operator',
    body: EmptyBody,
    response: Task,
    status: 202,
  }),
  leaveMaintenance: route({
    method: 'DELETE',
    path: '/v1/hosts/{host}/maintenance',
    summary: 'Let VMs come to the host again',
    group: 'hosts',
    role: 'operator',
    response: Host,
    status: 200,
  }),
  confirmHostOff: route({
    method: 'POST',
    path: '/v1/hosts/{host}/confirm-off',
    summary: 'A person says: this host is off. Its VMs may be started elsewhere',
    group: 'hosts',
    role: 'administrator',
    body: Strict({ iAmSure: Type.Literal(true) }),
    response: Host,
    status: 200,
  }),
  removeHost: route({
    method: 'DELETE',
    path: '/v1/hosts/{host}',
    summary: 'Forget an empty host',
    group: 'hosts',
    role: 'administrator',
    response: Nothing,
    status: 204,
  }),
  createJoinToken: route({
    method: 'POST',
    path: '/v1/join-tokens',
    summary: 'A one-time token for `holdfast agent join`',
    group: 'hosts',
    role: 'administrator',
    body: Strict({ validMinutes: Type.Optional(Type.Integer({ minimum: 1, maximum: 10080 })) }),
    response: Open({ token: Type.String(), expires: Time }),
    status: 201,
  }),

  listVms: route({
    method: 'GET',
    path: '/v1/vms',
    summary: 'List VMs',
    group: 'vms',
    role: 'reader',
    query: VmListQuery,
    response: Page(Vm),
    status: 200,
  }),
  createVm: route({
    method: 'POST',
    path: '/v1/vms',
    summary: 'Create a VM',
    group: 'vms',
    role: 'operator',
    body: CreateVm,
    response: Task,
    status: 202,
  }),
  getVm: route({
    method: 'GET',
    path: '/v1/vms/{vm}',
    summary: 'Show a VM',
    group: 'vms',
    role: 'reader',
    response: Vm,
    status: 200,
  }),
  changeVm: route({
    method: 'PATCH',
    path: '/v1/vms/{vm}',
    summary: 'Rename or change a VM',
    group: 'vms',
    role: 'operator',
    body: ChangeVm,
    response: Vm,
    status: 200,
  }),
  deleteVm: route({
    method: 'DELETE',
    path: '/v1/vms/{vm}',
    summary: 'Delete a stopped VM and its disks',
    group: 'vms',
    role: 'operator',
    response: Task,
    status: 202,
  }),
  startVm: route({
    method: 'POST',
    path: '/v1/vms/{vm}/start',
    summary: 'Power on',
    group: 'vms',
    role: 'operator',
    body: StartVm,
    response: Task,
    status: 202,
  }),
  shutdownVm: route({
    method: 'POST',
    path: '/v1/vms/{vm}/shutdown',
    summary: 'Ask the guest to shut down (ACPI); done when it is off',
    group: 'vms',
    role: 'operator',
    body: Strict({ timeoutSeconds: Type.Optional(Type.Integer({ minimum: 1, maximum: 3600 })) }),
    response: Task,
    status: 202,
  }),
  stopVm: route({
    method: 'POST',
    path: '/v1/vms/{vm}/stop',
    summary: 'Power off at once',
    group: 'vms',
    role: 'operator',
    body: EmptyBody,
    response: Task,
    status: 202,
  }),
  resetVm: route({
    method: 'POST',
    path: '/v1/vms/{vm}/reset',
    summary: 'Reset',
    group: 'vms',
    role: 'operator',
    body: EmptyBody,
    response: Task,
    status: 202,
  }),
  pauseVm: route({
    method: 'POST',
    path: '/v1/vms/{vm}/pause',
    summary: 'Pause',
    group: 'vms',
    role: 'operator',
    body: EmptyBody,
    response: Task,
    status: 202,
  }),
  resumeVm: route({
    method: 'POST',
    path: '/v1/vms/{vm}/resume',
    summary: 'Go on after a pause',
    group: 'vms',
    role: 'operator',
    body: EmptyBody,
    response: Task,
    status: 202,
  }),
  migrateVm: route({
    method: 'POST',
    path: '/v1/vms/{vm}/migrate',
    summary: 'Move a running VM, its disks too where needed',
    group: 'vms',
    role: 'operator',
    body: MigrateVm,
    response: Task,
    status: 202,
  }),
  precheckMigrate: route({
    method: 'POST',
    path: '/v1/vms/{vm}/migrate/precheck',
    summary: 'Would this migration work?',
    group: 'vms',
    role: 'reader',
    body: MigrateVm,
    response: MigratePrecheck,
    status: 200,
  }),
  createTicket: route({
    method: 'POST',
    path: '/v1/vms/{vm}/tickets',
    summary: 'A one-use ticket for a console WebSocket',
    group: 'vms',
    role: 'operator',
    body: Strict({ kind: TicketKind }),
    response: Ticket,
    status: 201,
  }),
  screenshotVm: route({
    method: 'GET',
    path: '/v1/vms/{vm}/screenshot',
    summary: 'The screen as PNG',
    group: 'vms',
    role: 'reader',
    response: Type.Unsafe<Uint8Array>({ type: 'string', contentMediaType: 'image/png' }),
    status: 200,
  }),

  listDatastores: route({
    method: 'GET',
    path: '/v1/datastores',
    summary: 'List datastores',
    group: 'storage',
    role: 'reader',
    query: ListQuery,
    response: Page(Datastore),
    status: 200,
  }),
  createDatastore: route({
    method: 'POST',
    path: '/v1/datastores',
    summary: 'Add a datastore',
    group: 'storage',
    role: 'administrator',
    body: CreateDatastore,
    response: Datastore,
    status: 201,
  }),
  removeDatastore: route({
    method: 'DELETE',
    path: '/v1/datastores/{datastore}',
    summary: 'Forget an empty datastore',
    group: 'storage',
    role: 'administrator',
    response: Nothing,
    status: 204,
  }),
  listImages: route({
    method: 'GET',
    path: '/v1/images',
    summary: 'List images',
    group: 'storage',
    role: 'reader',
    query: ListQuery,
    response: Page(Image),
    status: 200,
  }),
  importImage: route({
    method: 'POST',
    path: '/v1/images',
    summary: 'Import an image from a path or a complete upload',
    group: 'storage',
    role: 'operator',
    body: ImportImage,
    response: Task,
    status: 202,
  }),
  deleteImage: route({
    method: 'DELETE',
    path: '/v1/images/{image}',
    summary: 'Delete an image',
    group: 'storage',
    role: 'operator',
    response: Nothing,
    status: 204,
  }),
  createUpload: route({
    method: 'POST',
    path: '/v1/uploads',
    summary: 'Begin an upload',
    group: 'storage',
    role: 'operator',
    body: Strict({ sizeBytes: Count, datastore: Type.Optional(Type.String()) }),
    response: Upload,
    status: 201,
  }),
  getUpload: route({
    method: 'GET',
    path: '/v1/uploads/{upload}',
    summary: 'How much of an upload is there',
    group: 'storage',
    role: 'operator',
    response: Upload,
    status: 200,
  }),
  /** The body is raw bytes (application/octet-stream), appended at `?offset=`. */
  appendUpload: route({
    method: 'PUT',
    path: '/v1/uploads/{upload}',
    summary: 'Send the next piece of an upload',
    group: 'storage',
    role: 'operator',
    query: Strict({ offset: Count }),
    response: Upload,
    status: 200,
  }),

  listNetworks: route({
    method: 'GET',
    path: '/v1/networks',
    summary: 'List networks (port groups)',
    group: 'networks',
    role: 'reader',
    query: ListQuery,
    response: Page(NetworkObject),
    status: 200,
  }),
  createNetwork: route({
    method: 'POST',
    path: '/v1/networks',
    summary: 'Add a network',
    group: 'networks',
    role: 'administrator',
    body: CreateNetwork,
    response: NetworkObject,
    status: 201,
  }),
  removeNetwork: route({
    method: 'DELETE',
    path: '/v1/networks/{network}',
    summary: 'Remove an unused network',
    group: 'networks',
    role: 'administrator',
    response: Nothing,
    status: 204,
  }),

  listTasks: route({
    method: 'GET',
    path: '/v1/tasks',
    summary: 'List tasks, newest first',
    group: 'tasks',
    role: 'reader',
    query: Strict({ ...paging, state: Type.Optional(Type.String()) }),
    response: Page(Task),
    status: 200,
  }),
  getTask: route({
    method: 'GET',
    path: '/v1/tasks/{task}',
    summary: 'Show a task; with `waitSeconds`, once it has ended or the time is over',
    group: 'tasks',
    role: 'reader',
    query: Strict({ waitSeconds: Type.Optional(Type.Integer({ minimum: 0, maximum: 60 })) }),
    response: Task,
    status: 200,
  }),
  cancelTask: route({
    method: 'POST',
    path: '/v1/tasks/{task}/cancel',
    summary: 'Cancel a task; refused past its point of no return',
    group: 'tasks',
    role: 'operator',
    body: EmptyBody,
    response: Task,
    status: 202,
  }),

  listEvents: route({
    method: 'GET',
    path: '/v1/events',
    summary: 'Past events, oldest first',
    group: 'events',
    role: 'reader',
    query: Strict({ ...paging, afterRevision: Type.Optional(Count) }),
    response: Page(Event),
    status: 200,
  }),

  listTokens: route({
    method: 'GET',
    path: '/v1/tokens',
    summary: 'List API tokens (never their secrets)',
    group: 'access',
    role: 'administrator',
    response: Page(ApiToken),
    status: 200,
  }),
  createToken: route({
    method: 'POST',
    path: '/v1/tokens',
    summary: 'Make an API token; its secret is shown once',
    group: 'access',
    role: 'administrator',
    body: Strict({
      name: Name,
      role: OneOf(roles),
      validDays: Type.Optional(Type.Integer({ minimum: 1, maximum: 3650 })),
    }),
    response: Open({ token: ApiToken, secret: Type.String() }),
    status: 201,
  }),
  revokeToken: route({
    method: 'DELETE',
    path: '/v1/tokens/{token}',
    summary: 'Revoke an API token',
    group: 'access',
    role: 'administrator',
    response: Nothing,
    status: 204,
  }),
  createSignInCode: route({
    method: 'POST',
    path: '/v1/sign-in-codes',
    summary: 'A one-use code for a link that signs a browser in',
    group: 'access',
    role: 'operator',
    body: EmptyBody,
    response: Open({ code: Type.String(), expires: Time }),
    status: 201,
  }),
  signIn: route({
    method: 'POST',
    path: '/v1/session',
    summary: 'Trade a sign-in code for a session cookie',
    group: 'access',
    role: null,
    body: SignIn,
    response: Nothing,
    status: 204,
  }),
  signOut: route({
    method: 'DELETE',
    path: '/v1/session',
    summary: 'End the session',
    group: 'access',
    role: null,
    response: Nothing,
    status: 204,
  }),
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
