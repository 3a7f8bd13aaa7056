import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../../base/errors.ts'
import type { DiskId } from '../../base/ids.ts'
import type { CreateVm } from '../../contracts/vm-requests.ts'
import { aCluster, aFacts, aHost } from './cluster-fixture.ts'
import type { ClusterView } from './cluster-view.ts'
import { planMachine, type Ingredients, type MachinePlan } from './machine-plan.ts'

function plan(
  request: Partial<CreateVm>,
  more: Partial<Ingredients> = {},
  cluster: ClusterView = aCluster(),
): MachinePlan {
  let mac = 0
  return planMachine(
    cluster,
    { name: 'web', ...request },
    {
      uuid: '00000000-0000-4000-8000-000000000000',
      disks: ['disk-1', 'disk-2', 'disk-3'] as DiskId[],
      newMac: () => `52:54:00:00:00:${String(++mac).padStart(2, '0')}`,
      claims: new Set(),
      ...more,
    },
  )
}

function refusal(request: Partial<CreateVm>, more: Partial<Ingredients> = {}, cluster?: ClusterView): string {
  try {
    plan(request, more, cluster)
  } catch (thrown) {
    assert.ok(thrown instanceof HoldfastError)
    return thrown.code
  }
  assert.fail('it was planned')
}

test('the machine type is the newest that every connected host offers, and a silent host is not asked', () => {
  const old = { ...aFacts, qemu: { ...aFacts.qemu, machineTypes: ['pc-i440fx-7.2', 'pc-i440fx-6.2'] } }
  assert.equal(plan({}).spec.machineType, 'pc-i440fx-10.0')
  const mixed = aCluster({ hosts: [aHost(1), aHost(2, { facts: old })] })
  assert.deepEqual([plan({}, {}, mixed).spec.machineType, plan({}, {}, mixed).spec.minQemu], ['pc-i440fx-7.2', '7.2'])
  const silent = aCluster({ hosts: [aHost(1), aHost(2, { facts: old, state: 'unreachable' })] })
  assert.equal(plan({}, {}, silent).spec.machineType, 'pc-i440fx-10.0')
  assert.equal(plan({ machine: 'q35' }).spec.machineType, 'pc-q35-10.0')
  assert.equal(refusal({}, {}, aCluster({ hosts: [aHost(1, { state: 'never-seen', facts: null })] })), 'no-capacity')
})

test('the CPU is the expanded baseline, and one that no host has is refused', () => {
  const { cpu } = plan({}).spec
  assert.equal(cpu.model, 'qemu64')
  assert.ok(cpu.features.includes('+sse4.2'))
  assert.deepEqual(plan({ cpuModel: 'Nehalem' }).spec.cpu, { model: 'Nehalem', features: [] })
  assert.equal(refusal({ cpuModel: 'host' }), 'refused')
})

test('virtio devices speak both revisions unless the old one alone is asked for', () => {
  assert.equal(plan({}).spec.virtio, 'transitional')
  assert.equal(plan({ virtio: 'legacy' }).spec.virtio, 'legacy')
})

test('devices have keys and slots that never meet', () => {
  const { spec } = plan({
    firmware: 'uefi',
    disks: [{ sizeBytes: 512 }, { image: 'debian' }],
    nics: [{}, { model: 'e1000' }],
    cdroms: [{}],
  })
  const keys = [...spec.disks, ...spec.nics, ...spec.cdroms].map((device) => device.key)
  assert.deepEqual(keys, [1, 2, 3, 4, 5])
  assert.equal(spec.nextKey, 6)
  const slots = [...spec.disks, ...spec.nics].map((device) => device.slot)
  assert.deepEqual(slots, ['03', '04', '05', '06'])
  assert.equal(spec.disks[1]?.sizeBytes, 2 ** 30)
  assert.equal(spec.nvram?.disk, 'disk-3')
})

test('a full machine fits into its slots', () => {
  const disks = Array.from({ length: 16 }, (_, at) => `disk-${at + 1}` as DiskId)
  const full = plan(
    { disks: disks.map(() => ({ sizeBytes: 512 })), nics: Array.from({ length: 10 }, () => ({})) },
    { disks },
  )
  assert.equal(full.spec.nics.at(-1)?.slot, '1c')
})

test('addresses are the lowest free ones, and each MAC and address is claimed', () => {
  const made = plan({ nics: [{}, {}] }, { claims: new Set(['address/net-1/10.9.0.1', 'mac/52:54:00:00:00:01']) })
  assert.deepEqual(
    made.spec.nics.map((nic) => nic.address),
    ['10.9.0.2', '10.9.0.3'],
  )
  assert.deepEqual([...made.claims].sort(), [
    'address/net-1/10.9.0.2',
    'address/net-1/10.9.0.3',
    'mac/52:54:00:00:00:02',
    'mac/52:54:00:00:00:03',
  ])
})

test('what cannot be is refused with its code', () => {
  assert.equal(
    refusal({ nics: [{ mac: '52:54:00:aa:aa:aa' }] }, { claims: new Set(['mac/52:54:00:aa:aa:aa']) }),
    'name-taken',
  )
  assert.equal(refusal({ nics: [{ mac: '52:54:00:aa:aa:aa' }, { mac: '52:54:00:aa:aa:aa' }] }), 'name-taken')
  assert.equal(refusal({ nics: [{ mac: '01:00:5e:00:00:01' }] }), 'invalid-request')
  assert.equal(refusal({ nics: [{ mac: '00:11:22:33:44:55' }] }), 'invalid-request')
  assert.equal(refusal({ nics: [{ address: '10.9.1.1' }] }), 'invalid-request')
  assert.equal(refusal({ nics: [{ address: '10.9.0.254' }] }), 'invalid-request')
  assert.equal(refusal({ nics: [{ network: 'nowhere' }] }), 'not-found')
  assert.equal(refusal({ disks: [{}] }), 'invalid-request')
  assert.equal(refusal({ disks: [{ sizeBytes: 1000 }] }), 'invalid-request')
  assert.equal(refusal({ disks: [{ image: 'debian', sizeBytes: 512 }] }), 'invalid-request')
  assert.equal(refusal({ disks: [{ image: 'none' }] }), 'not-found')
  assert.equal(refusal({ disks: [{ sizeBytes: 512, datastore: 'none' }] }), 'not-found')
  assert.equal(refusal({ memoryMiB: 100_000 }), 'no-capacity')
  assert.equal(
    refusal({ cdroms: [{}, {}], disks: Array.from({ length: 3 }, () => ({ sizeBytes: 512, bus: 'ide' as const })) }),
    'invalid-request',
  )
})

test('disks go to shared storage unless another datastore is named', () => {
  const { disks } = plan({ disks: [{ sizeBytes: 512 }, { sizeBytes: 512, datastore: 'local2' }] })
  assert.deepEqual(
    disks.map((disk) => disk.datastore),
    ['ds-1', 'ds-3'],
  )
})
