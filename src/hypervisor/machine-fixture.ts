/** Test code: a small machine that boots a kernel, to be bent by each test. */
import type { MachineConfig } from './hypervisor.ts'

export const aMachine: MachineConfig = {
  name: 'vm-1',
  uuid: '6f2c1f2e-3a51-4c5e-9d53-0c2f7a4d1e10',
  machineType: 'pc-i440fx-7.2',
  machine: 'pc',
  accelerator: 'tcg',
  cpuModel: 'qemu64',
  cpuFeatures: [],
  vcpus: 1,
  memoryMiB: 128,
  firmware: { kind: 'bios' },
  video: 'none',
  disks: [],
  nics: [],
  cdroms: [],
  kernelBoot: { kernel: '/k/vmlinuz', initrd: '/k/initrd', cmdline: 'console=ttyS0' },
  runAs: null,
  runDirectory: '/run/holdfast/vm-1',
  cgroup: null,
  tlsDirectory: null,
}
