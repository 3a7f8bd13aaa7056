/** The inventory and the newest observations as the decisions of domain/ want them. */
import type { ClusterView, HostView, VmView } from '../domain/cluster-view.ts'
import { startingOn } from '../sagas/starting-on.ts'
import type { HostRecord } from '../store/records.ts'
import type { HostRegistry } from './host-registry.ts'
import type { Mirror } from './mirror.ts'

/** As of what the mirror holds now; await `mirror.fresh()` before to include every commit. */
export function clusterSnapshot(mirror: Mirror, registry: HostRegistry): ClusterView {
  return {
    cpuBaseline: mirror.list('cluster')[0]?.cpuBaseline ?? 'qemu64',
    hosts: mirror.list('host').map((host) => hostSnapshot(host, registry)),
    datastores: mirror.list('datastore'),
    networks: mirror.list('network'),
    images: mirror.list('image'),
    vms: vmSnapshots(mirror),
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
        run: stored.run,
        startingOn: startingOn(mirror.get('task', vm.operation)),
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
  }
}
