/** Whether a VM can move, where to, and with which disks; every reason against it. Pure. */
import type { DatastoreId, HostId } from '../../base/ids.ts'
import { formatSize } from '../../base/units.ts'
import type { MovingDisk } from '../../contracts/agent-api.ts'
import type { VmObservation } from '../../contracts/host.ts'
import { nvramKey, type MachineSpec } from '../../contracts/machine-spec.ts'
import { isMountedOn, storageOf, type ClusterView, type HostView, type Reason, type VmView } from './cluster-view.ts'
import { reasonsAgainst } from './host-fit.ts'
import { sagasWhileProtected } from './operations-while-protected.ts'
import { place } from './placement.ts'
import { compareVersions } from './versions.ts'

export interface MigrationWish {
  readonly vm: VmView
  /** What its host sees of it now; null when that host does not answer. */
  readonly observation: VmObservation | null
  /** Null: placed. */
  readonly host: HostId | null
  /** Where all its disks go; null: they stay where they are, as long as the target reaches them. */
  readonly datastore: DatastoreId | null
  /** Refuse a target to which no guest can come by post-copy. Disks that move too rule post-copy out by themselves. */
  readonly needsPostCopy?: boolean
  readonly ignoresRules?: boolean
}

export interface MigrationPlan {
  readonly source: HostId
  readonly target: HostId
  readonly movingDisks: readonly MovingDisk[]
  /** The machine with its disks in their places after the move. */
  readonly spec: MachineSpec
  readonly canPostCopy: boolean
}

export type Precheck =
  { readonly ok: true; readonly plan: MigrationPlan } | { readonly ok: false; readonly reasons: readonly Reason[] }

/** Checks everything and names every reason; with no host asked for, the best of those that can take it. */
export function precheckMigration(cluster: ClusterView, wish: MigrationWish): Precheck {
  const before = stateReasons(cluster, wish)
  const source = cluster.hosts.find((host) => host.id === wish.vm.run.host)
  if (before.length > 0 || source === undefined) return { ok: false, reasons: before }
  const spec = specAfter(wish.vm.spec, wish.datastore)
  const movingDisks = disksBetween(wish.vm.spec, spec)
  const { ignoresRules = false } = wish
  const need = { vm: wish.vm.id, spec, newBytes: bytesByDatastore(movingDisks), ignoresRules }
  const needsPostCopy = wish.needsPostCopy === true && movingDisks.length === 0
  const unlike = (host: HostView): Reason[] => [
    ...betweenHosts(source, host),
    ...(needsPostCopy ? againstPostCopy(host) : []),
  ]
  const target = wish.host ?? chosenTarget(cluster, wish, need, unlike)
  if (typeof target !== 'string') return { ok: false, reasons: target.reasons }
  const reasons = againstTarget(cluster, need, source, target, unlike)
  if (reasons.length > 0) return { ok: false, reasons }
  const host = cluster.hosts.find((each) => each.id === target)
  const canPostCopy = movingDisks.length === 0 && host !== undefined && againstPostCopy(host).length === 0
  return { ok: true, plan: { source: source.id, target, movingDisks, spec, canPostCopy } }
}

function stateReasons(cluster: ClusterView, { vm, observation }: MigrationWish): Reason[] {
  const against = (code: Reason['code'], message: string): Reason[] => [{ code, message }]
  if (vm.run.phase !== 'running') return against('vm-state', `${vm.name} does not run (its state is ${vm.run.phase})`)
  if (vm.run.protection)
    return against('protected', `${vm.name} is protected: ${sagasWhileProtected['vm.migrate'].why}`)
  const source = cluster.hosts.find((host) => host.id === vm.run.host)
  if (source === undefined) return against('host-state', `the host of ${vm.name} is not known any more`)
  if (source.state !== 'connected')
    return against('host-state', `${source.name}, on which ${vm.name} runs, is ${source.state}`)
  if (observation?.process === 'failed') return against('vm-state', `QEMU of ${vm.name} has failed; power it off`)
  return []
}

function chosenTarget(
  cluster: ClusterView,
  wish: MigrationWish,
  need: Parameters<typeof reasonsAgainst>[2],
  unlike: (host: HostView) => Reason[],
): HostId | { readonly reasons: readonly Reason[] } {
  const others = cluster.hosts.filter((host) => host.id !== wish.vm.run.host)
  const unfit = others.filter((host) => unlike(host).length > 0)
  const here = cluster.hosts.filter((host) => host.id === wish.vm.run.host)
  const placement = place(cluster, { ...need, exclude: [...here, ...unfit].map((host) => host.id) })
  if (placement.ok) return placement.host
  const reasons = [...unfit.flatMap(unlike), ...placement.refusals.flatMap((refusal) => refusal.reasons)]
  if (reasons.length > 0) return { reasons }
  return { reasons: [{ code: 'host-state', message: `there is no other host that could take ${wish.vm.name}` }] }
}

function againstTarget(
  cluster: ClusterView,
  need: Parameters<typeof reasonsAgainst>[2],
  source: HostView,
  target: HostId,
  unlike: (host: HostView) => Reason[],
): Reason[] {
  const host = cluster.hosts.find((each) => each.id === target)
  if (host === undefined) return [{ code: 'name', message: `there is no host ${target}` }]
  if (host.id === source.id) return [{ code: 'name', message: `the VM runs on ${host.name} already` }]
  return [...reasonsAgainst(cluster, host, need), ...unlike(host)]
}

/** What must be alike on both sides. */
function betweenHosts(source: HostView, target: HostView): Reason[] {
  const [from, to] = [source.facts, target.facts]
  if (from === null || to === null) return []
  const reasons: Reason[] = []
  if (from.accelerator.kind !== to.accelerator.kind) {
    const message = `${source.name} runs guests by ${from.accelerator.kind}, ${target.name} by ${to.accelerator.kind}`
    reasons.push({ code: 'cpu', message })
  }
  if (compareVersions(minor(to.qemu.version), minor(from.qemu.version)) < 0) {
    const message = `${target.name} has an older QEMU (${to.qemu.version}) than ${source.name} (${from.qemu.version})`
    reasons.push({ code: 'qemu', message })
  }
  return reasons
}

/** A host that says nothing of it is not taken for one that cannot: its QEMU would say so in time. */
function againstPostCopy(host: HostView): Reason[] {
  const obstacle = host.facts?.postCopyObstacle ?? null
  if (obstacle === null) return []
  return [{ code: 'qemu', message: `${host.name} takes no guest by post-copy: ${obstacle}` }]
}

function minor(version: string): string {
  return version.split('.').slice(0, 2).join('.')
}

/** The machine with all its disks on one datastore; as it is when none is named. */
export function specAfter(spec: MachineSpec, datastore: DatastoreId | null): MachineSpec {
  if (datastore === null) return spec
  return {
    ...spec,
    disks: spec.disks.map((disk) => ({ ...disk, datastore })),
    nvram: spec.nvram === null ? null : { ...spec.nvram, datastore },
  }
}

/** The disks that lie elsewhere in the one than in the other. */
export function disksBetween(before: MachineSpec, after: MachineSpec): MovingDisk[] {
  const moving: MovingDisk[] = before.disks.flatMap((disk) => {
    const to = after.disks.find((each) => each.disk === disk.disk)?.datastore ?? disk.datastore
    const { disk: id, key, format, sizeBytes, datastore: from } = disk
    return to === from ? [] : [{ disk: id, key, from, to, format, sizeBytes }]
  })
  const [old, next] = [before.nvram, after.nvram]
  if (old === null || next === null || old.datastore === next.datastore) return moving
  const { disk, sizeBytes } = old
  return [...moving, { disk, key: nvramKey, from: old.datastore, to: next.datastore, format: 'raw', sizeBytes }]
}

function bytesByDatastore(disks: readonly MovingDisk[]): Map<DatastoreId, number> {
  const bytes = new Map<DatastoreId, number>()
  for (const disk of disks) bytes.set(disk.to, (bytes.get(disk.to) ?? 0) + disk.sizeBytes)
  return bytes
}

/** Why the disks of a VM cannot go to a datastore while the VM stays where it is (or lies where it lies). */
export function precheckDiskMove(
  cluster: ClusterView,
  vm: VmView,
  datastore: DatastoreId,
):
  | { readonly ok: true; readonly host: HostId; readonly disks: readonly MovingDisk[]; readonly spec: MachineSpec }
  | { readonly ok: false; readonly reasons: readonly Reason[] } {
  const after = specAfter(vm.spec, datastore)
  // QEMU keeps UEFI's variables open as flash memory while the guest runs: they stay where they are then.
  const spec = vm.run.phase === 'running' ? { ...after, nvram: vm.spec.nvram } : after
  const disks = disksBetween(vm.spec, spec)
  if (vm.run.protection) {
    const message = `${vm.name} is protected: ${sagasWhileProtected['vm.move-disks'].why}`
    return { ok: false, reasons: [{ code: 'protected', message }] }
  }
  const needed = [...new Set([datastore, ...disks.map((disk) => disk.from)])]
  const candidates =
    vm.run.phase === 'stopped' ? cluster.hosts : cluster.hosts.filter((host) => host.id === vm.run.host)
  if (vm.run.phase !== 'stopped' && vm.run.phase !== 'running') {
    return { ok: false, reasons: [{ code: 'vm-state', message: `${vm.name} is ${vm.run.phase}` }] }
  }
  const total = disks.reduce((sum, disk) => sum + disk.sizeBytes, 0)
  const judged = candidates.map((host) => ({ host, reasons: againstCopying(cluster, host, needed, datastore, total) }))
  const fit = judged.find(({ reasons }) => reasons.length === 0)
  if (fit !== undefined) return { ok: true, host: fit.host.id, disks, spec }
  const reasons = judged.flatMap(({ reasons: each }) => each)
  return {
    ok: false,
    reasons: reasons.length > 0 ? reasons : [{ code: 'host-state', message: 'there is no host for it' }],
  }
}

function againstCopying(
  cluster: ClusterView,
  host: HostView,
  needed: readonly DatastoreId[],
  to: DatastoreId,
  bytes: number,
): Reason[] {
  if (host.state !== 'connected') return [{ code: 'host-state', message: `${host.name} is ${host.state}` }]
  return needed.flatMap((id): Reason[] => {
    const datastore = cluster.datastores.find((each) => each.id === id)
    const seen = storageOf(host, id)
    const name = datastore?.name ?? id
    if (datastore === undefined || !isMountedOn(datastore, host.id) || seen?.isUsable !== true) {
      return [{ code: 'storage', message: `the datastore ${name} cannot be used on ${host.name}` }]
    }
    if (id !== to || bytes <= seen.freeBytes) return []
    const message = `the datastore ${name} has ${formatSize(seen.freeBytes)} free, ${formatSize(bytes)} are needed`
    return [{ code: 'disk-space', message }]
  })
}
