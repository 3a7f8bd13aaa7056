/** From a deployment to what QEMU is started with: ids become paths and taps of this host. Pure. */
import { HoldfastError } from '../../base/errors.ts'
import type { DatastoreId, DiskId, ImageId } from '../../base/ids.ts'
import type { VmDeployment } from '../../contracts/agent-api.ts'
import { nvramKey, type MachineSpec } from '../../contracts/machine-spec.ts'
import type { MachineConfig, MachineDisk } from '../../hypervisor/hypervisor.ts'

type Format = 'qcow2' | 'raw'

/** Where things are on this host. */
export interface HostPaths {
  diskPath(datastore: DatastoreId, disk: DiskId, format: Format): string
  imagePath(datastore: DatastoreId, image: ImageId, format: Format): string
  isShared(datastore: DatastoreId): boolean
}

/** What a place on the host has for this VM. */
export interface PlaceFacts {
  readonly accelerator: 'kvm' | 'tcg'
  readonly runAs: { readonly uid: number; readonly gid: number } | null
  readonly runDirectory: string
  readonly cgroup: string | null
  readonly tlsDirectory: string | null
  /** NIC key → tap. */
  readonly taps: ReadonlyMap<number, string>
}

export function machineConfig(deployment: VmDeployment, paths: HostPaths, place: PlaceFacts): MachineConfig {
  const { spec } = deployment
  const { accelerator, runAs, runDirectory, cgroup, tlsDirectory } = place
  return {
    name: deployment.vm,
    uuid: spec.uuid,
    machineType: spec.machineType,
    machine: spec.machine,
    accelerator,
    cpuModel: spec.cpu.model,
    cpuFeatures: spec.cpu.features,
    vcpus: spec.vcpus,
    memoryMiB: spec.memoryMiB,
    firmware: firmwareOf(spec, paths),
    video: spec.video,
    virtio: spec.virtio,
    disks: spec.disks.map((disk) => diskOf(disk, paths)),
    nics: spec.nics.map((nic) => ({
      key: nic.key,
      model: nic.model,
      mac: nic.mac,
      slot: nic.slot,
      tap: place.taps.get(nic.key) ?? missing(`NIC ${nic.key} has no tap`),
    })),
    cdroms: spec.cdroms.map(({ key, image }) => {
      if (image === null) return { key, path: null, format: 'raw' as const }
      return { key, ...imageFile(deployment, paths, image) }
    }),
    kernelBoot: kernelOf(deployment, paths),
    runAs,
    runDirectory,
    cgroup,
    tlsDirectory,
  }
}

function firmwareOf(spec: MachineSpec, paths: HostPaths): MachineConfig['firmware'] {
  if (spec.firmware === 'bios') return { kind: 'bios' }
  const { nvram } = spec
  if (nvram === null) return missing('UEFI has no variable store')
  return { kind: 'uefi', nvramPath: paths.diskPath(nvram.datastore, nvram.disk, 'raw'), key: nvramKey }
}

function diskOf(disk: MachineSpec['disks'][number], paths: HostPaths): MachineDisk {
  const { key, format, bus, slot } = disk
  // Past the page cache where another host may read what this one wrote.
  const cache = paths.isShared(disk.datastore) ? 'none' : 'writeback'
  return { key, path: paths.diskPath(disk.datastore, disk.disk, format), format, bus, slot, cache }
}

function kernelOf(deployment: VmDeployment, paths: HostPaths): MachineConfig['kernelBoot'] {
  const { kernelBoot } = deployment.spec
  if (kernelBoot === null) return null
  return {
    kernel: imageFile(deployment, paths, kernelBoot.kernel).path,
    initrd: kernelBoot.initrd === null ? null : imageFile(deployment, paths, kernelBoot.initrd).path,
    cmdline: kernelBoot.cmdline,
  }
}

function imageFile(deployment: VmDeployment, paths: HostPaths, image: ImageId): { path: string; format: Format } {
  const found =
    deployment.images.find((one) => one.image === image) ?? missing(`the deployment does not say where ${image} is`)
  return { path: paths.imagePath(found.datastore, image, found.format), format: found.format }
}

function missing(what: string): never {
  throw new HoldfastError('invalid-request', what)
}
