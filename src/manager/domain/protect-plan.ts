/**
 * Whether a VM can be held in step on two hosts: which host holds the second copy and on which datastores its images lie,
 * and who decides between the two; every reason against it, host by host. Pure.
 */
import type { DatastoreId, DiskId, HostId, VmId } from '../../base/ids.ts'
import { idNumber } from '../../base/ids.ts'
import { formatSize } from '../../base/units.ts'
import type { HostFacts, VmObservation } from '../../contracts/host.ts'
import { nvramKey, type MachineSpec } from '../../contracts/machine-spec.ts'
import { managersArbiter, type ArbiterId, type CopyDisk } from '../../contracts/protection.ts'
import { isMountedOn, storageOf, type ClusterView, type HostView, type Reason, type VmView } from './cluster-view.ts'
import { reasonsAgainst } from './host-fit.ts'
import { place } from './placement.ts'

export interface ProtectionWish {
  readonly vm: VmView
  /** What its host sees of it now; null when that host does not answer. */
  readonly observation: VmObservation | null
  /** Who is to hold the second copy; null: placed. */
  readonly host: HostId | null
  /** Hosts that may still hold a former copy of it: one that has just failed is among them, and answers nothing. */
  readonly former: ReadonlySet<HostId>
}

/** An image to be made for the second; it gets an id of its own when the plan is carried out. */
export type PlannedCopy = Omit<CopyDisk, 'disk'>

export interface ProtectionPlan {
  readonly primary: HostId
  readonly second: HostId
  readonly arbiter: ArbiterId
  readonly copies: readonly PlannedCopy[]
}

export type ProtectionPrecheck =
  { readonly ok: true; readonly plan: ProtectionPlan } | { readonly ok: false; readonly reasons: readonly Reason[] }

/** Checks everything and names every reason; with no host asked for, the best of those that can hold it. */
export function planProtection(cluster: ClusterView, wish: ProtectionWish): ProtectionPrecheck {
  const before = stateReasons(cluster, wish)
  const primary = cluster.hosts.find((host) => host.id === wish.vm.run.host)
  if (before.length > 0 || primary === undefined) return { ok: false, reasons: before }
  const candidates = cluster.hosts.filter((host) => wish.host === null || host.id === wish.host)
  const judged = candidates.map((host) => ({ host, ...judge(cluster, primary, host, wish) }))
  const unfit = judged.filter(({ reasons }) => reasons.length > 0)
  // Which of those that can is the best: only what is promised there counts, since each has room for its images.
  const bare = { ...wish.vm.spec, disks: [], nvram: null }
  const fit = judged.filter(({ reasons }) => reasons.length === 0).map(({ host }) => host.id)
  const exclude = cluster.hosts.map((host) => host.id).filter((id) => !fit.includes(id))
  const placement = place(cluster, { vm: wish.vm.id, spec: bare, exclude })
  if (!placement.ok) return { ok: false, reasons: againstAll(unfit, primary, wish) }
  const copies = judged.find(({ host }) => host.id === placement.host)?.copies ?? []
  const arbiter = chooseArbiter(cluster, [primary.id, placement.host, ...wish.former])
  return { ok: true, plan: { primary: primary.id, second: placement.host, arbiter, copies } }
}

function stateReasons(cluster: ClusterView, { vm, observation, host: asked }: ProtectionWish): Reason[] {
  const against = (code: Reason['code'], message: string): Reason[] => [{ code, message }]
  if (vm.run.phase !== 'running') return against('vm-state', `${vm.name} does not run (its state is ${vm.run.phase})`)
  if (vm.run.protection) return against('protected', `${vm.name} has a second copy already`)
  const host = cluster.hosts.find((each) => each.id === vm.run.host)
  if (host === undefined) return against('host-state', `the host of ${vm.name} is not known any more`)
  if (host.state !== 'connected')
    return against('host-state', `${host.name}, on which ${vm.name} runs, is ${host.state}`)
  if (observation?.process === 'failed') return against('vm-state', `QEMU of ${vm.name} has failed; power it off`)
  if (asked !== null && !cluster.hosts.some((each) => each.id === asked)) {
    return against('name', `there is no host ${asked}`)
  }
  return []
}

function againstAll(
  unfit: readonly { readonly host: HostView; readonly reasons: readonly Reason[] }[],
  primary: HostView,
  { vm, host: asked }: ProtectionWish,
): Reason[] {
  const reasons = unfit.filter(({ host }) => asked !== null || host.id !== primary.id).flatMap((each) => each.reasons)
  if (reasons.length > 0) return reasons
  return [{ code: 'host-state', message: `there is no other host that could hold the second copy of ${vm.name}` }]
}

interface Judged {
  readonly reasons: readonly Reason[]
  readonly copies: readonly PlannedCopy[]
}

function judge(cluster: ClusterView, primary: HostView, host: HostView, { vm, former }: ProtectionWish): Judged {
  if (host.id === primary.id) {
    const message = `${vm.name} runs on ${host.name} itself: the second copy must be on another host`
    return { reasons: [{ code: 'name', message }], copies: [] }
  }
  if (former.has(host.id)) {
    const message = `${host.name} has not said yet that it holds nothing of the former copy of ${vm.name} any more`
    return { reasons: [{ code: 'host-state', message }], copies: [] }
  }
  const bare = { ...vm.spec, disks: [], nvram: null }
  const fit = reasonsAgainst(cluster, host, { vm: vm.id, spec: bare })
  if (host.state !== 'connected' || host.facts === null || host.maintenance !== 'off')
    return { reasons: fit, copies: [] }
  const images = planCopies(cluster, host, vm.spec)
  return { reasons: [...fit, ...betweenHosts(primary, host), ...images.reasons], copies: images.copies }
}

/** The saved state of devices is read by the same QEMU alone: here equal is asked for, not newer. */
function betweenHosts(primary: HostView, second: HostView): Reason[] {
  const [from, to] = [primary.facts, second.facts]
  if (from === null || to === null) return []
  const reasons: Reason[] = []
  for (const { name, facts } of [primary, second]) {
    const obstacle = facts?.protectionObstacle ?? null
    if (obstacle !== null) reasons.push({ code: 'qemu', message: `${name} cannot hold a VM in step: ${obstacle}` })
  }
  if (from.accelerator.kind !== to.accelerator.kind) {
    const message = `${primary.name} runs guests by ${from.accelerator.kind}, ${second.name} by ${to.accelerator.kind}`
    reasons.push({ code: 'cpu', message })
  }
  if (!isSameQemu(from, to)) {
    const message = `${second.name} has QEMU ${to.qemu.version}, ${primary.name} has ${from.qemu.version}: they must be the same`
    reasons.push({ code: 'qemu', message })
  }
  return reasons
}

/** Two copies are held in step by the same QEMU alone. */
function isSameQemu(a: HostFacts, b: HostFacts): boolean {
  return a.qemu.version === b.qemu.version
}

/**
 * Whether a VM is on a host whose QEMU no other usable one has, in the middle of a roll: two copies want the same. Where others
 * are renewed, or it moves to one that is, it finds a second host again.
 */
export function isBetweenVersions(cluster: ClusterView, id: VmId): boolean {
  const at = cluster.vms.find((each) => each.id === id)?.run.host
  const host = cluster.hosts.find((each) => each.id === at)
  const others = cluster.hosts.filter(
    (each) => each !== host && each.state === 'connected' && each.maintenance === 'off' && each.facts !== null,
  )
  const facts = host?.facts
  return (
    facts != null && others.length > 0 && others.every((each) => each.facts !== null && !isSameQemu(facts, each.facts))
  )
}

/** Images are always new, on shared datastores too: beside the primary's where that can be, else where there is most room. */
function planCopies(cluster: ClusterView, host: HostView, spec: MachineSpec): Judged {
  const wanted: (PlannedCopy & { readonly datastore: DatastoreId })[] = spec.disks.map((disk) => {
    const { key, datastore, format, sizeBytes } = disk
    return { key, datastore, format, sizeBytes }
  })
  const { nvram } = spec
  if (nvram !== null) {
    wanted.push({ key: nvramKey, datastore: nvram.datastore, format: 'raw', sizeBytes: nvram.sizeBytes })
  }
  const taken = new Map<DatastoreId, number>()
  const copies: PlannedCopy[] = []
  for (const image of wanted) {
    const datastore = datastoreFor(cluster, host, image, taken)
    if (datastore === undefined) {
      const message = `${host.name} has no datastore with ${formatSize(image.sizeBytes)} of room for a copy of a disk`
      return { reasons: [{ code: 'disk-space', message }], copies: [] }
    }
    taken.set(datastore, (taken.get(datastore) ?? 0) + image.sizeBytes)
    copies.push({ ...image, datastore })
  }
  return { reasons: [], copies }
}

function datastoreFor(
  cluster: ClusterView,
  host: HostView,
  image: PlannedCopy,
  taken: ReadonlyMap<DatastoreId, number>,
): DatastoreId | undefined {
  const rooms = cluster.datastores.flatMap((datastore) => {
    const seen = storageOf(host, datastore.id)
    if (seen?.isUsable !== true || !isMountedOn(datastore, host.id)) return []
    const free = seen.freeBytes - (taken.get(datastore.id) ?? 0)
    return free < image.sizeBytes ? [] : [{ id: datastore.id, free }]
  })
  if (rooms.some(({ id }) => id === image.datastore)) return image.datastore
  return rooms.sort((a, b) => b.free - a.free || idNumber(a.id) - idNumber(b.id))[0]?.id
}

/** What there is to choose from: hosts, and the pairs that there are. */
export interface Choice {
  readonly hosts: readonly Pick<HostView, 'id' | 'name' | 'state' | 'maintenance'>[]
  readonly vms: readonly Pick<VmView, 'run'>[]
}

/** A third host that answers and is not about to go; where there is none, the managers. Spread by what each decides already. */
export function chooseArbiter(cluster: Choice, not: readonly HostId[]): ArbiterId {
  const decides = (id: HostId): number => cluster.vms.filter((vm) => vm.run.protection?.arbiter === id).length
  const third = cluster.hosts
    .filter((host) => !not.includes(host.id) && host.state === 'connected' && host.maintenance === 'off')
    .sort((a, b) => decides(a.id) - decides(b.id) || idNumber(a.id) - idNumber(b.id))[0]
  return third?.id ?? managersArbiter
}

/** The copies with their ids, and the machine as it is on the second host. */
export function secondMachine(
  spec: MachineSpec,
  planned: readonly PlannedCopy[],
  ids: readonly DiskId[],
): { copies: CopyDisk[]; spec: MachineSpec } {
  const copies = planned.flatMap((copy, at) => {
    const disk = ids[at]
    return disk === undefined ? [] : [{ ...copy, disk }]
  })
  const copyOf = (key: number): CopyDisk | undefined => copies.find((each) => each.key === key)
  const placed = <T extends { disk: DiskId; datastore: DatastoreId }>(device: T, key: number): T => {
    const copy = copyOf(key)
    return copy === undefined ? device : { ...device, disk: copy.disk, datastore: copy.datastore }
  }
  const nvram = spec.nvram === null ? null : placed(spec.nvram, nvramKey)
  return { copies, spec: { ...spec, nvram, disks: spec.disks.map((disk) => placed(disk, disk.key)) } }
}
