/**
 * From what a person asks for to the guest's machine, fixed for its whole life: the newest machine type that all connected
 * hosts offer, the expanded CPU model, permanent device keys and PCI slots. Pure: ids, MACs and claims come in.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { DiskId, ImageId } from '../../base/ids.ts'
import { formatSize, MiB } from '../../base/units.ts'
import type { CreateVm } from '../../contracts/vm-requests.ts'
import type { MachineSpec } from '../../contracts/machine-spec.ts'
import { imagesOf, reservedMiB, type ClusterView, type ImageView } from './cluster-view.ts'
import { cpuProblem, expandCpuModel } from './cpu-baseline.ts'
import { planDisks, type PlannedDisk } from './disk-plan.ts'
import { resolveRef } from './names.ts'
import { planNics } from './nic-plan.ts'
import { compareVersions } from './versions.ts'

/** What makes a plan unique: handed in, so that planning is pure. */
export interface Ingredients {
  readonly uuid: string
  /** One for each disk, and one more for UEFI's variables. */
  readonly disks: readonly DiskId[]
  readonly newMac: () => string
  /** Keys of all claims of the store. */
  readonly claims: ReadonlySet<string>
}

export interface MachinePlan {
  readonly spec: MachineSpec
  /** Files to be made, UEFI's variables last. */
  readonly disks: readonly PlannedDisk[]
  /** Claims on MACs and addresses, to be made with the VM. */
  readonly claims: readonly string[]
}

/** Slots on the root bus for disks and NICs. 00–02 belong to chipset and screen, 1d–1f to the platform's own devices. */
export function slotAllocator(): () => string {
  let next = 0x03
  return () => {
    if (next > 0x1c) throw new HoldfastError('invalid-request', 'The machine has no free PCI slot for so many devices')
    return (next++).toString(16).padStart(2, '0')
  }
}

/** How many disk ids a request needs. */
export function diskCount(request: CreateVm): number {
  return (request.disks?.length ?? 0) + (request.firmware === 'uefi' ? 1 : 0)
}

/**
 * The machine that this request means in this cluster. Throws `invalid-request`, `not-found` (a reference), `name-taken`
 * (MAC, address), `no-capacity` (more than any host has) or `refused`; nothing is changed.
 */
export function planMachine(cluster: ClusterView, request: CreateVm, ingredients: Ingredients): MachinePlan {
  const machine = request.machine ?? 'pc'
  const type = newestCommonMachine(cluster, machine)
  const nextSlot = slotAllocator()
  let key = 1
  const nextKey = (): number => key++
  const images = (ref: string): ImageView => readyImage(cluster, ref)
  const kernelBoot = planKernelBoot(request, images)
  const cdroms = (request.cdroms ?? []).map((cdrom) => (cdrom.image === undefined ? null : images(cdrom.image).id))
  const attached = [...cdroms, kernelBoot?.kernel ?? null, kernelBoot?.initrd ?? null].filter((id) => id !== null)
  const storage = planDisks(cluster, request, { disks: ingredients.disks, nextKey, nextSlot, images, attached })
  const nics = planNics(cluster, request, { ...ingredients, nextKey, nextSlot })
  const spec: MachineSpec = {
    uuid: ingredients.uuid,
    machine,
    machineType: type.name,
    minQemu: type.version,
    firmware: request.firmware ?? 'bios',
    cpu: expandCpuModel(request.cpuModel ?? cluster.cpuBaseline),
    vcpus: request.vcpus ?? 1,
    memoryMiB: request.memoryMiB ?? 512,
    video: request.video ?? 'std',
    virtio: request.virtio ?? 'transitional',
    nvram: storage.nvram,
    disks: [...storage.devices],
    nics: [...nics.devices],
    cdroms: cdroms.map((image) => ({ key: nextKey(), image })),
    kernelBoot,
    nextKey: 1,
  }
  checkIdePlaces(spec)
  checkCapacity(cluster, spec)
  return { spec: { ...spec, nextKey: key }, disks: storage.files, claims: nics.claims }
}

const familyOf = { pc: 'pc-i440fx', q35: 'pc-q35' } as const

/** The newest versioned type of this kind that every connected host offers. */
export function newestCommonMachine(cluster: ClusterView, kind: 'pc' | 'q35'): { name: string; version: string } {
  const offers = cluster.hosts.flatMap((host) =>
    host.state === 'connected' && host.facts !== null ? [host.facts.qemu.machineTypes] : [],
  )
  const [first, ...others] = offers
  if (first === undefined) {
    throw new HoldfastError('no-capacity', 'No host is connected, so the machine type cannot be chosen', {
      mend: 'Start an agent (holdfast host list shows their states), then try again.',
    })
  }
  const versions = first
    .filter((type) => others.every((types) => types.includes(type)))
    .flatMap((type) => new RegExp(`^${familyOf[kind]}-([0-9]+\\.[0-9]+)$`).exec(type)?.[1] ?? [])
    .sort(compareVersions)
  const version = versions.at(-1)
  if (version === undefined) {
    throw new HoldfastError('refused', `The connected hosts have no machine type of the kind ${kind} in common`, {
      mend: 'Bring the hosts to versions of QEMU that lie closer together.',
    })
  }
  return { name: `${familyOf[kind]}-${version}`, version }
}

/** The image that a reference means. Throws `not-found`; `wrong-state` while it is being imported. */
export function readyImage(cluster: ClusterView, ref: string): ImageView {
  const image = resolveRef(cluster.images, ref)
  if (image === undefined) throw new HoldfastError('not-found', `There is no image ${ref}`)
  if (image.state !== 'ready') throw new HoldfastError('wrong-state', `The image ${image.name} is still being imported`)
  return image
}

function planKernelBoot(request: CreateVm, images: (ref: string) => ImageView): MachineSpec['kernelBoot'] {
  const boot = request.kernel
  if (boot === undefined) return null
  if (request.firmware === 'uefi') {
    throw new HoldfastError('invalid-request', 'Direct kernel boot goes with the firmware bios alone')
  }
  const id = (ref: string): ImageId => images(ref).id
  return {
    kernel: id(boot.kernel),
    initrd: boot.initrd === undefined ? null : id(boot.initrd),
    cmdline: boot.cmdline ?? '',
  }
}

function checkIdePlaces(spec: MachineSpec): void {
  const places = spec.machine === 'pc' ? 4 : 6
  const used = spec.disks.filter((disk) => disk.bus === 'ide').length + spec.cdroms.length
  if (used <= places) return
  throw new HoldfastError(
    'invalid-request',
    `A ${spec.machine} machine has ${places} IDE places, ${used} are asked for`,
    {
      mend: 'Put disks on the bus virtio.',
    },
  )
}

/** Throws `no-capacity` or `refused` when no host that is known could ever run this machine. */
export function checkCapacity(cluster: ClusterView, spec: MachineSpec): void {
  const known = cluster.hosts.flatMap((host) => (host.facts === null ? [] : [host.facts]))
  const largest = Math.max(0, ...known.map((facts) => facts.memoryMiB - reservedMiB(facts.memoryMiB)))
  if (spec.memoryMiB > largest) {
    throw new HoldfastError(
      'no-capacity',
      `${formatSize(spec.memoryMiB * MiB)} of memory is more than any host has for guests (${formatSize(largest * MiB)})`,
      { mend: 'Ask for less memory, or add a larger host.' },
    )
  }
  const problems = known.map((facts) =>
    cpuProblem(spec.cpu, { accelerator: facts.accelerator.kind, models: facts.qemu.cpuModels, flags: facts.cpu.flags }),
  )
  const first = problems[0]
  if (first !== undefined && problems.every((problem) => problem !== undefined)) {
    throw new HoldfastError('refused', `No host can run this CPU: ${first}`, {
      mend: 'Leave the CPU model out, so that the cluster baseline is taken.',
      reasons: [{ code: 'cpu', message: first }],
    })
  }
  if (imagesOf(spec).some((id) => cluster.images.every((image) => image.id !== id))) {
    throw new HoldfastError('not-found', 'An image of the machine does not exist any more')
  }
}
