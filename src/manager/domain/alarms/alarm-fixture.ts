/** Test code: a world in which nothing is wrong, to be bent by each test. */
import type { DatastoreId, HostId, TaskId } from '../../../base/ids.ts'
import { defaultAlarmSettings } from '../../../contracts/alarms.ts'
import type { DatastoreObservation, VmObservation } from '../../../contracts/host.ts'
import { aCluster, aRun } from '../cluster-fixture.ts'
import type { AlarmHost, AlarmTask, AlarmVm, AlarmWorld, Finding, Sight } from './condition.ts'
import { isUnknown } from './condition.ts'

export const now = Date.parse('2030-01-02T00:00:00.000Z')

export function anAlarmHost(number: number, change: Partial<AlarmHost> = {}): AlarmHost {
  const seen = { path: '/', isUsable: true, problem: null, totalBytes: 1000, freeBytes: 500 }
  const datastores = ['ds-1', `ds-${number + 1}`].map((id) => ({ datastore: id as DatastoreId, ...seen }))
  return {
    ...{ id: `host-${number}` as HostId, name: `h${number}`, state: 'connected', maintenance: 'off', silentMs: 100 },
    ...{ agentVersion: '1.0.0', clockSkewMs: 3, datastores, vms: new Map() },
    ...{ seenBy: null, fenceProblem: null, fenceLiedAt: null },
    ...change,
  }
}

/** Without a word of the host, as it is once it is silent. */
export function aSilentHost(number: number, change: Partial<AlarmHost> = {}): AlarmHost {
  const nothing = { clockSkewMs: null, datastores: null, vms: null }
  return anAlarmHost(number, { state: 'unreachable', silentMs: 12_000, ...nothing, ...change })
}

export function anAlarmVm(number: number, change: Partial<AlarmVm> = {}): AlarmVm {
  const run = aRun({ vm: `vm-${number}` as AlarmVm['id'], phase: 'running', host: 'host-1' as HostId, cause: null })
  return {
    ...{ id: run.vm, name: `v${number}`, power: 'on', operation: null, restart: 'on-failure', run, protection: null },
    isGivenUp: false,
    ...change,
  }
}

export function aRestart(id: number, ago: number, change: Partial<AlarmTask> = {}): AlarmTask {
  return {
    ...{ id: `task-${id}` as TaskId, saga: 'vm.start/1', target: { kind: 'vm', id: 'vm-1', name: 'v1' } },
    ...{ state: 'done', problem: null, startedBy: 'reconciler/vm-power', ended: new Date(now - ago).toISOString() },
    ...change,
  }
}

export function aWorld(change: Partial<AlarmWorld> = {}): AlarmWorld {
  const { datastores } = aCluster()
  return {
    ...{ now, settings: defaultAlarmSettings, version: '1.0.0', datastores, vms: [], tasks: [], certificates: [] },
    hosts: [anAlarmHost(1), anAlarmHost(2), anAlarmHost(3)],
    ...{ managers: [], storeMembers: [], room: null },
    ...change,
  }
}

export function observed(change: Partial<VmObservation>): VmObservation {
  return {
    ...{ vm: 'vm-1' as AlarmVm['id'], process: 'running', generation: 1, discarded: null, problem: null },
    ...{ outOfSpace: false, startedAt: null, cpuSeconds: 0, rssMiB: 0 },
    ...change,
  }
}

export function datastoreWord(id: string, change: Partial<DatastoreObservation>): DatastoreObservation {
  const seen = { path: '/', isUsable: true, problem: null, totalBytes: 1000, freeBytes: 500 }
  return { datastore: id as DatastoreId, ...seen, ...change }
}

export function findingsIn(sights: readonly Sight[]): Finding[] {
  return sights.filter((sight): sight is Finding => !isUnknown(sight))
}

/** `ds-1`, `?ds-1` where it is not known, `ds-1@host-2` with a place. */
export function subjectsIn(sights: readonly Sight[]): string[] {
  return sights.map(
    (sight) =>
      `${isUnknown(sight) ? '?' : ''}${sight.subject.id}${sight.place === undefined ? '' : `@${sight.place.id}`}`,
  )
}
