/** Whether a host can take a machine: every reason against it, for placement and for the pre-check of a migration alike. */
import type { DatastoreId, VmId } from '../../base/ids.ts'
import type { MachineSpec } from '../../contracts/machine-spec.ts'
import {
  imagesOf,
  isMountedOn,
  reservedMiB,
  storageOf,
  type ClusterView,
  type HostView,
  type Reason,
} from './cluster-view.ts'
import { cpuProblem } from './cpu-baseline.ts'
import { committedMiB } from './host-load.ts'
import { ruleReasons } from './placement-rules.ts'
import { compareVersions } from './versions.ts'
import { formatSize, MiB } from '../../base/units.ts'

export interface Need {
  readonly vm: VmId
  readonly spec: MachineSpec
  /** Bytes that are to be written anew, by datastore. */
  readonly newBytes?: ReadonlyMap<DatastoreId, number>
  /** A person has said so. */
  readonly ignoresRules?: boolean
}

/** Every reason why this host cannot take the machine now; empty when it can. */
export function reasonsAgainst(cluster: ClusterView, host: HostView, need: Need): Reason[] {
  const state = hostStateReasons(host)
  if (state.length > 0) return state
  return [
    ...memoryReasons(cluster, host, need),
    ...lastingReasons(cluster, host, need),
    ...(need.ignoresRules === true ? [] : ruleReasons(cluster, host, need.vm)),
  ]
}

/** Reasons that no other VM has a part in: what the host is, its networks and its storage. */
export function lastingReasons(cluster: ClusterView, host: HostView, need: Need): Reason[] {
  return [
    ...machineReasons(host, need.spec),
    ...networkReasons(cluster, host, need.spec),
    ...storageReasons(cluster, host, need),
  ]
}

function hostStateReasons(host: HostView): Reason[] {
  const against = (message: string): Reason[] => [{ code: 'host-state', message }]
  if (host.state !== 'connected') return against(`${host.name} is ${host.state}`)
  if (host.maintenance !== 'off') return against(`${host.name} is in maintenance`)
  if (host.isBeingRenewed === true) return against(`${host.name} is being renewed: its upgrade program runs`)
  if (host.facts === null) return against(`${host.name} has not reported what it is yet`)
  return []
}

function memoryReasons(cluster: ClusterView, host: HostView, need: Need): Reason[] {
  const total = host.facts?.memoryMiB ?? 0
  const free = total - reservedMiB(total) - committedMiB(cluster, host.id, need.vm)
  if (need.spec.memoryMiB <= free) return []
  const message = `${host.name} has ${formatSize(Math.max(0, free) * MiB)} of memory left, ${formatSize(need.spec.memoryMiB * MiB)} are needed`
  return [{ code: 'memory', message }]
}

function machineReasons(host: HostView, spec: MachineSpec): Reason[] {
  const facts = host.facts
  if (facts === null) return []
  const reasons: Reason[] = []
  const cpu = cpuProblem(spec.cpu, {
    accelerator: facts.accelerator.kind,
    models: facts.qemu.cpuModels,
    flags: facts.cpu.flags,
  })
  if (cpu !== undefined) reasons.push({ code: 'cpu', message: `${host.name}: ${cpu}` })
  if (facts.accelerator.kind === 'kvm' && spec.vcpus > facts.cpu.cores) {
    reasons.push({ code: 'cpu', message: `${host.name} has ${facts.cpu.cores} cores, fewer than ${spec.vcpus} vCPUs` })
  }
  if (compareVersions(facts.qemu.version, spec.minQemu) < 0) {
    reasons.push({ code: 'qemu', message: `${host.name} has QEMU ${facts.qemu.version}, ${spec.minQemu} is needed` })
  } else if (!facts.qemu.machineTypes.includes(spec.machineType)) {
    reasons.push({ code: 'qemu', message: `QEMU of ${host.name} does not offer the machine ${spec.machineType}` })
  }
  return reasons
}

function networkReasons(cluster: ClusterView, host: HostView, spec: MachineSpec): Reason[] {
  const reasons: Reason[] = []
  for (const id of new Set(spec.nics.map((nic) => nic.network))) {
    const name = cluster.networks.find((network) => network.id === id)?.name ?? id
    const seen = host.networks.find((network) => network.network === id)
    if (seen === undefined) reasons.push({ code: 'network', message: `${host.name} does not have the network ${name}` })
    else if (!seen.isUp) {
      reasons.push({
        code: 'network',
        message: `the network ${name} is down on ${host.name}: ${seen.problem ?? 'no reason given'}`,
      })
    }
  }
  return reasons
}

function storageReasons(cluster: ClusterView, host: HostView, need: Need): Reason[] {
  const wanted = new Set<DatastoreId>(need.spec.disks.map((disk) => disk.datastore))
  if (need.spec.nvram !== null) wanted.add(need.spec.nvram.datastore)
  for (const id of imagesOf(need.spec)) {
    const image = cluster.images.find((each) => each.id === id)
    if (image === undefined) return [{ code: 'storage', message: `the image ${id} does not exist any more` }]
    wanted.add(image.datastore)
  }
  return [...wanted].flatMap((id) => datastoreReasons(cluster, host, id, need.newBytes?.get(id) ?? 0))
}

/** Why this host cannot use a datastore, with room for `newBytes` more. */
export function datastoreReasons(cluster: ClusterView, host: HostView, id: DatastoreId, newBytes: number): Reason[] {
  const datastore = cluster.datastores.find((each) => each.id === id)
  const against = (message: string): Reason[] => [{ code: 'storage', message }]
  if (datastore === undefined) return against(`the datastore ${id} does not exist`)
  if (!isMountedOn(datastore, host.id)) return against(`${host.name} does not have the datastore ${datastore.name}`)
  const seen = storageOf(host, id)
  if (seen?.isUsable !== true) {
    return against(
      `the datastore ${datastore.name} is not usable on ${host.name}: ${seen?.problem ?? 'not reported yet'}`,
    )
  }
  if (newBytes <= seen.freeBytes) return []
  const message = `the datastore ${datastore.name} has ${formatSize(seen.freeBytes)} free, ${formatSize(newBytes)} are needed`
  return [{ code: 'disk-space', message }]
}
