/**
 * What is promised to VMs on each host, counted once for a list of VMs and kept as long as the list is: placement asks for
 * it for every host, and a cluster has thousands of VMs. Lists are never changed in place.
 */
import type { HostId, VmId } from '../../base/ids.ts'
import { hostsHeldBy, type ClusterView, type VmView } from './cluster-view.ts'

interface Promised {
  readonly memoryMiB: number
  readonly vcpus: number
}

interface Load {
  readonly vms: ReadonlyMap<VmId, VmView>
  /** Of a list that was made of another one: those that differ. */
  readonly changed: ReadonlyMap<VmId, VmView>
  readonly hosts: ReadonlyMap<HostId, Promised>
}

const nothing: Promised = { memoryMiB: 0, vcpus: 0 }
const kept = new WeakMap<readonly VmView[], Load>()

function loadOf(vms: readonly VmView[]): Load {
  const known = kept.get(vms)
  if (known !== undefined) return known
  const hosts = new Map<HostId, Promised>()
  for (const vm of vms) add(hosts, vm, 1)
  const load = { vms: new Map(vms.map((vm) => [vm.id, vm])), changed: new Map<VmId, VmView>(), hosts }
  kept.set(vms, load)
  return load
}

function add(hosts: Map<HostId, Promised>, vm: VmView, sign: 1 | -1): void {
  for (const host of hostsHeldBy(vm)) {
    const { memoryMiB, vcpus } = hosts.get(host) ?? nothing
    hosts.set(host, { memoryMiB: memoryMiB + sign * vm.spec.memoryMiB, vcpus: vcpus + sign * vm.spec.vcpus })
  }
}

function found(load: Load, id: VmId): VmView | undefined {
  return load.changed.get(id) ?? load.vms.get(id)
}

/** A VM of the cluster by its id. */
export function vmOf(cluster: Pick<ClusterView, 'vms'>, id: VmId): VmView | undefined {
  return found(loadOf(cluster.vms), id)
}

/** Memory and vCPUs promised to the VMs that run, arrive or start on this host, one VM aside. */
export function promisedOn(cluster: Pick<ClusterView, 'vms'>, host: HostId, except?: VmId): Promised {
  const load = loadOf(cluster.vms)
  const all = load.hosts.get(host) ?? nothing
  const vm = except === undefined ? undefined : found(load, except)
  if (vm === undefined || !hostsHeldBy(vm).includes(host)) return all
  return { memoryMiB: all.memoryMiB - vm.spec.memoryMiB, vcpus: all.vcpus - vm.spec.vcpus }
}

/** The cluster as it is once this VM is being started on that host. */
export function withStarting<C extends Pick<ClusterView, 'vms'>>(cluster: C, id: VmId, host: HostId): C {
  const load = loadOf(cluster.vms)
  const before = found(load, id)
  if (before === undefined) return cluster
  const after = { ...before, startingOn: host }
  const vms = cluster.vms.slice()
  vms[vms.indexOf(before)] = after
  const hosts = new Map(load.hosts)
  add(hosts, before, -1)
  add(hosts, after, 1)
  kept.set(vms, { vms: load.vms, changed: new Map(load.changed).set(id, after), hosts })
  return { ...cluster, vms }
}

/** Memory promised to the VMs that run, arrive or start on this host, MiB. */
export function committedMiB(cluster: Pick<ClusterView, 'vms'>, host: HostId, except?: VmId): number {
  return promisedOn(cluster, host, except).memoryMiB
}
