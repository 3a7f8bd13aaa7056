/** A manager on which every call works, for tests of the command line. */
import {
  page,
  sampleAdmission,
  sampleAlarm,
  sampleEvidence,
  sampleHost,
  sampleRule,
  sampleTarget,
  sampleTask,
  sampleVm,
} from './samples.ts'
import { fakeManager, type FakeManager } from './fake-surroundings.ts'

const made = '2026-01-02T03:00:00.000Z'
const store = (id: string, name: string) => ({
  ...{ id, name, isShared: true, mounts: [], totalBytes: 100, freeBytes: null, isUsable: true, problem: null },
})
const image = {
  id: 'img-1',
  name: 'debian',
  format: 'qcow2',
  virtualBytes: 2 ** 30,
  fileBytes: 5,
  sha256: 'ab'.repeat(32),
}
const network = (id: string, name: string) => ({
  ...{
    id,
    name,
    kind: 'vxlan',
    tag: 5,
    mtu: 1500,
    ipv4: null,
    leases: 0,
    macSpoofing: 'dropped',
    ipSpoofing: 'dropped',
  },
})
const alarmSettings = {
  ...{ datastoreFullPercent: 90, datastoreClearPercent: 85, clockSkewMs: 1000, certificateDays: 30 },
  ...{ restartedHours: 24, disabledTypes: [] },
}
const token = { id: 'token-1', name: 'ci', role: 'reader', created: made, lastUsed: null, expires: null }

const manager = {
  ...{ id: 'manager-1', name: 'one', urls: ['https://one:7443'], version: '0.1.0', state: 'leads' },
  ...{ leadsSince: made, lastSeen: made },
}
const fencing = { automatic: true, afterMs: 4000, atOnce: 1, mostShare: 0.5, agentTimeoutMs: 20_000 }

const task = () => sampleTask()

const machineAnswers = {
  getCluster: () => ({
    name: 'lab',
    version: '0.1.0',
    revision: 9,
    counts: { hosts: 3, vms: 2, running: 2, tasks: 0 },
  }),
  listHosts: () => page(sampleHost()),
  getHost: () => sampleHost(),
  enterMaintenance: task,
  leaveMaintenance: () => sampleHost(),
  confirmHostOff: () => sampleHost(),
  setHostFence: () => sampleHost(),
  removeHostFence: () => sampleHost(),
  fenceHost: task,
  testHostFence: () => ({ state: 'ok', devices: [] }),
  cycleHostFence: task,
  getFencing: () => fencing,
  changeFencing: () => fencing,
  removeHost: () => null,
  createJoinToken: () => ({ token: 'hfj.x.y', expires: '2026-01-03T00:00:00Z' }),
  listVms: () => page(sampleVm()),
  createVm: task,
  getVm: () => sampleVm(),
  changeVm: () => sampleVm(),
  deleteVm: task,
  startVm: task,
  shutdownVm: task,
  stopVm: task,
  resetVm: task,
  pauseVm: task,
  resumeVm: task,
  migrateVm: task,
  precheckMigrate: () => ({ isPossible: true, reasons: [], plan: null }),
  protectVm: task,
  precheckProtect: () => ({ isPossible: true, reasons: [], plan: null }),
  unprotectVm: task,
  settleVm: () => sampleVm(),
  createTicket: () => ({ url: '/v1/consoles?ticket=x', expires: '2026-01-03T00:00:00Z' }),
  listEvidence: () => ({ items: [sampleEvidence] }),
  screenshotVm: () => Buffer.from('PNG'),
}

const otherAnswers = {
  listDatastores: () => page(store('ds-1', 'shared')),
  createDatastore: () => store('ds-2', 'fast'),
  removeDatastore: () => null,
  listImages: () => page({ ...image, state: 'ready', created: made }),
  importImage: task,
  deleteImage: () => null,
  createUpload: () => ({ id: 'up-1', offset: 0 }),
  getUpload: () => ({ id: 'up-1', offset: 0 }),
  listNetworks: () => page(network('net-1', 'guests')),
  createNetwork: () => network('net-2', 'dmz'),
  removeNetwork: () => null,
  changeCluster: () => ({ name: 'lab' }),
  getAdmission: () => sampleAdmission,
  upgradeCluster: task,
  listRules: () => page(sampleRule),
  createRule: () => sampleRule,
  removeRule: () => null,
  listTasks: () => page(sampleTask()),
  getTask: task,
  cancelTask: task,
  listEvents: () => page(),
  listTokens: () => page(token),
  createToken: () => ({ token, secret: 'hft.secret' }),
  revokeToken: () => null,
  listManagers: () => page(manager),
  removeManager: () => null,
  createManagerToken: () => ({ token: 'hfm.x.y', expires: '2026-01-03T00:00:00Z' }),
  createSignInCode: () => ({ code: 'abc', expires: '2026-01-03T00:00:00Z' }),
  listAlarms: () => page(sampleAlarm()),
  getAlarm: () => sampleAlarm(),
  acknowledgeAlarm: () => sampleAlarm(),
  clearAlarm: () => sampleAlarm(),
  getAlarmSettings: () => ({ ...alarmSettings }),
  setAlarmSettings: () => ({ ...alarmSettings }),
  changeAlarmSettings: () => ({ ...alarmSettings }),
  listNotificationTargets: () => page(sampleTarget()),
  createNotificationTarget: () => sampleTarget(),
  getNotificationTarget: () => sampleTarget(),
  removeNotificationTarget: () => null,
  testNotificationTarget: () => ({ isDelivered: true, answer: '200 ok', milliseconds: 12 }),
}

/** A manager on which everything works. */
export function kindManager(): FakeManager {
  const upload = async () => ({ id: 'up-1', offset: 5 }) as never
  return fakeManager({ ...machineAnswers, ...otherAnswers }, { upload })
}
