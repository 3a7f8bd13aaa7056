/** A host as the API shows it. */
import type { HostId } from '../../../base/ids.ts'
import type { Host } from '../../../contracts/inventory.ts'
import { committedMiB, hostsHeldBy, type VmView } from '../../domain/cluster-view.ts'
import type { HostRecord } from '../../store/records.ts'
import type { HostRegistry } from '../host-registry.ts'
import { objectView } from './object-view.ts'

/** Reports make `vms` and `load`; what is promised comes from the records. */
export function hostView(
  record: HostRecord,
  revision: number,
  world: { readonly registry: HostRegistry; readonly vms: readonly VmView[] },
): Host {
  const known = world.registry.known(record.id)
  return {
    ...objectView(record, revision),
    cluster: record.cluster,
    state: world.registry.stateOf(record),
    maintenance: record.maintenance,
    lastSeen: known?.lastSeen ?? null,
    addresses: record.addresses,
    facts: known?.report.facts ?? record.facts,
    load: known?.report.load ?? null,
    datastores: known?.report.datastores ?? [],
    networks: known?.report.networks ?? [],
    vmCount: vmCountOf(world.vms, record.id),
    committedMiB: committedMiB({ vms: world.vms }, record.id),
    clockSkewMs: known?.clockSkewMs ?? null,
  }
}

/** VMs that run, arrive or start on a host. */
export function vmCountOf(vms: readonly VmView[], host: HostId): number {
  return vms.filter((vm) => hostsHeldBy(vm).includes(host)).length
}
