/**
 * Method and path of every route, and what a client must know of its bodies, without the schemas: loading those costs some
 * 200 ms, which a command line or a web page should not pay to list VMs. The type makes each cell the routes table's own, so
 * the two cannot differ; paths.test.ts holds the rest.
 */
import type { consolePath, eventStreamPath, RouteName, Routes } from './routes.ts'

export interface RoutePath {
  readonly method: string
  readonly path: string
  /** The request bears a JSON document. */
  readonly hasBody: boolean
  /** The answer is not JSON but bytes. */
  readonly isBytes: boolean
}

export const routePaths: {
  readonly [N in RouteName]: RoutePath & {
    readonly method: Routes[N]['method']
    readonly path: Routes[N]['path']
    readonly hasBody: Routes[N] extends { readonly body: unknown } ? true : false
  }
} = {
  getCluster: { method: 'GET', path: '/v1/cluster', hasBody: false, isBytes: false },
  changeCluster: { method: 'PATCH', path: '/v1/cluster', hasBody: true, isBytes: false },
  getAdmission: { method: 'GET', path: '/v1/cluster/admission', hasBody: false, isBytes: false },
  upgradeCluster: { method: 'POST', path: '/v1/cluster/upgrade', hasBody: true, isBytes: false },
  listEvents: { method: 'GET', path: '/v1/events', hasBody: false, isBytes: false },
  listTasks: { method: 'GET', path: '/v1/tasks', hasBody: false, isBytes: false },
  getTask: { method: 'GET', path: '/v1/tasks/{task}', hasBody: false, isBytes: false },
  cancelTask: { method: 'POST', path: '/v1/tasks/{task}/cancel', hasBody: true, isBytes: false },
  listHosts: { method: 'GET', path: '/v1/hosts', hasBody: false, isBytes: false },
  getHost: { method: 'GET', path: '/v1/hosts/{host}', hasBody: false, isBytes: false },
  enterMaintenance: { method: 'POST', path: '/v1/hosts/{host}/maintenance', hasBody: true, isBytes: false },
  leaveMaintenance: { method: 'DELETE', path: '/v1/hosts/{host}/maintenance', hasBody: false, isBytes: false },
  confirmHostOff: { method: 'POST', path: '/v1/hosts/{host}/confirm-off', hasBody: true, isBytes: false },
  removeHost: { method: 'DELETE', path: '/v1/hosts/{host}', hasBody: false, isBytes: false },
  setHostFence: { method: 'PUT', path: '/v1/hosts/{host}/fence', hasBody: true, isBytes: false },
  removeHostFence: { method: 'DELETE', path: '/v1/hosts/{host}/fence', hasBody: false, isBytes: false },
  fenceHost: { method: 'POST', path: '/v1/hosts/{host}/fence', hasBody: true, isBytes: false },
  testHostFence: { method: 'POST', path: '/v1/hosts/{host}/fence/test', hasBody: true, isBytes: false },
  cycleHostFence: { method: 'POST', path: '/v1/hosts/{host}/fence/cycle', hasBody: true, isBytes: false },
  getFencing: { method: 'GET', path: '/v1/fencing', hasBody: false, isBytes: false },
  changeFencing: { method: 'PATCH', path: '/v1/fencing', hasBody: true, isBytes: false },
  createJoinToken: { method: 'POST', path: '/v1/join-tokens', hasBody: true, isBytes: false },
  listVms: { method: 'GET', path: '/v1/vms', hasBody: false, isBytes: false },
  createVm: { method: 'POST', path: '/v1/vms', hasBody: true, isBytes: false },
  getVm: { method: 'GET', path: '/v1/vms/{vm}', hasBody: false, isBytes: false },
  changeVm: { method: 'PATCH', path: '/v1/vms/{vm}', hasBody: true, isBytes: false },
  deleteVm: { method: 'DELETE', path: '/v1/vms/{vm}', hasBody: false, isBytes: false },
  startVm: { method: 'POST', path: '/v1/vms/{vm}/start', hasBody: true, isBytes: false },
  shutdownVm: { method: 'POST', path: '/v1/vms/{vm}/shutdown', hasBody: true, isBytes: false },
  stopVm: { method: 'POST', path: '/v1/vms/{vm}/stop', hasBody: true, isBytes: false },
  resetVm: { method: 'POST', path: '/v1/vms/{vm}/reset', hasBody: true, isBytes: false },
  pauseVm: { method: 'POST', path: '/v1/vms/{vm}/pause', hasBody: true, isBytes: false },
  resumeVm: { method: 'POST', path: '/v1/vms/{vm}/resume', hasBody: true, isBytes: false },
  migrateVm: { method: 'POST', path: '/v1/vms/{vm}/migrate', hasBody: true, isBytes: false },
  precheckMigrate: { method: 'POST', path: '/v1/vms/{vm}/migrate/precheck', hasBody: true, isBytes: false },
  protectVm: { method: 'POST', path: '/v1/vms/{vm}/protect', hasBody: true, isBytes: false },
  precheckProtect: { method: 'POST', path: '/v1/vms/{vm}/protect/precheck', hasBody: true, isBytes: false },
  unprotectVm: { method: 'POST', path: '/v1/vms/{vm}/unprotect', hasBody: true, isBytes: false },
  settleVm: { method: 'POST', path: '/v1/vms/{vm}/settle', hasBody: true, isBytes: false },
  createTicket: { method: 'POST', path: '/v1/vms/{vm}/tickets', hasBody: true, isBytes: false },
  listEvidence: { method: 'GET', path: '/v1/vms/{vm}/evidence', hasBody: false, isBytes: false },
  screenshotVm: { method: 'GET', path: '/v1/vms/{vm}/screenshot', hasBody: false, isBytes: true },
  listDatastores: { method: 'GET', path: '/v1/datastores', hasBody: false, isBytes: false },
  createDatastore: { method: 'POST', path: '/v1/datastores', hasBody: true, isBytes: false },
  removeDatastore: { method: 'DELETE', path: '/v1/datastores/{datastore}', hasBody: false, isBytes: false },
  listImages: { method: 'GET', path: '/v1/images', hasBody: false, isBytes: false },
  importImage: { method: 'POST', path: '/v1/images', hasBody: true, isBytes: false },
  deleteImage: { method: 'DELETE', path: '/v1/images/{image}', hasBody: false, isBytes: false },
  createUpload: { method: 'POST', path: '/v1/uploads', hasBody: true, isBytes: false },
  getUpload: { method: 'GET', path: '/v1/uploads/{upload}', hasBody: false, isBytes: false },
  appendUpload: { method: 'PUT', path: '/v1/uploads/{upload}', hasBody: false, isBytes: false },
  listNetworks: { method: 'GET', path: '/v1/networks', hasBody: false, isBytes: false },
  createNetwork: { method: 'POST', path: '/v1/networks', hasBody: true, isBytes: false },
  removeNetwork: { method: 'DELETE', path: '/v1/networks/{network}', hasBody: false, isBytes: false },
  listRules: { method: 'GET', path: '/v1/rules', hasBody: false, isBytes: false },
  createRule: { method: 'POST', path: '/v1/rules', hasBody: true, isBytes: false },
  removeRule: { method: 'DELETE', path: '/v1/rules/{rule}', hasBody: false, isBytes: false },
  listTokens: { method: 'GET', path: '/v1/tokens', hasBody: false, isBytes: false },
  createToken: { method: 'POST', path: '/v1/tokens', hasBody: true, isBytes: false },
  revokeToken: { method: 'DELETE', path: '/v1/tokens/{token}', hasBody: false, isBytes: false },
  createSignInCode: { method: 'POST', path: '/v1/sign-in-codes', hasBody: true, isBytes: false },
  signIn: { method: 'POST', path: '/v1/session', hasBody: true, isBytes: false },
  listManagers: { method: 'GET', path: '/v1/managers', hasBody: false, isBytes: false },
  removeManager: { method: 'DELETE', path: '/v1/managers/{manager}', hasBody: false, isBytes: false },
  createManagerToken: { method: 'POST', path: '/v1/manager-tokens', hasBody: true, isBytes: false },
  signOut: { method: 'DELETE', path: '/v1/session', hasBody: false, isBytes: false },
  listAlarms: { method: 'GET', path: '/v1/alarms', hasBody: false, isBytes: false },
  getAlarm: { method: 'GET', path: '/v1/alarms/{alarm}', hasBody: false, isBytes: false },
  acknowledgeAlarm: { method: 'POST', path: '/v1/alarms/{alarm}/acknowledge', hasBody: true, isBytes: false },
  clearAlarm: { method: 'POST', path: '/v1/alarms/{alarm}/clear', hasBody: true, isBytes: false },
  getAlarmSettings: { method: 'GET', path: '/v1/alarm-settings', hasBody: false, isBytes: false },
  setAlarmSettings: { method: 'PUT', path: '/v1/alarm-settings', hasBody: true, isBytes: false },
  changeAlarmSettings: { method: 'PATCH', path: '/v1/alarm-settings', hasBody: true, isBytes: false },
  listNotificationTargets: { method: 'GET', path: '/v1/notification-targets', hasBody: false, isBytes: false },
  createNotificationTarget: { method: 'POST', path: '/v1/notification-targets', hasBody: true, isBytes: false },
  getNotificationTarget: { method: 'GET', path: '/v1/notification-targets/{target}', hasBody: false, isBytes: false },
  removeNotificationTarget: {
    method: 'DELETE',
    path: '/v1/notification-targets/{target}',
    hasBody: false,
    isBytes: false,
  },
  testNotificationTarget: {
    method: 'POST',
    path: '/v1/notification-targets/{target}/test',
    hasBody: true,
    isBytes: false,
  },
}

/** `eventStreamPath` and `consolePath` of routes.ts, likewise. */
export const streamPaths: { readonly events: typeof eventStreamPath; readonly consoles: typeof consolePath } = {
  events: '/v1/events/stream',
  consoles: '/v1/consoles',
}
