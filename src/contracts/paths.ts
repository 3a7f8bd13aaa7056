/**
 * Method and path of every route, without the schemas: what a client needs at run time. Loading the schemas costs some
 * 200 ms, which a command line or a web page should not pay to list VMs. The type makes each cell the routes table's own, so
 * the two cannot differ.
 */
import type { consolePath, eventStreamPath, RouteName, Routes } from './routes.ts'

export const routePaths: {
  readonly [N in RouteName]: { readonly method: Routes[N]['method']; readonly path: Routes[N]['path'] }
} = {
  getCluster: { method: 'GET', path: '/v1/cluster' },
  listHosts: { method: 'GET', path: '/v1/hosts' },
  getHost: { method: 'GET', path: '/v1/hosts/{host}' },
  enterMaintenance: { method: 'POST', path: '/v1/hosts/{host}/maintenance' },
  leaveMaintenance: { method: 'DELETE', path: '/v1/hosts/{host}/maintenance' },
  confirmHostOff: { method: 'POST', path: '/v1/hosts/{host}/confirm-off' },
  removeHost: { method: 'DELETE', path: '/v1/hosts/{host}' },
  createJoinToken: { method: 'POST', path: '/v1/join-tokens' },
  listVms: { method: 'GET', path: '/v1/vms' },
  createVm: { method: 'POST', path: '/v1/vms' },
  getVm: { method: 'GET', path: '/v1/vms/{vm}' },
  changeVm: { method: 'PATCH', path: '/v1/vms/{vm}' },
  deleteVm: { method: 'DELETE', path: '/v1/vms/{vm}' },
  startVm: { method: 'POST', path: '/v1/vms/{vm}/start' },
  shutdownVm: { method: 'POST', path: '/v1/vms/{vm}/shutdown' },
  stopVm: { method: 'POST', path: '/v1/vms/{vm}/stop' },
  resetVm: { method: 'POST', path: '/v1/vms/{vm}/reset' },
  pauseVm: { method: 'POST', path: '/v1/vms/{vm}/pause' },
  resumeVm: { method: 'POST', path: '/v1/vms/{vm}/resume' },
  migrateVm: { method: 'POST', path: '/v1/vms/{vm}/migrate' },
  precheckMigrate: { method: 'POST', path: '/v1/vms/{vm}/migrate/precheck' },
  createTicket: { method: 'POST', path: '/v1/vms/{vm}/tickets' },
  screenshotVm: { method: 'GET', path: '/v1/vms/{vm}/screenshot' },
  listDatastores: { method: 'GET', path: '/v1/datastores' },
  createDatastore: { method: 'POST', path: '/v1/datastores' },
  removeDatastore: { method: 'DELETE', path: '/v1/datastores/{datastore}' },
  listImages: { method: 'GET', path: '/v1/images' },
  importImage: { method: 'POST', path: '/v1/images' },
  deleteImage: { method: 'DELETE', path: '/v1/images/{image}' },
  createUpload: { method: 'POST', path: '/v1/uploads' },
  getUpload: { method: 'GET', path: '/v1/uploads/{upload}' },
  appendUpload: { method: 'PUT', path: '/v1/uploads/{upload}' },
  listNetworks: { method: 'GET', path: '/v1/networks' },
  createNetwork: { method: 'POST', path: '/v1/networks' },
  removeNetwork: { method: 'DELETE', path: '/v1/networks/{network}' },
  listTasks: { method: 'GET', path: '/v1/tasks' },
  getTask: { method: 'GET', path: '/v1/tasks/{task}' },
  cancelTask: { method: 'POST', path: '/v1/tasks/{task}/cancel' },
  listEvents: { method: 'GET', path: '/v1/events' },
  listTokens: { method: 'GET', path: '/v1/tokens' },
  createToken: { method: 'POST', path: '/v1/tokens' },
  revokeToken: { method: 'DELETE', path: '/v1/tokens/{token}' },
  createSignInCode: { method: 'POST', path: '/v1/sign-in-codes' },
  signIn: { method: 'POST', path: '/v1/session' },
  signOut: { method: 'DELETE', path: '/v1/session' },
}

/** `eventStreamPath` and `consolePath` of routes.ts, likewise. */
export const streamPaths: {
  readonly events: typeof eventStreamPath
  readonly consoles: typeof consolePath
} = { events: '/v1/events/stream', consoles: '/v1/consoles' }
