import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DatastoreId, DiskId, HostId } from '../../base/ids.ts'
import { aCluster, aFacts, aHost, aVm } from './cluster-fixture.ts'
import type { ClusterView } from './cluster-view.ts'
import { precheckDiskMove, precheckMigration, type MigrationWish } from './migrate-precheck.ts'

const host2 = 'host-2' as HostId
const disk = (datastore: string) =>
  ({
    key: 1,
    disk: 'disk-1' as DiskId,
    datastore: datastore as DatastoreId,
    format: 'qcow2',
    bus: 'virtio',
    sizeBytes: 10e9,
    slot: '03',
  }) as const
const onShared = aVm(1, 'host-1', { disks: [disk('ds-1')] })
const onLocal = aVm(1, 'host-1', { disks: [disk('ds-2')] })

function check(wish: Partial<MigrationWish>, cluster: ClusterView = aCluster()) {
  return precheckMigration(cluster, { vm: onShared, observation: null, host: host2, datastore: null, ...wish })
}

function codes(wish: Partial<MigrationWish>, cluster?: ClusterView): string[] {
  const result = check(wish, cluster)
  return result.ok ? [] : result.reasons.map((reason) => reason.code)
}

test('with shared storage nothing but memory moves', () => {
  const result = check({})
  assert.ok(result.ok)
  assert.deepEqual([result.plan.target, result.plan.movingDisks], [host2, []])
})

test('with no host asked for, one that fits is chosen', () => {
  const result = check({ host: null }, aCluster({ hosts: [aHost(1), aHost(2, { maintenance: 'on' }), aHost(3)] }))
  assert.ok(result.ok)
  assert.equal(result.plan.target, 'host-3')
})

test('disks that the target does not reach must be sent somewhere', () => {
  assert.deepEqual(codes({ vm: onLocal }), ['storage'])
  const result = check({ vm: onLocal, datastore: 'ds-3' as DatastoreId })
  assert.ok(result.ok)
  assert.equal(result.plan.spec.disks[0]?.datastore, 'ds-3')
  assert.deepEqual(
    result.plan.movingDisks.map(({ from, to }) => [from, to]),
    [['ds-2', 'ds-3']],
  )
})

test('UEFI variables move with the disks', () => {
  const nvram = { disk: 'disk-2' as DiskId, datastore: 'ds-2' as DatastoreId, sizeBytes: 540_672 }
  const vm = aVm(1, 'host-1', { firmware: 'uefi', nvram })
  const result = check({ vm, datastore: 'ds-3' as DatastoreId })
  assert.ok(result.ok)
  assert.deepEqual(
    result.plan.movingDisks.map(({ key, format }) => [key, format]),
    [[0, 'raw']],
  )
})

test('each reason has its code', () => {
  const kvm = { ...aFacts, accelerator: { kind: 'kvm', reason: '' } as const, cpu: { ...aFacts.cpu, cores: 8 } }
  const older = { ...aFacts, qemu: { ...aFacts.qemu, version: '9.2.0', machineTypes: ['pc-i440fx-10.0'] } }
  const withTarget = (change: Parameters<typeof aHost>[1]) => aCluster({ hosts: [aHost(1), aHost(2, change)] })
  assert.deepEqual(codes({ host: 'host-1' as HostId }), ['name'])
  assert.deepEqual(codes({ host: 'host-9' as HostId }), ['name'])
  assert.deepEqual(codes({ vm: aVm(1, null) }), ['vm-state'])
  assert.deepEqual(codes({}, withTarget({ state: 'unreachable' })), ['host-state'])
  assert.deepEqual(codes({}, withTarget({ facts: { ...aFacts, memoryMiB: 256 } })), ['memory'])
  assert.deepEqual(codes({}, withTarget({ facts: kvm })), ['cpu'])
  assert.deepEqual(codes({}, withTarget({ facts: older })), ['qemu', 'qemu'])
  assert.deepEqual(codes({}, aCluster({ hosts: [aHost(1, { state: 'unreachable' }), aHost(2)] })), ['host-state'])
  const full = aHost(2).datastores.map((each) => ({ ...each, freeBytes: 1e9 }))
  assert.deepEqual(codes({ vm: onLocal, datastore: 'ds-3' as DatastoreId }, withTarget({ datastores: full })), [
    'disk-space',
  ])
})

test('post-copy that was asked for is refused where the target cannot do it, and left out where it was only allowed', () => {
  const cannot = aHost(2, { facts: { ...aFacts, postCopyObstacle: 'no device' } })
  const cluster = aCluster({ hosts: [aHost(1), cannot, aHost(3)] })
  assert.deepEqual(codes({ needsPostCopy: true }, cluster), ['qemu'])
  const allowed = check({}, cluster)
  assert.ok(allowed.ok)
  assert.equal(allowed.plan.canPostCopy, false)
  const chosen = check({ host: null, needsPostCopy: true }, cluster)
  assert.ok(chosen.ok)
  assert.deepEqual([chosen.plan.target, chosen.plan.canPostCopy], ['host-3', true])
  const withDisks = check({ vm: onLocal, datastore: 'ds-3' as DatastoreId, needsPostCopy: true }, cluster)
  assert.ok(withDisks.ok)
  assert.equal(withDisks.plan.canPostCopy, false)
})

test('disks alone move where their host reaches both ends', () => {
  const here = precheckDiskMove(aCluster(), onShared, 'ds-2' as DatastoreId)
  assert.ok(here.ok)
  assert.equal(here.host, 'host-1')
  assert.equal(precheckDiskMove(aCluster(), onShared, 'ds-3' as DatastoreId).ok, false)
  const stopped = { ...onLocal, run: aVm(1, null).run }
  assert.equal(precheckDiskMove(aCluster(), stopped, 'ds-3' as DatastoreId).ok, false)
  assert.ok(precheckDiskMove(aCluster(), stopped, 'ds-1' as DatastoreId).ok)
})
