/** A change of a stopped VM's machine. What is not named stays; keys and slots of devices are never touched. Pure. */
import { HoldfastError } from '../../base/errors.ts'
import type { ImageId } from '../../base/ids.ts'
import type { ChangeVm } from '../../contracts/vm-requests.ts'
import type { MachineSpec } from '../../contracts/machine-spec.ts'
import type { ClusterView } from './cluster-view.ts'
import { checkCapacity, readyImage } from './machine-plan.ts'

/** Whether a request changes the machine, which it may only while the VM is stopped. */
export function changesMachine(request: ChangeVm): boolean {
  const { vcpus, memoryMiB, virtio, kernel, cdroms } = request
  return [vcpus, memoryMiB, virtio, kernel, cdroms].some((field) => field !== undefined)
}

/**
 * The machine as this request makes it. Throws `invalid-request`, `not-found` (an image), `wrong-state` (an image that is
 * still being imported), `no-capacity` (more than any host has).
 */
export function changeMachine(cluster: ClusterView, spec: MachineSpec, request: ChangeVm): MachineSpec {
  const imageOf = (ref: string): ImageId => readyImage(cluster, ref).id
  const next: MachineSpec = {
    ...spec,
    vcpus: request.vcpus ?? spec.vcpus,
    memoryMiB: request.memoryMiB ?? spec.memoryMiB,
    ...(request.virtio === undefined ? {} : { virtio: request.virtio }),
    kernelBoot: request.kernel === undefined ? spec.kernelBoot : kernelBootOf(spec, request.kernel, imageOf),
    cdroms: request.cdroms === undefined ? spec.cdroms : cdromsOf(spec, request.cdroms, imageOf),
  }
  if (next.memoryMiB > spec.memoryMiB) checkCapacity(cluster, next)
  return next
}

function kernelBootOf(
  spec: MachineSpec,
  change: NonNullable<ChangeVm['kernel']> | null,
  imageOf: (ref: string) => ImageId,
): MachineSpec['kernelBoot'] {
  if (change === null) return null
  if (spec.firmware === 'uefi') {
    throw new HoldfastError('invalid-request', 'Direct kernel boot goes with the firmware bios alone')
  }
  const before = spec.kernelBoot
  const kernel = change.kernel === undefined ? before?.kernel : imageOf(change.kernel)
  if (kernel === undefined) {
    throw new HoldfastError('invalid-request', 'The VM boots no kernel directly', {
      field: 'kernel.kernel',
      mend: 'Name the kernel too.',
    })
  }
  return {
    kernel,
    initrd: initrdOf(before?.initrd ?? null, change.initrd, imageOf),
    cmdline: change.cmdline ?? before?.cmdline ?? '',
  }
}

function initrdOf(
  before: ImageId | null,
  change: string | null | undefined,
  imageOf: (ref: string) => ImageId,
): ImageId | null {
  if (change === undefined) return before
  return change === null ? null : imageOf(change)
}

function cdromsOf(
  spec: MachineSpec,
  wanted: NonNullable<ChangeVm['cdroms']>,
  imageOf: (ref: string) => ImageId,
): MachineSpec['cdroms'] {
  if (wanted.length !== spec.cdroms.length) {
    throw new HoldfastError('invalid-request', `The VM has ${spec.cdroms.length} CD-ROM drives, not ${wanted.length}`, {
      field: 'cdroms',
      mend: 'Say for each drive, in order, what is to lie in it.',
    })
  }
  return spec.cdroms.map((drive, at) => {
    const image = wanted[at]?.image
    return { ...drive, image: image === undefined ? null : imageOf(image) }
  })
}
