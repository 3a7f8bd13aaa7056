/** What is asked of VMs: the bodies of the calls of the API. */
import { isolationPolicies } from './host-lease.ts'
import { diskBuses, diskFormats, firmwares, machineKinds, nicModels, videoKinds, virtioKinds } from './machine-spec.ts'
import { restartPriorities } from './restart-words.ts'
import { DependencyRequests } from './restart.ts'
import { MonitoringWish } from './monitoring.ts'
import { Count, Ipv4, Mac, Name, Nullable, OneOf, Open, Ref, Strict, Type, type Static } from './schema.ts'

const MemoryMiB = Type.Integer({ minimum: 16, maximum: 4 * 1024 * 1024 })
const DiskSize = Type.Integer({ minimum: 512, maximum: 64 * 2 ** 40, description: 'bytes, a multiple of 512' })

export const CreateDisk = Strict({
  sizeBytes: Type.Optional(DiskSize),
  image: Type.Optional(Ref),
  datastore: Type.Optional(Ref),
  format: Type.Optional(OneOf(diskFormats)),
  bus: Type.Optional(OneOf(diskBuses)),
})
export const CreateNic = Strict({
  network: Type.Optional(Ref),
  model: Type.Optional(OneOf(nicModels)),
  mac: Type.Optional(Mac),
  address: Type.Optional(Ipv4),
})

export const CreateVm = Strict({
  name: Name,
  description: Type.Optional(Type.String({ maxLength: 2000 })),
  vcpus: Type.Optional(Type.Integer({ minimum: 1, maximum: 64 })),
  cpuModel: Type.Optional(Type.String({ description: 'a named model; default: the cluster baseline' })),
  memoryMiB: Type.Optional(MemoryMiB),
  firmware: Type.Optional(OneOf(firmwares)),
  machine: Type.Optional(OneOf(machineKinds)),
  video: Type.Optional(OneOf(videoKinds)),
  virtio: Type.Optional(
    OneOf(virtioKinds, {
      description:
        'default: transitional. legacy: shorter pauses while protected, for guests with drivers for virtio 0.9.5',
    }),
  ),
  disks: Type.Optional(Type.Array(CreateDisk, { maxItems: 16 })),
  nics: Type.Optional(
    Type.Array(CreateNic, { maxItems: 10, description: 'default: one virtio NIC on the default network' }),
  ),
  cdroms: Type.Optional(Type.Array(Strict({ image: Type.Optional(Ref) }), { maxItems: 2 })),
  kernel: Type.Optional(
    Strict({ kernel: Ref, initrd: Type.Optional(Ref), cmdline: Type.Optional(Type.String({ maxLength: 2000 })) }),
  ),
  policies: Type.Optional(
    Strict({
      allowPostCopy: Type.Optional(Type.Boolean()),
      autoConverge: Type.Optional(Type.Boolean()),
      restart: Type.Optional(OneOf(['on-failure', 'never'])),
      isolation: Type.Optional(
        OneOf(isolationPolicies, {
          description: 'what its host does when it loses every manager (several managers only)',
        }),
      ),
      restartPriority: Type.Optional(OneOf(restartPriorities)),
      monitoring: Type.Optional(MonitoringWish),
    }),
  ),
  dependsOn: Type.Optional(DependencyRequests),
  /** Where to put disks that name no datastore. */
  datastore: Type.Optional(Ref),
  start: Type.Optional(Type.Boolean({ description: 'power it on when it is made' })),
})
export type CreateVm = Static<typeof CreateVm>

export const ChangeVm = Strict({
  name: Type.Optional(Name),
  description: Type.Optional(Type.String({ maxLength: 2000 })),
  policies: Type.Optional(CreateVm.properties.policies),
  dependsOn: Type.Optional(DependencyRequests),
  vcpus: Type.Optional(Type.Integer({ minimum: 1, maximum: 64, description: 'while stopped' })),
  memoryMiB: Type.Optional(Type.Integer({ minimum: 16, maximum: 4 * 1024 * 1024, description: 'while stopped' })),
  virtio: Type.Optional(OneOf(virtioKinds, { description: 'while stopped' })),
  kernel: Type.Optional(
    Nullable(
      Strict({
        kernel: Type.Optional(Ref),
        initrd: Type.Optional(Nullable(Ref)),
        cmdline: Type.Optional(Type.String({ maxLength: 2000 })),
      }),
      { description: 'while stopped; what is not named stays; null: no direct boot any more' },
    ),
  ),
  cdroms: Type.Optional(
    Type.Array(Strict({ image: Type.Optional(Ref) }), {
      maxItems: 2,
      description: 'while stopped: for each drive, in order, what lies in it; an empty object: nothing',
    }),
  ),
  /** The revision that the change was made from; another one answers `conflict`. */
  revision: Type.Optional(Count),
})
export type ChangeVm = Static<typeof ChangeVm>

export const StartVm = Strict({ host: Type.Optional(Ref) })
export type StartVm = Static<typeof StartVm>

export const MigrateVm = Strict({
  host: Type.Optional(
    Type.String({ description: 'id or name; absent with `datastore`: disks alone; absent otherwise: placed' }),
  ),
  datastore: Type.Optional(Type.String({ description: 'move the disks there too' })),
  maxBandwidth: Type.Optional(Type.Integer({ minimum: 65536, description: 'bytes per second' })),
  allowPostCopy: Type.Optional(Type.Boolean()),
  autoConverge: Type.Optional(Type.Boolean()),
  downtimeLimitMs: Type.Optional(Type.Integer({ minimum: 1, maximum: 10000 })),
  multifdChannels: Type.Optional(Type.Integer({ minimum: 0, maximum: 16 })),
  force: Type.Optional(Type.Boolean({ description: 'go there although a rule that must be kept forbids it' })),
  /** For measuring beside plain QEMU only; default true. */
  tls: Type.Optional(Type.Boolean()),
})
export type MigrateVm = Static<typeof MigrateVm>

export const MigratePrecheck = Open({
  isPossible: Type.Boolean(),
  /** Each reason with a code (`cpu`, `network`, `storage`, `memory`, `host-state`, `name`, `qemu`) and a sentence. */
  reasons: Type.Array(Open({ code: Type.String(), message: Type.String() })),
  /** What would be done. */
  plan: Nullable(Open({ host: Type.String(), memoryBytes: Count, movingDiskBytes: Count })),
})
export type MigratePrecheck = Static<typeof MigratePrecheck>
