/** A simulated host's places for VMs: nothing but names. Disks of a move are noted, so that a test sees who keeps them. */
import type { VmId } from '../base/ids.ts'
import type { MovingDisk, VmDeployment } from '../contracts/agent-api.ts'
import type { MachineConfig } from '../hypervisor/hypervisor.ts'

export class FakePlaces {
  readonly incoming: { readonly host: string; readonly tlsName: string }
  readonly disks = new Set<string>()
  readonly prepared = new Set<VmId>()
  isFull = false
  /** The storage. */
  answers = true

  constructor(host: string) {
    this.incoming = { host, tlsName: `${host}.holdfast` }
  }

  async prepare(deployment: VmDeployment): Promise<MachineConfig> {
    this.prepared.add(deployment.vm)
    const { spec } = deployment
    return {
      name: deployment.vm,
      uuid: spec.uuid,
      machineType: spec.machineType,
      machine: spec.machine,
      accelerator: 'tcg',
      cpuModel: spec.cpu.model,
      cpuFeatures: spec.cpu.features,
      vcpus: spec.vcpus,
      memoryMiB: spec.memoryMiB,
      firmware: { kind: 'bios' },
      video: spec.video,
      virtio: spec.virtio,
      disks: [],
      nics: [],
      cdroms: [],
      kernelBoot: null,
      runAs: null,
      runDirectory: this.runDirectory(deployment.vm),
      cgroup: null,
      tlsDirectory: null,
    }
  }

  runDirectory(vm: VmId): string {
    return `/run/${vm}`
  }

  async found(): Promise<VmId[]> {
    return [...this.prepared]
  }

  async release(vm: VmId): Promise<void> {
    this.prepared.delete(vm)
  }

  async createMovingDisks(_vm: VmId, disks: readonly MovingDisk[]): Promise<void> {
    for (const disk of disks) this.disks.add(`${disk.to}/${disk.disk}`)
  }

  async removeMovedDisks(disks: readonly MovingDisk[], end: 'from' | 'to'): Promise<void> {
    for (const disk of disks) this.disks.delete(`${disk[end]}/${disk.disk}`)
  }

  async withPostCopyRight<T>(_vm: VmId, work: () => Promise<T>): Promise<T> {
    return await work()
  }

  async endPostCopyRight(): Promise<void> {}

  async hasStorage(): Promise<boolean> {
    return this.answers
  }

  async hasSpace(): Promise<boolean> {
    return !this.isFull
  }
}
