/** A network as the API shows it. */
import type { NetworkObject } from '../../../contracts/inventory.ts'
import type { NetworkRecord, VmRecord } from '../../store/records.ts'
import { objectView } from './object-view.ts'

export function networkView(record: NetworkRecord, revision: number, vms: readonly VmRecord[]): NetworkObject {
  const leases = vms.flatMap((vm) => vm.spec.nics.filter((nic) => nic.network === record.id && nic.address !== null))
  return {
    ...objectView(record, revision),
    datacenter: record.datacenter,
    kind: record.kind,
    tag: record.tag,
    uplink: record.uplink,
    mtu: record.mtu,
    macSpoofing: record.macSpoofing,
    ipSpoofing: record.ipSpoofing,
    ipv4: record.ipv4 === null ? null : { ...record.ipv4, dns: [...record.ipv4.dns] },
    externalPeers: [...record.externalPeers],
    leases: leases.length,
  }
}
