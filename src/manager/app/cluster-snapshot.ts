/** The inventory and the newest observations as the decisions of domain/ want them. */
import type { ClusterView, HostView, VmView } from '../domain/cluster-view.ts'
import { isToRestart, priorityOf } from '../domain/restart-order.ts'
import { startingOn } from '../sagas/starting-on.ts'
import type { HostRecord } from '../store/records.ts'
import type { HostRegistry } from './host-registry.ts'
import type { Mirror } from './mirror.ts'

/** As of what the mirror holds now; await `mirror.fresh()` before to include every commit. */
export function clusterSnapshot(mirror: Mirror, registry: HostRegistry): ClusterView {
  const cluster = mirror.list('cluster')[0]
  return {
    cpuBaseline: cluster?.cpuBaseline ?? 'qemu64',
    ...(cluster?.admission === undefined ? {} : { admission: cluster.admission }),
    hosts: mirror.list('host').map((host) => hostSnapshot(host, registry)),
    datastores: mirror.list('datastore'),
    networks: mirror.list('network'),
    images: mirror.list('image'),
    vms: vmSnapshots(mirror),
    rules: mirror.list('rule'),
  }
}

/** Every VM with its run record. */
export function vmSnapshots(mirror: Mirror): VmView[] {
  return mirror.list('vm').flatMap((vm) => {
    const stored = mirror.get('run', vm.id)
    if (stored === undefined) return []
    return [
      {
        id: vm.id,
        name: vm.name,
        spec: vm.spec,
        policies: vm.policies,
        run: stored.run,
        startingOn: startingOn(mirror.get('task', vm.operation)),
        restartPriority: priorityOf(vm.policies),
        isAwaited: isToRestart(vm, stored.run),
      },
    ]
  })
}

function hostSnapshot(record: HostRecord, registry: HostRegistry): HostView {
  const report = registry.report(record.id)
  return {
    id: record.id,
    name: record.name,
    state: registry.stateOf(record),
    maintenance: record.maintenance,
    addresses: record.addresses,
    facts: report?.facts ?? record.facts,
    datastores: report?.datastores ?? [],
    networks: report?.networks ?? [],
    load1: report?.load.load1 ?? 0,
    isBeingRenewed: report?.upgrade?.state === 'running',
  }
}
