import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { DatastoreId, DiskId, HostId, NetworkId, VmId } from '../../base/ids.ts'
import { aCluster, aFacts, aHost, aSpec, aVm } from './cluster-fixture.ts'
import { reservedMiB, type HostView } from './cluster-view.ts'
import { committedMiB } from './host-load.ts'
import { place } from './placement.ts'

const vm = 'vm-99' as VmId
const disk = (datastore: string) =>
  ({
    key: 1,
    disk: 'disk-1' as DiskId,
    datastore: datastore as DatastoreId,
    format: 'qcow2',
    bus: 'virtio',
    sizeBytes: 1,
    slot: '03',
  }) as const
const nic = {
  key: 2,
  network: 'net-1' as NetworkId,
  model: 'virtio',
  mac: '52:54:00:00:00:01',
  address: null,
  slot: '04',
} as const

function refusalOf(host: HostView, spec = aSpec()): string[] {
  const placement = place(aCluster({ hosts: [host] }), { vm, spec })
  assert.ok(!placement.ok, 'it was placed')
  return placement.refusals.flatMap((refusal) => refusal.reasons.map((reason) => reason.code))
}

test('the host with the most memory left wins, and the lowest id breaks a tie', () => {
  const cluster = aCluster({ vms: [aVm(1, 'host-1'), aVm(2, 'host-2', { memoryMiB: 64 })] })
  const placement = place(cluster, { vm, spec: aSpec() })
  assert.ok(placement.ok)
  assert.equal(placement.host, 'host-3')
  assert.equal((place(aCluster(), { vm, spec: aSpec() }) as { host: string }).host, 'host-1')
})

test('VMs spread by what was promised, however the hosts happen to be loaded now', () => {
  const hosts = [aHost(1, { load1: 0.3 }), aHost(2, { load1: 2.5 })]
  const small = { memoryMiB: 128 }
  const first = aVm(1, null, small)
  const next = (cluster: ReturnType<typeof aCluster>) => {
    const placement = place(cluster, { vm, spec: aSpec(small) })
    assert.ok(placement.ok)
    return placement.host
  }
  assert.equal(next(aCluster({ hosts })), 'host-1')
  // Chosen, and not yet reported by anybody.
  assert.equal(next(aCluster({ hosts, vms: [{ ...first, startingOn: 'host-1' as HostId }] })), 'host-2')
  const both = [{ ...first, startingOn: 'host-1' as HostId }, aVm(2, 'host-2', small)]
  assert.equal(next(aCluster({ hosts, vms: both })), 'host-1')
})

test('each thing that a host lacks is a reason with its code', () => {
  assert.deepEqual(refusalOf(aHost(1, { state: 'unreachable' })), ['host-state'])
  assert.deepEqual(refusalOf(aHost(1, { maintenance: 'entering' })), ['host-state'])
  assert.deepEqual(refusalOf(aHost(1), aSpec({ memoryMiB: 8000 })), ['memory'])
  assert.deepEqual(refusalOf(aHost(1), aSpec({ cpu: { model: 'EPYC', features: [] } })), ['cpu'])
  assert.deepEqual(refusalOf(aHost(1), aSpec({ cpu: { model: 'qemu64', features: ['+avx512f'] } })), ['cpu'])
  assert.deepEqual(refusalOf(aHost(1), aSpec({ machineType: 'pc-i440fx-11.0', minQemu: '11.0' })), ['qemu'])
  assert.deepEqual(refusalOf(aHost(1), aSpec({ machineType: 'pc-i440fx-9.9', minQemu: '9.9' })), ['qemu'])
  assert.deepEqual(refusalOf(aHost(1, { networks: [] }), aSpec({ nics: [nic] })), ['network'])
  assert.deepEqual(refusalOf(aHost(1), aSpec({ disks: [disk('ds-3')] })), ['storage'])
})

test('a host asked for by name is the only candidate', () => {
  const placement = place(aCluster(), { vm, spec: aSpec({ disks: [disk('ds-2')] }), only: 'host-2' as HostId })
  assert.ok(!placement.ok)
  assert.deepEqual(
    placement.refusals.map((each) => each.host),
    ['host-2'],
  )
})

test('a VM that moves is counted on both its hosts, and one that starts where it is being started', () => {
  const moving = aVm(1, 'host-1')
  const starting = aVm(2, null)
  const cluster = aCluster({
    vms: [
      { ...moving, run: { ...moving.run, phase: 'moving', target: 'host-2' as HostId } },
      { ...starting, startingOn: 'host-2' as HostId },
    ],
  })
  assert.equal(committedMiB(cluster, 'host-1' as HostId), 512)
  assert.equal(committedMiB(cluster, 'host-2' as HostId), 1024)
})

test('no host is ever promised more memory than it has for guests', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 16, max: 4096 }), { maxLength: 40 }), (sizes) => {
      let cluster = aCluster()
      for (const [at, memoryMiB] of sizes.entries()) {
        const placement = place(cluster, { vm: `vm-${at + 1}` as VmId, spec: aSpec({ memoryMiB }) })
        if (placement.ok) cluster = { ...cluster, vms: [...cluster.vms, aVm(at + 1, placement.host, { memoryMiB })] }
      }
      for (const host of cluster.hosts) {
        assert.ok(committedMiB(cluster, host.id) <= aFacts.memoryMiB - reservedMiB(aFacts.memoryMiB))
      }
    }),
    { numRuns: 50 },
  )
})
