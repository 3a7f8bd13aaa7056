/**
 * The guest's machine, as it was fixed when the VM was created: versioned machine type, expanded CPU model, and for each
 * device a permanent key and PCI slot. It changes only by an explicit edit, so a QEMU upgrade alters nothing in the guest.
 */
import { DatastoreIdSchema, DiskIdSchema, ImageIdSchema, NetworkIdSchema } from './ids.ts'
import { Count, Ipv4, Mac, Nullable, OneOf, Open, Type, Uuid, type Static } from './schema.ts'

export const firmwares = ['bios', 'uefi'] as const
export const machineKinds = ['pc', 'q35'] as const
export const diskFormats = ['qcow2', 'raw'] as const
export const diskBuses = ['virtio', 'ide'] as const
export const nicModels = ['virtio', 'e1000'] as const
export const videoKinds = ['std', 'none'] as const
/**
 * By which revision of the virtio standard disks and NICs can be driven: `transitional` by the old and by 1.0, `legacy` by
 * the old alone (virtio 0.9.5; virtio 1.2, section 1.3). QEMU saves a thousand queues for each device that offers 1.0,
 * however few it has: a VM without any stands still for less time at each epoch while it is protected.
 */
export const virtioKinds = ['transitional', 'legacy'] as const

/** Slot on the root bus (pc: pci.0; q35: pcie.0), in QEMU's notation `1e` or `1e.2`. */
const PciSlot = Type.String({ pattern: '^[0-9a-f]{1,2}(\\.[0-7])?$' })
const DeviceKey = Type.Integer({ minimum: 1, maximum: 65535, description: 'permanent within the VM, never used again' })

export const DiskDevice = Open({
  key: DeviceKey,
  disk: DiskIdSchema,
  datastore: DatastoreIdSchema,
  format: OneOf(diskFormats),
  bus: OneOf(diskBuses),
  sizeBytes: Count,
  slot: Nullable(PciSlot, { description: 'null on IDE, where the key decides the place' }),
})
export type DiskDevice = Static<typeof DiskDevice>

export const NicDevice = Open({
  key: DeviceKey,
  network: NetworkIdSchema,
  model: OneOf(nicModels),
  mac: Mac,
  address: Nullable(Ipv4, { description: 'the fixed DHCP lease; null where Holdfast assigns no addresses' }),
  slot: PciSlot,
})
export type NicDevice = Static<typeof NicDevice>

export const CdromDevice = Open({ key: DeviceKey, image: Nullable(ImageIdSchema) })
export type CdromDevice = Static<typeof CdromDevice>

export const KernelBoot = Open({
  kernel: ImageIdSchema,
  initrd: Nullable(ImageIdSchema),
  cmdline: Type.String({ maxLength: 2000 }),
})
export type KernelBoot = Static<typeof KernelBoot>

export const CpuModel = Open({
  /** A named model of the cluster's baseline, never `host`. */
  model: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]*$' }),
  /** Features added (`+`) or taken away (`-`), as expanded when the VM was created. */
  features: Type.Array(Type.String({ pattern: '^[+-][a-z0-9][a-z0-9._-]*$' })),
})
export type CpuModel = Static<typeof CpuModel>

/** The key under which UEFI's variable store is attached and moves: no device bears it. */
export const nvramKey = 0

/** UEFI's own variable store: a small raw disk of the VM's, which moves with it. */
export const NvramDevice = Open({ disk: DiskIdSchema, datastore: DatastoreIdSchema, sizeBytes: Count })
export type NvramDevice = Static<typeof NvramDevice>

export const MachineSpec = Open({
  uuid: Uuid,
  machine: OneOf(machineKinds),
  /** The versioned machine type, such as pc-i440fx-7.2. */
  machineType: Type.String({ pattern: '^[a-z0-9-]+-[0-9]+\\.[0-9]+$' }),
  /** The oldest QEMU that may run it, `major.minor`. */
  minQemu: Type.String({ pattern: '^[0-9]+\\.[0-9]+$' }),
  firmware: OneOf(firmwares),
  cpu: CpuModel,
  vcpus: Type.Integer({ minimum: 1, maximum: 64 }),
  memoryMiB: Type.Integer({ minimum: 16, maximum: 4 * 1024 * 1024 }),
  video: OneOf(videoKinds),
  /** Absent: a machine that was made before there was a choice. All of its devices are transitional. */
  virtio: Type.Optional(OneOf(virtioKinds)),
  /** Present exactly when firmware is uefi. */
  nvram: Nullable(NvramDevice),
  disks: Type.Array(DiskDevice, { maxItems: 16 }),
  nics: Type.Array(NicDevice, { maxItems: 10 }),
  cdroms: Type.Array(CdromDevice, { maxItems: 2 }),
  kernelBoot: Nullable(KernelBoot),
  /** The next device key to hand out. */
  nextKey: DeviceKey,
})
export type MachineSpec = Static<typeof MachineSpec>
