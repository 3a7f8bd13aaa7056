/** Objects as a manager shows them. */
import type { Alarm } from '../../contracts/alarms.ts'
import type { NotificationTarget } from '../../contracts/notifications.ts'
import type { Evidence } from '../../contracts/monitoring.ts'
import type { Event, Host, Task, Vm } from '../../contracts/inventory.ts'
import type { AdmissionReport, Rule } from '../../contracts/restart.ts'

const common = { uuid: '00000000-0000-4000-8000-000000000001', created: '2026-01-02T03:00:00.000Z', revision: 7 }

const sampleSpec = {
  uuid: common.uuid,
  machine: 'q35',
  machineType: 'pc-q35-10.0',
  minQemu: '10.0',
  firmware: 'bios',
  cpu: { model: 'qemu64', features: [] },
  vcpus: 2,
  memoryMiB: 256,
  video: 'std',
  nvram: null,
  disks: [{ key: 1, disk: 'disk-1', datastore: 'ds-1', format: 'qcow2', bus: 'virtio', sizeBytes: 2 ** 30, slot: '4' }],
  nics: [{ key: 2, network: 'net-1', model: 'virtio', mac: '52:54:00:00:00:01', address: '10.66.100.10', slot: '3' }],
  cdroms: [],
  kernelBoot: null,
  nextKey: 3,
}

export function sampleVm(changes: Record<string, unknown> = {}): Vm {
  return {
    id: 'vm-1',
    name: 'web',
    ...common,
    description: '',
    project: 'project-1',
    pool: 'pool-1',
    folder: 'folder-1',
    power: 'on',
    state: 'running',
    host: 'host1',
    hostId: 'host-1',
    addresses: ['10.66.100.10'],
    spec: sampleSpec,
    policies: { allowPostCopy: false, autoConverge: true, restart: 'on-failure' },
    run: {
      vm: 'vm-1',
      phase: 'running',
      host: 'host-1',
      target: null,
      postCopy: false,
      task: null,
      cause: null,
      incarnation: 1,
      generation: 3,
      since: common.created,
    },
    protection: { state: 'unprotected' },
    operation: null,
    problem: null,
    usage: { cpuSeconds: 12.5, rssMiB: 180.4, startedAt: '2026-01-02T03:00:05.000Z' },
    ...changes,
  } as unknown as Vm
}

export function sampleHost(changes: Record<string, unknown> = {}): Host {
  return {
    id: 'host-1',
    name: 'host1',
    ...common,
    cluster: 'cluster-1',
    state: 'connected',
    maintenance: 'off',
    lastSeen: '2026-01-02T03:04:03.000Z',
    addresses: { management: '10.66.1.11', storage: '10.66.2.11', guests: '10.66.3.11' },
    facts: {
      hostname: 'host1',
      agentVersion: '0.1.0',
      kernel: '6.18.0',
      cpu: { model: 'A processor', cores: 2, flags: [] },
      memoryMiB: 4096,
      accelerator: { kind: 'tcg', reason: 'the probe could not enter long mode' },
      qemu: { version: '10.0.2', machineTypes: [], cpuModels: [] },
      addresses: { management: '10.66.1.11', storage: '10.66.2.11', guests: '10.66.3.11' },
      foreignVms: [],
    },
    load: { load1: 0.5, cpuUsed: 0.25, memoryUsedMiB: 700 },
    datastores: [],
    networks: [],
    vmCount: 2,
    committedMiB: 512,
    clockSkewMs: 3,
    lease: null,
    seenBy: [],
    ...changes,
  } as unknown as Host
}

export function sampleTask(changes: Record<string, unknown> = {}): Task {
  return {
    id: 'task-12',
    name: 'vm.migrate',
    target: { kind: 'vm', id: 'vm-1', name: 'web' },
    state: 'done',
    step: null,
    progress: 1,
    detail: null,
    isCancellable: false,
    problem: null,
    result: null,
    startedBy: 'ada',
    created: '2026-01-02T03:04:00.000Z',
    ended: '2026-01-02T03:04:03.100Z',
    revision: 9,
    ...changes,
  } as unknown as Task
}

export function sampleEvent(changes: Record<string, unknown> = {}): Event {
  return {
    revision: 9,
    sequence: 0,
    time: '2026-01-02T03:04:03.100Z',
    type: 'vm.migrated',
    subject: { kind: 'vm', id: 'vm-1', name: 'web' },
    message: 'web moved from host1 to host2',
    task: 'task-12',
    data: {},
    ...changes,
  } as unknown as Event
}

/** A page with these items, the last of its list. */
export function page(...items: unknown[]): { items: unknown[]; next: null; revision: number } {
  return { items, next: null, revision: 9 }
}

export function sampleAlarm(change: Partial<Alarm> = {}): Alarm {
  return {
    ...{
      id: 'alarm-7' as Alarm['id'],
      type: 'host-down',
      severity: 'critical',
      state: 'raised',
      place: null,
      count: 1,
    },
    subject: { kind: 'host', id: 'host-2', name: 'host2' },
    ...{ message: 'host2 has been out of reach for 9 s; 2 VMs are recorded on it', mend: 'See whether host2 runs.' },
    ...{ raisedAt: '2026-01-02T03:00:00.000Z', acknowledgedAt: null, acknowledgedBy: null, clearedAt: null },
    ...{ clearedBy: null, revision: 9 },
    ...change,
  }
}

export function sampleTarget(change: Partial<NotificationTarget> = {}): NotificationTarget {
  return {
    ...{ id: 'target-1' as NotificationTarget['id'], uuid: '00000000-0000-4000-8000-000000000001', name: 'pager' },
    ...{ created: '2026-01-02T03:00:00.000Z', revision: 9, kind: 'webhook', leastSeverity: 'warning', email: null },
    ...{ tellsClearing: true, owed: 0, problem: null },
    webhook: { origin: 'https://pager.example', isSigned: false, hasOwnCa: false },
    ...change,
  }
}

export const sampleRule = {
  id: 'rule-1',
  name: 'web-apart',
  ...common,
  cluster: 'cluster-1',
  kind: 'apart',
  strength: 'must',
  vms: [{ id: 'vm-1', name: 'web' }],
  hosts: [],
  warnings: ['2 VMs are to be apart, and 1 host takes VMs now'],
} as unknown as Rule

export const sampleAdmission: AdmissionReport = {
  settings: { policy: 'hosts', hosts: 1 },
  ...{ capacityMiB: 8192, usedMiB: 4096, reservedMiB: 2048, isKept: true, survives: 1 },
  ...{ each: [], worst: null, bound: [] },
}

export const sampleEvidence: Evidence = {
  ...{ task: 'task-9' as Evidence['task'], vm: 'vm-1' as Evidence['vm'], at: '2026-01-02T00:00:00Z' },
  ...{ why: 'panic', detail: 'its kernel said that it has panicked', screen: null, missing: null },
  serial: { mediaType: 'text/plain', sizeBytes: 4, base64: 'T29wcw==' },
}
