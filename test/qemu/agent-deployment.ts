/** What the agent's tests with real QEMU put on their hosts: a network, a lease, a small guest. */
import type { VmId } from '../../src/base/ids.ts'
import type { HostConfiguration, NetworkConfig, VmDeployment } from '../../src/contracts/agent-api.ts'

export const testNetwork: NetworkConfig = {
  network: 'net-1' as never,
  name: 'default',
  kind: 'vxlan',
  tag: 4242,
  uplink: null,
  mtu: 1500,
  peers: [],
  macSpoofing: 'dropped',
  ipSpoofing: 'dropped',
  ipv4: { cidr: '10.77.0.0/24', gateway: null, dns: [], service: '10.77.0.2' },
}

export function lease(vm: VmId, last: number): HostConfiguration['leases'][number] {
  const mac = `52:54:00:00:00:${last.toString(16).padStart(2, '0')}`
  return { vm, network: testNetwork.network, mac, address: `10.77.0.${last}`, hostname: `guest ${last}` }
}

/** A small guest with one disk and one NIC on the shared datastore. */
export function deploymentOf(
  vm: VmId,
  last: number,
  generation: number,
  change: Partial<VmDeployment> = {},
): VmDeployment {
  const own = lease(vm, last)
  return {
    vm,
    name: `guest ${last}`,
    generation,
    networks: [testNetwork],
    leases: [own],
    images: [
      { image: 'img-1' as never, datastore: 'ds-1' as never, format: 'raw' },
      { image: 'img-2' as never, datastore: 'ds-1' as never, format: 'raw' },
    ],
    spec: {
      uuid: `0b6f1f0e-3c0e-4a51-9d8e-2f5d8f6f0a${last.toString(16).padStart(2, '0')}`,
      machine: 'pc',
      machineType: 'pc-i440fx-7.2',
      minQemu: '7.2',
      firmware: 'bios',
      cpu: { model: 'qemu64', features: [] },
      vcpus: 1,
      memoryMiB: 96,
      video: 'std',
      nvram: null,
      disks: [
        {
          key: 1,
          disk: `disk-${last}` as never,
          datastore: 'ds-1' as never,
          format: 'qcow2',
          bus: 'virtio',
          sizeBytes: 64 * 2 ** 20,
          slot: '4',
        },
      ],
      nics: [{ key: 2, network: testNetwork.network, model: 'virtio', mac: own.mac, address: own.address, slot: '5' }],
      cdroms: [],
      kernelBoot: { kernel: 'img-1' as never, initrd: 'img-2' as never, cmdline: 'console=ttyS0 quiet' },
      nextKey: 3,
    },
    ...change,
  }
}
