/** Test code: a cluster as decisions see it, to be bent by each test. */
import type { DatastoreId, HostId, ImageId, NetworkId, VmId } from '../../base/ids.ts'
import type { HostFacts } from '../../contracts/host.ts'
import type { MachineSpec } from '../../contracts/machine-spec.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { ClusterView, HostView, NetworkView, VmView } from './cluster-view.ts'

export const aFacts: HostFacts = {
  hostname: 'h',
  agentVersion: '0',
  kernel: '6',
  cpu: { model: 'cpu', cores: 4, flags: [] },
  memoryMiB: 8192,
  accelerator: { kind: 'tcg', reason: '' },
  qemu: {
    version: '10.0.2',
    machineTypes: ['pc-i440fx-7.2', 'pc-i440fx-10.0', 'pc-q35-10.0'],
    cpuModels: ['qemu64', 'Nehalem'],
  },
  addresses: { management: '10.0.0.1', storage: '10.1.0.1', guests: '10.2.0.1' },
  foreignVms: [],
}

export function aHost(number: number, change: Partial<HostView> = {}): HostView {
  const seen = { path: '/', isUsable: true, problem: null, totalBytes: 100e9, freeBytes: 50e9 }
  return {
    id: `host-${number}` as HostId,
    name: `h${number}`,
    state: 'connected',
    maintenance: 'off',
    addresses: { management: `10.0.0.${number}`, storage: `10.1.0.${number}`, guests: `10.2.0.${number}` },
    facts: aFacts,
    datastores: ['ds-1', `ds-${number + 1}`].map((datastore) => ({ datastore: datastore as DatastoreId, ...seen })),
    networks: [{ network: 'net-1' as NetworkId, bridge: 'b', isUp: true, problem: null, mtu: 1500 }],
    load1: 0,
    ...change,
  }
}

export function aSpec(change: Partial<MachineSpec> = {}): MachineSpec {
  return {
    uuid: '00000000-0000-4000-8000-000000000000',
    machine: 'pc',
    machineType: 'pc-i440fx-10.0',
    minQemu: '10.0',
    firmware: 'bios',
    cpu: { model: 'qemu64', features: ['-svm'] },
    vcpus: 1,
    memoryMiB: 512,
    video: 'std',
    nvram: null,
    disks: [],
    nics: [],
    cdroms: [],
    kernelBoot: null,
    nextKey: 1,
    ...change,
  }
}

export function aRun(change: Partial<RunRecord> = {}): RunRecord {
  return {
    vm: 'vm-1' as VmId,
    phase: 'stopped',
    host: null,
    target: null,
    postCopy: false,
    task: null,
    cause: 'never-started',
    incarnation: 1,
    generation: 0,
    since: '2030-01-01T00:00:00.000Z',
    ...change,
  }
}

export function aVm(number: number, on: string | null, spec: Partial<MachineSpec> = {}): VmView {
  const id = `vm-${number}` as VmId
  const run =
    on === null ? aRun({ vm: id }) : aRun({ vm: id, phase: 'running', host: on as HostId, cause: null, generation: 1 })
  return { id, name: `v${number}`, spec: aSpec(spec), run, startingOn: null }
}

export const aNetwork: NetworkView = {
  id: 'net-1' as NetworkId,
  name: 'default',
  kind: 'vxlan',
  tag: 100,
  uplink: null,
  mtu: 1500,
  macSpoofing: 'dropped',
  ipSpoofing: 'dropped',
  ipv4: {
    cidr: '10.9.0.0/24',
    gateway: null,
    dns: [],
    service: '10.9.0.254',
    rangeStart: '10.9.0.1',
    rangeEnd: '10.9.0.253',
  },
  externalPeers: ['192.0.2.1'],
}

/** Three hosts, ds-1 shared, ds-2 to ds-4 local to one host each, one network with addresses, one image on ds-1. */
export function aCluster(change: Partial<ClusterView> = {}): ClusterView {
  const local = (number: number) => ({
    id: `ds-${number + 1}` as DatastoreId,
    name: `local${number}`,
    isShared: false,
    path: '/l',
    hosts: [`host-${number}` as HostId],
  })
  return {
    cpuBaseline: 'x86-64-v2',
    hosts: [aHost(1), aHost(2), aHost(3)],
    datastores: [
      { id: 'ds-1' as DatastoreId, name: 'shared', isShared: true, path: '/s', hosts: [] },
      local(1),
      local(2),
      local(3),
    ],
    networks: [aNetwork],
    images: [
      {
        id: 'img-1' as ImageId,
        name: 'debian',
        datastore: 'ds-1' as DatastoreId,
        state: 'ready',
        format: 'qcow2',
        virtualBytes: 2 ** 30,
      },
    ],
    vms: [],
    ...change,
  }
}
