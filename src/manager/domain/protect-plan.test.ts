import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DatastoreId, DiskId, HostId, VmId } from '../../base/ids.ts'
import type { MachineSpec } from '../../contracts/machine-spec.ts'
import type { RunProtection } from '../../contracts/protection.ts'
import { aCluster, aFacts, aHost, aSpec, aVm } from './cluster-fixture.ts'
import type { ClusterView, VmView } from './cluster-view.ts'
import { committedMiB } from './host-load.ts'
import { isBetweenVersions, planProtection, secondMachine } from './protect-plan.ts'

const [h1, h2, h3] = ['host-1', 'host-2', 'host-3'] as HostId[]
const shared = 'ds-1' as DatastoreId
const disk = (datastore: string, sizeBytes = 1e9): MachineSpec['disks'][number] => ({
  ...{
    key: 1,
    disk: 'disk-1' as DiskId,
    datastore: datastore as DatastoreId,
    format: 'qcow2',
    bus: 'virtio',
    sizeBytes,
  },
  slot: '03',
})
const protection: RunProtection = { n: 1, second: h2!, arbiter: h3!, phase: 'protected' }

function plan(
  cluster: ClusterView,
  vm: VmView,
  host: string | null = null,
  former: readonly (HostId | undefined)[] = [],
) {
  return planProtection(
    { ...cluster, vms: [vm, ...cluster.vms] },
    { vm, observation: null, host: host as HostId | null, former: new Set(former as HostId[]) },
  )
}

function refusal(...asked: Parameters<typeof plan>): string {
  const made = plan(...asked)
  assert.ok(!made.ok, JSON.stringify(made))
  return made.reasons.map(({ code, message }) => `${code}: ${message}`).join('\n')
}

test('the second is another host that fits, and a third one decides', () => {
  const made = plan(aCluster(), aVm(1, 'host-1', { disks: [disk('ds-1')] }))
  assert.ok(made.ok)
  const copies = [{ key: 1, datastore: shared, format: 'qcow2', sizeBytes: 1e9 }]
  assert.deepEqual(made.plan, { primary: h1, second: h2, arbiter: h3, copies })
  const asked = plan(aCluster(), aVm(1, 'host-1'), 'host-3')
  assert.deepEqual(asked.ok && [asked.plan.second, asked.plan.arbiter], [h3, h2])
})

test('a host that may still hold a former copy is neither second nor arbiter', () => {
  const made = plan(aCluster(), aVm(1, 'host-1'), null, [h2])
  assert.deepEqual(made.ok && [made.plan.second, made.plan.arbiter], [h3, 'managers'])
  assert.match(refusal(aCluster(), aVm(1, 'host-1'), 'host-2', [h2]), /host-state: .*former copy/)
})

test('a host that cannot hold VMs in step is none of the two, with its own words', () => {
  const old = { ...aFacts, protectionObstacle: 'its kernel is old' }
  const cluster = aCluster({ hosts: [aHost(1), aHost(2, { facts: old }), aHost(3)] })
  const made = plan(cluster, aVm(1, 'host-1'))
  assert.deepEqual(made.ok && [made.plan.second, made.plan.arbiter], [h3, h2], 'it may decide all the same')
  assert.match(refusal(cluster, aVm(1, 'host-2')), /h2 cannot hold a VM in step: its kernel is old/)
})

test('where there is no third host, or it is about to go, the managers decide', () => {
  const two = aCluster({ hosts: [aHost(1), aHost(2)] })
  const leaving = aCluster({ hosts: [aHost(1), aHost(2), aHost(3, { maintenance: 'entering' })] })
  for (const cluster of [two, leaving]) {
    const made = plan(cluster, aVm(1, 'host-1'))
    assert.deepEqual(made.ok && [made.plan.second, made.plan.arbiter], [h2, 'managers'])
  }
})

test('a copy lies beside the original where the second has that datastore with room, else where there is most', () => {
  const local = plan(aCluster(), aVm(1, 'host-1', { disks: [disk('ds-2')] }), 'host-3')
  assert.ok(local.ok)
  assert.deepEqual(
    local.plan.copies.map((copy) => copy.datastore),
    [shared],
  )
  const full = aHost(2)
  const datastores = full.datastores.map((seen) => (seen.datastore === shared ? { ...seen, freeBytes: 1e9 } : seen))
  const two = aSpec({ disks: [disk('ds-1'), { ...disk('ds-1'), key: 2 }] })
  const made = plan(aCluster({ hosts: [aHost(1), { ...full, datastores }] }), aVm(1, 'host-1', two))
  assert.ok(made.ok)
  assert.deepEqual(
    made.plan.copies.map((copy) => copy.datastore),
    [shared, 'ds-3'],
    'what one takes the next has not',
  )
})

test('every host that cannot is refused with its reasons', () => {
  const other = { ...aFacts, qemu: { ...aFacts.qemu, version: '10.0.3' } }
  const cluster = aCluster({ hosts: [aHost(1), aHost(2, { facts: other }), aHost(3, { state: 'unreachable' })] })
  const said = refusal(cluster, aVm(1, 'host-1'))
  assert.match(said, /qemu: h2 has QEMU 10.0.3, h1 has 10.0.2: they must be the same/)
  assert.match(said, /host-state: h3 is unreachable/)
  assert.match(refusal(aCluster(), aVm(1, 'host-1', { memoryMiB: 100_000 })), /memory: h2 .*\nmemory: h3 /)
  assert.match(
    refusal(aCluster(), aVm(1, 'host-1', { disks: [disk('ds-1', 1e12)] })),
    /disk-space: h2 .*\ndisk-space: h3/,
  )
  assert.match(refusal(aCluster({ hosts: [aHost(1)] }), aVm(1, 'host-1')), /there is no other host/)
  assert.match(refusal(aCluster(), aVm(1, 'host-1'), 'host-1'), /another host/)
  assert.match(refusal(aCluster(), aVm(1, 'host-1'), 'host-9'), /there is no host host-9/)
})

test('a VM that is off, or protected already, is refused', () => {
  assert.match(refusal(aCluster(), aVm(1, null)), /vm-state: v1 does not run/)
  const vm = aVm(1, 'host-1')
  assert.match(
    refusal(aCluster(), { ...vm, run: { ...vm.run, protection } }),
    /protected: v1 has a second copy already/,
  )
})

test('the second host’s memory is held', () => {
  const vm = aVm(2, 'host-1', { memoryMiB: 700 })
  const vms = [{ ...vm, run: { ...vm.run, protection } }]
  assert.deepEqual(
    [h1, h2, h3].map((host) => committedMiB({ vms }, host!)),
    [700, 700, 0],
  )
  assert.equal(committedMiB({ vms }, h2!, 'vm-2' as VmId), 0)
})

test('the machine on the second has its images, and is the same otherwise', () => {
  const nvram = { disk: 'disk-2' as DiskId, datastore: shared, sizeBytes: 540_672 }
  const spec = aSpec({ firmware: 'uefi', nvram, disks: [disk('ds-2')] })
  const made = plan(aCluster(), aVm(1, 'host-1', spec), 'host-2')
  assert.ok(made.ok)
  const second = secondMachine(spec, made.plan.copies, ['disk-8', 'disk-9'] as DiskId[])
  assert.deepEqual(
    second.copies.map(({ key, disk: id }) => [key, id]),
    [
      [1, 'disk-8'],
      [0, 'disk-9'],
    ],
  )
  assert.deepEqual(second.spec.disks, [{ ...disk(second.copies[0]!.datastore), disk: 'disk-8' }])
  assert.deepEqual(second.spec.nvram, { ...nvram, disk: 'disk-9' })
})

test('a VM on the last host with the old QEMU finds no second; one that another host could hold does', () => {
  const vm = aVm(1, 'host-1')
  const cluster = (...versions: string[]): ClusterView => {
    const hosts = versions.map((version, at) =>
      aHost(at + 1, { facts: { ...aFacts, qemu: { ...aFacts.qemu, version } } }),
    )
    return aCluster({ hosts, vms: [vm] })
  }
  assert.equal(isBetweenVersions(cluster('9.0.0', '10.0.0', '10.0.0'), vm.id), true)
  assert.equal(isBetweenVersions(cluster('9.0.0'), vm.id), false)
  const view = cluster('9.0.0', '9.0.0', '10.0.0')
  assert.equal(isBetweenVersions(view, vm.id), false)
  const hosts = view.hosts.map((host, at) => (at === 1 ? { ...host, maintenance: 'on' as const } : host))
  assert.equal(isBetweenVersions({ ...view, hosts }, vm.id), true)
})
