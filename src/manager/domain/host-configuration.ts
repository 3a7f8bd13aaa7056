/** What each host must have (datastores, networks, leases), and what a VM needs brought along when it starts or arrives. */
import type {
  DatastoreConfig,
  HostConfiguration,
  LeaseConfig,
  NetworkConfig,
  VmDeployment,
} from '../../contracts/agent-api.ts'
import { digestOf } from '../../contracts/digest.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import { idNumber } from '../../base/ids.ts'
import type { MachineSpec } from '../../contracts/machine-spec.ts'
import { hostsHeldBy, imagesOf, isMountedOn, type ClusterView, type NetworkView } from './cluster-view.ts'
import { monitoredVms } from './monitoring.ts'
import { hostnameOf } from './names.ts'
import { parseIpv4 } from './ipv4.ts'

/** The configuration that this host should have now; its digest changes exactly when the rest does. */
export function hostConfiguration(cluster: ClusterView, host: HostId): HostConfiguration {
  const datastores: DatastoreConfig[] = cluster.datastores
    .filter((datastore) => isMountedOn(datastore, host))
    .map(({ id, name, path, isShared }) => ({ datastore: id, name, path, isShared }))
  const networks = cluster.networks.map((network) => networkConfig(cluster, network, host))
  const leases = cluster.vms
    .filter((vm) => hostsHeldBy(vm).includes(host))
    .sort((a, b) => idNumber(a.id) - idNumber(b.id))
    .flatMap((vm) => leasesOf(vm.id, vm.name, vm.spec))
  // Of the whole cluster: it changes with what is wanted alone, and is there before a VM is.
  const monitored = monitoredVms(cluster.vms).sort((a, b) => idNumber(a.vm) - idNumber(b.vm))
  const isInMaintenance = cluster.hosts.find(({ id }) => id === host)?.maintenance === 'on'
  const configuration = {
    ...{ datastores, networks, leases },
    ...(monitored.length === 0 ? {} : { monitored }),
    ...(isInMaintenance ? { isInMaintenance: true as const } : {}),
  }
  return { ...configuration, digest: digestOf(configuration) }
}

/** A network as this host has it: for VXLAN, with the guest-network addresses of all other hosts as peers. */
export function networkConfig(cluster: ClusterView, network: NetworkView, host: HostId): NetworkConfig {
  const others = cluster.hosts.filter((each) => each.id !== host).map((each) => each.addresses.guests)
  const peers = network.kind === 'vxlan' ? [...new Set([...others, ...network.externalPeers])] : []
  const ipv4 = network.ipv4
  return {
    network: network.id,
    name: network.name,
    kind: network.kind,
    tag: network.tag,
    uplink: network.uplink,
    mtu: network.mtu,
    peers: peers.filter((peer) => parseIpv4(peer) !== undefined).sort(),
    macSpoofing: network.macSpoofing,
    ipSpoofing: network.ipSpoofing,
    ipv4: ipv4 === null ? null : { cidr: ipv4.cidr, gateway: ipv4.gateway, dns: [...ipv4.dns], service: ipv4.service },
  }
}

/** The fixed leases of a machine's NICs. */
export function leasesOf(vm: VmId, name: string, spec: MachineSpec): LeaseConfig[] {
  return spec.nics.flatMap((nic) =>
    nic.address === null
      ? []
      : [{ vm, network: nic.network, mac: nic.mac, address: nic.address, hostname: hostnameOf(name) }],
  )
}

/** All that a host needs to start this machine, or to take it in. */
export function deploymentFor(
  cluster: ClusterView,
  vm: { readonly id: VmId; readonly name: string; readonly spec: MachineSpec },
  host: HostId,
  generation: number,
): VmDeployment {
  const used = new Set(vm.spec.nics.map((nic) => nic.network))
  const wanted = imagesOf(vm.spec)
  return {
    vm: vm.id,
    name: vm.name,
    spec: vm.spec,
    generation,
    networks: cluster.networks.filter(({ id }) => used.has(id)).map((network) => networkConfig(cluster, network, host)),
    leases: leasesOf(vm.id, vm.name, vm.spec),
    images: cluster.images
      .filter((image) => wanted.includes(image.id))
      .map(({ id, datastore, format }) => ({ image: id, datastore, format })),
  }
}
