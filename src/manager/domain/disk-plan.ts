/** Disks of a new machine: sizes, formats, and which datastore holds each. */
import { HoldfastError } from '../../base/errors.ts'
import type { DatastoreId, DiskId, ImageId } from '../../base/ids.ts'
import { formatSize } from '../../base/units.ts'
import type { CreateVm } from '../../contracts/vm-requests.ts'
import type { DiskDevice, NvramDevice } from '../../contracts/machine-spec.ts'
import { hostsReaching, storageOf, type ClusterView, type ImageView } from './cluster-view.ts'
import { resolveRef } from './names.ts'

export interface PlannedDisk {
  readonly kind: 'disk' | 'nvram'
  readonly disk: DiskId
  readonly datastore: DatastoreId
  readonly format: 'qcow2' | 'raw'
  readonly sizeBytes: number
  /** What it is a copy of. */
  readonly image: ImageId | null
}

/** Size of UEFI's variable store: that of OVMF_VARS_4M.fd. */
export const nvramBytes = 540_672

interface Parts {
  readonly disks: readonly DiskId[]
  readonly nextKey: () => number
  readonly nextSlot: () => string
  readonly images: (ref: string) => ImageView
  /** Images that the machine has at hand while it runs. */
  readonly attached: readonly ImageId[]
}

type WantedDisk = NonNullable<CreateVm['disks']>[number]

export interface DiskPlan {
  readonly devices: readonly DiskDevice[]
  readonly nvram: NvramDevice | null
  readonly files: readonly PlannedDisk[]
}

/** Throws `invalid-request`, `not-found` or `refused`. */
export function planDisks(cluster: ClusterView, request: CreateVm, parts: Parts): DiskPlan {
  const wanted = request.disks ?? []
  const imageOf = (disk: WantedDisk): ImageView | null => (disk.image === undefined ? null : parts.images(disk.image))
  const sources = wanted.map(imageOf)
  const needed = new Set<DatastoreId>([
    ...sources.flatMap((image) => image?.datastore ?? []),
    ...parts.attached.flatMap((id) => cluster.images.find((image) => image.id === id)?.datastore ?? []),
  ])
  const datastoreFor = (ref: string | undefined): DatastoreId =>
    chooseDatastore(cluster, ref ?? request.datastore, [...needed])
  const files: PlannedDisk[] = wanted.map((disk, at) => ({
    kind: 'disk',
    disk: idAt(parts.disks, at),
    datastore: datastoreFor(disk.datastore),
    format: disk.format ?? 'qcow2',
    sizeBytes: sizeOf(disk, sources[at] ?? null),
    image: sources[at]?.id ?? null,
  }))
  const devices = files.map((file, at): DiskDevice => {
    const bus = wanted[at]?.bus ?? 'virtio'
    const { disk, datastore, format, sizeBytes } = file
    return {
      key: parts.nextKey(),
      disk,
      datastore,
      format,
      bus,
      sizeBytes,
      slot: bus === 'virtio' ? parts.nextSlot() : null,
    }
  })
  const nvram = planNvram(request, parts, files[0]?.datastore ?? null, () => datastoreFor(undefined))
  return nvram === null
    ? { devices, nvram, files }
    : { devices, nvram, files: [...files, { kind: 'nvram', format: 'raw', image: null, ...nvram }] }
}

function planNvram(
  request: CreateVm,
  parts: Parts,
  besideDisk: DatastoreId | null,
  fallback: () => DatastoreId,
): NvramDevice | null {
  if (request.firmware !== 'uefi') return null
  const disk = idAt(parts.disks, request.disks?.length ?? 0)
  return { disk, datastore: besideDisk ?? fallback(), sizeBytes: nvramBytes }
}

function idAt(ids: readonly DiskId[], at: number): DiskId {
  const id = ids[at]
  if (id === undefined) throw new HoldfastError('internal', 'A plan was given too few disk ids')
  return id
}

function sizeOf(disk: WantedDisk, image: ImageView | null): number {
  const size = disk.sizeBytes ?? (image === null ? undefined : Math.ceil(image.virtualBytes / 512) * 512)
  if (size === undefined) throw new HoldfastError('invalid-request', 'A disk needs a size or an image')
  if (size % 512 !== 0)
    throw new HoldfastError('invalid-request', `The disk size ${size} is not a multiple of 512 bytes`)
  if (image !== null && size < image.virtualBytes) {
    throw new HoldfastError(
      'invalid-request',
      `The image ${image.name} (${formatSize(image.virtualBytes)}) does not fit on a disk of ${formatSize(size)}`,
    )
  }
  return size
}

/** The datastore that is asked for, or the best one: shared before local, then the one with the most space. */
export function chooseDatastore(
  cluster: ClusterView,
  ref: string | undefined,
  besideDatastores: readonly DatastoreId[],
): DatastoreId {
  const asked = ref === undefined ? undefined : resolveRef(cluster.datastores, ref)
  if (ref !== undefined && asked === undefined) throw new HoldfastError('not-found', `There is no datastore ${ref}`)
  const usable = (asked === undefined ? cluster.datastores : [asked])
    .map((datastore) => ({ datastore, free: bestFreeBytes(cluster, datastore.id, besideDatastores) }))
    .filter(({ free }) => free !== undefined)
    .sort((a, b) => Number(b.datastore.isShared) - Number(a.datastore.isShared) || (b.free ?? 0) - (a.free ?? 0))
  const best = usable[0]
  if (best !== undefined) return best.datastore.id
  const message =
    asked === undefined
      ? 'No connected host has a usable datastore together with the images that are needed'
      : `No connected host reaches the datastore ${asked.name} together with the images that are needed`
  throw new HoldfastError('refused', message, {
    mend: 'See `holdfast datastore list` for what is usable where.',
    reasons: [{ code: 'storage', message }],
  })
}

/** Free bytes as seen by a connected host that reaches this datastore and all the others; undefined when there is none. */
function bestFreeBytes(cluster: ClusterView, id: DatastoreId, others: readonly DatastoreId[]): number | undefined {
  const reaching = others.map((other) => new Set(hostsReaching(cluster, other).map((host) => host.id)))
  const hosts = hostsReaching(cluster, id).filter((host) => reaching.every((set) => set.has(host.id)))
  if (hosts.length === 0) return undefined
  return Math.max(...hosts.map((host) => storageOf(host, id)?.freeBytes ?? 0))
}
