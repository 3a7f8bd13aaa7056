/** Which use case answers which route. */
import type { TaskId } from '../../base/ids.ts'
import type { Task } from '../../contracts/inventory.ts'
import type { Access } from './access.ts'
import { alarmHandlers } from './alarm-handlers.ts'
import type { AlarmDesk } from './alarms.ts'
import type { ApiHandlers, ReadyAnswers } from './api.ts'
import type { Cluster } from './cluster.ts'
import type { Consoles } from './consoles.ts'
import type { Datastores } from './datastores.ts'
import type { Events } from './events.ts'
import type { Fencing } from './fencing.ts'
import type { Hosts } from './hosts.ts'
import type { Images } from './images.ts'
import type { Joins } from './joins.ts'
import type { ManagerJoins } from './manager-joins.ts'
import type { Managers } from './managers.ts'
import type { Networks } from './networks.ts'
import type { NotificationTargets } from './notification-targets.ts'
import type { Protections } from './protections.ts'
import type { Rules } from './rules.ts'
import type { Tasks } from './tasks.ts'
import type { Upgrades } from './upgrades.ts'
import type { Uploads } from './uploads.ts'
import type { Vms } from './vms.ts'

export interface UseCases {
  readonly access: Access
  readonly alarms: AlarmDesk
  readonly cluster: Cluster
  readonly consoles: Consoles
  readonly datastores: Datastores
  readonly events: Events
  readonly fencing: Fencing
  readonly hosts: Hosts
  readonly images: Images
  readonly joins: Joins
  readonly managers: Managers
  readonly managerJoins: ManagerJoins
  readonly networks: Networks
  readonly notificationTargets: NotificationTargets
  readonly protections: Protections
  readonly rules: Rules
  readonly tasks: Tasks
  readonly upgrades: Upgrades
  readonly uploads: Uploads
  readonly vms: Vms
}

export function apiHandlers(use: UseCases): ApiHandlers {
  const task = async (begun: Promise<TaskId>): Promise<Task> => use.tasks.get(await begun)
  return {
    ...inventoryHandlers(use, task),
    ...fencingHandlers(use, task),
    ...vmHandlers(use, task),
    ...otherHandlers(use, task),
    ...managerHandlers(use),
    ...alarmHandlers(use),
    ...guestHandlers(use),
  }
}

export function readyAnswers(vms: Vms): ReadyAnswers {
  return {
    listVms: ({ query }) => vms.listBytes(query),
    getVm: ({ params }) => vms.getText(params.vm),
  }
}

type Begun = (begun: Promise<TaskId>) => Promise<Task>
type Some<N extends keyof ApiHandlers> = Pick<ApiHandlers, N>

function vmHandlers(
  { vms, consoles, protections }: UseCases,
  task: Begun,
): Some<
  | 'listVms'
  | 'createVm'
  | 'getVm'
  | 'changeVm'
  | 'deleteVm'
  | 'startVm'
  | 'shutdownVm'
  | 'stopVm'
  | 'resetVm'
  | 'pauseVm'
  | 'resumeVm'
  | 'migrateVm'
  | 'precheckMigrate'
  | 'protectVm'
  | 'precheckProtect'
  | 'unprotectVm'
  | 'settleVm'
  | 'createTicket'
  | 'screenshotVm'
> {
  return {
    listVms: ({ query }) => vms.list(query),
    createVm: ({ body }, { caller }) => task(vms.create(body, caller)),
    getVm: ({ params }) => vms.get(params.vm),
    changeVm: ({ params, body }, { caller }) => vms.change(params.vm, body, caller),
    deleteVm: ({ params }, { caller }) => task(vms.delete(params.vm, caller)),
    startVm: ({ params, body }, { caller }) => task(vms.start(params.vm, body, caller)),
    shutdownVm: ({ params, body }, { caller }) => task(vms.shutdown(params.vm, body.timeoutSeconds, caller)),
    stopVm: ({ params }, { caller }) => task(vms.stop(params.vm, caller)),
    resetVm: ({ params }, { caller }) => task(vms.signal(params.vm, 'reset', caller)),
    pauseVm: ({ params }, { caller }) => task(vms.signal(params.vm, 'pause', caller)),
    resumeVm: ({ params }, { caller }) => task(vms.signal(params.vm, 'resume', caller)),
    migrateVm: ({ params, body }, { caller }) => task(vms.migrate(params.vm, body, caller)),
    precheckMigrate: ({ params, body }) => vms.precheck(params.vm, body),
    protectVm: ({ params, body }, { caller }) => task(protections.protect(params.vm, body, caller)),
    precheckProtect: ({ params, body }) => protections.precheck(params.vm, body),
    unprotectVm: ({ params }, { caller }) => task(protections.unprotect(params.vm, caller)),
    settleVm: async ({ params }, { caller }) => {
      await protections.settle(params.vm, caller)
      return vms.get(params.vm)
    },
    createTicket: ({ params, body }, { caller }) => consoles.createTicket(params.vm, body.kind, caller),
    screenshotVm: ({ params }) => consoles.screenshot(params.vm),
  }
}

function guestHandlers({ vms }: UseCases): Some<'listEvidence'> {
  return { listEvidence: ({ params, query }) => vms.evidence(params.vm, query) }
}

function inventoryHandlers(
  { hosts, joins, datastores, images, uploads, networks }: UseCases,
  task: Begun,
): Some<
  | 'listHosts'
  | 'getHost'
  | 'enterMaintenance'
  | 'leaveMaintenance'
  | 'confirmHostOff'
  | 'removeHost'
  | 'createJoinToken'
  | 'listDatastores'
  | 'createDatastore'
  | 'removeDatastore'
  | 'listImages'
  | 'importImage'
  | 'deleteImage'
  | 'createUpload'
  | 'getUpload'
  | 'listNetworks'
  | 'createNetwork'
  | 'removeNetwork'
> {
  return {
    listHosts: ({ query }) => hosts.list(query),
    getHost: ({ params }) => hosts.get(params.host),
    enterMaintenance: ({ params, body }, { caller }) =>
      task(hosts.enterMaintenance(params.host, body.force === true, caller)),
    leaveMaintenance: ({ params }, { caller }) => hosts.leaveMaintenance(params.host, caller),
    confirmHostOff: ({ params }, { caller }) => hosts.confirmOff(params.host, caller),
    removeHost: ({ params }, { caller }) => hosts.remove(params.host, caller),
    createJoinToken: ({ body }, { caller }) => joins.createToken(body.validMinutes, caller.name),
    listDatastores: ({ query }) => datastores.list(query),
    createDatastore: ({ body }, { caller }) => datastores.create(body, caller),
    removeDatastore: ({ params }, { caller }) => datastores.remove(params.datastore, caller),
    listImages: ({ query }) => images.list(query),
    importImage: ({ body }, { caller }) => task(images.import(body, caller)),
    deleteImage: ({ params }, { caller }) => images.delete(params.image, caller),
    createUpload: ({ body }, { caller }) => uploads.create(body, caller),
    getUpload: ({ params }) => uploads.get(params.upload),
    listNetworks: ({ query }) => networks.list(query),
    createNetwork: ({ body }, { caller }) => networks.create(body, caller),
    removeNetwork: ({ params }, { caller }) => networks.remove(params.network, caller),
  }
}

function fencingHandlers(
  { fencing, hosts }: UseCases,
  task: Begun,
): Some<
  'setHostFence' | 'removeHostFence' | 'fenceHost' | 'testHostFence' | 'cycleHostFence' | 'getFencing' | 'changeFencing'
> {
  return {
    setHostFence: async ({ params, body }, { caller }) => {
      await fencing.set(params.host, body, caller)
      return hosts.get(params.host)
    },
    removeHostFence: async ({ params, query }, { caller }) => {
      await fencing.remove(params.host, query?.level, caller)
      return hosts.get(params.host)
    },
    fenceHost: ({ params, body }, { caller }) => task(fencing.fence(params.host, body, caller)),
    testHostFence: ({ params }) => fencing.test(params.host),
    cycleHostFence: ({ params }, { caller }) => task(fencing.cycle(params.host, caller)),
    getFencing: () => fencing.settings(),
    changeFencing: ({ body }, { caller }) => fencing.change(body, caller),
  }
}

function otherHandlers(
  { cluster, tasks, events, access, rules, upgrades }: UseCases,
  task: Begun,
): Some<
  | 'getCluster'
  | 'changeCluster'
  | 'getAdmission'
  | 'upgradeCluster'
  | 'listRules'
  | 'createRule'
  | 'removeRule'
  | 'listTasks'
  | 'getTask'
  | 'cancelTask'
  | 'listEvents'
  | 'listTokens'
  | 'createToken'
  | 'revokeToken'
  | 'createSignInCode'
> {
  return {
    getCluster: () => cluster.get(),
    changeCluster: ({ body }, { caller }) => cluster.change(body, caller),
    getAdmission: () => cluster.admission(),
    upgradeCluster: ({ body }, { caller }) => task(upgrades.start(body, caller)),
    listRules: ({ query }) => rules.list(query),
    createRule: ({ body }, { caller }) => rules.create(body, caller),
    removeRule: ({ params }, { caller }) => rules.remove(params.rule, caller),
    listTasks: ({ query }) => tasks.list(query),
    getTask: ({ params, query }, { signal }) => tasks.get(params.task, query?.waitSeconds, signal),
    cancelTask: ({ params }) => tasks.cancel(params.task),
    listEvents: ({ query }) => events.list(query),
    listTokens: () => access.listTokens(),
    createToken: ({ body }, { caller }) => access.createToken(body, caller.name),
    revokeToken: ({ params }, { caller }) => access.revokeToken(params.token, caller.name),
    createSignInCode: (_call, { caller }) => access.createSignInCode(caller),
  }
}

function managerHandlers({
  managers,
  managerJoins,
}: UseCases): Some<'listManagers' | 'removeManager' | 'createManagerToken'> {
  return {
    listManagers: ({ query }) => managers.list(query),
    removeManager: ({ params }, { caller }) => managers.remove(params.manager, caller),
    createManagerToken: ({ body }, { caller }) => managerJoins.createToken(body.validMinutes, caller.name),
  }
}
