import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DiskId, ImageId } from '../../base/ids.ts'
import type { ChangeVm, CreateVm } from '../../contracts/vm-requests.ts'
import type { MachineSpec } from '../../contracts/machine-spec.ts'
import { aCluster, aSpec } from './cluster-fixture.ts'
import type { ImageView } from './cluster-view.ts'
import { changeMachine, changesMachine } from './machine-change.ts'
import { planMachine } from './machine-plan.ts'

const anImage = (number: number, name: string, state: ImageView['state'] = 'ready'): ImageView => ({
  ...{ id: `img-${number}` as ImageId, name, datastore: 'ds-1' as never, state },
  ...{ format: 'raw', virtualBytes: 1024 },
})
const images = [anImage(1, 'vmlinuz'), anImage(2, 'initrd'), anImage(3, 'tools'), anImage(4, 'slow', 'importing')]
const cluster = aCluster({ images })

function machine(request: Partial<CreateVm> = {}): MachineSpec {
  const uuid = '00000000-0000-4000-8000-000000000000'
  const ingredients = {
    uuid,
    disks: ['disk-1' as DiskId],
    newMac: () => '52:54:00:00:00:01',
    claims: new Set<string>(),
  }
  return planMachine(cluster, { name: 'web', ...request }, ingredients).spec
}

const changed = (spec: MachineSpec, request: ChangeVm): MachineSpec => changeMachine(cluster, spec, request)
const booting = { kernel: { kernel: 'vmlinuz', initrd: 'initrd', cmdline: 'quiet' } }

test('what a change does not name stays as it was', () => {
  const spec = machine({ ...booting, cdroms: [{ image: 'tools' }] })
  assert.deepEqual(changed(spec, { vcpus: 2 }), { ...spec, vcpus: 2 })
  assert.deepEqual(changed(spec, {}), spec)
  assert.deepEqual(changed(spec, { virtio: 'legacy' }), { ...spec, virtio: 'legacy' })
  assert.ok(!('virtio' in changed(aSpec(), { vcpus: 1 })), 'a machine that was made before there was a choice')
  assert.ok(!changesMachine({ name: 'site', description: 'x', policies: { restart: 'never' }, revision: 3 }))
  for (const request of [
    { vcpus: 1 },
    { memoryMiB: 64 },
    { virtio: 'legacy' as const },
    { kernel: null },
    { cdroms: [] },
  ]) {
    assert.ok(changesMachine(request))
  }
})

test('kernel, initrd and command line change one by one, and direct boot can be begun and ended', () => {
  const spec = machine(booting)
  const boot = { kernel: 'img-1', initrd: 'img-2', cmdline: 'quiet' }
  assert.deepEqual(changed(spec, { kernel: { cmdline: 'debug' } }).kernelBoot, { ...boot, cmdline: 'debug' })
  assert.deepEqual(changed(spec, { kernel: { initrd: null } }).kernelBoot, { ...boot, initrd: null })
  assert.equal(changed(spec, { kernel: null }).kernelBoot, null)
  const none = machine()
  assert.deepEqual(changed(none, booting).kernelBoot, boot)
  assert.throws(() => changed(none, { kernel: { cmdline: 'debug' } }), { code: 'invalid-request' })
  assert.throws(() => changed(none, { kernel: { kernel: 'nothing' } }), { code: 'not-found' })
  assert.throws(() => changed(none, { kernel: { kernel: 'slow' } }), { code: 'wrong-state' })
  assert.throws(() => changed({ ...none, firmware: 'uefi' }, booting), { code: 'invalid-request' })
})

test('media go in and out of the drives that there are', () => {
  const spec = machine({ cdroms: [{ image: 'tools' }, {}] })
  const swapped = changed(spec, { cdroms: [{}, { image: 'img-3' }] })
  assert.deepEqual(
    swapped.cdroms.map(({ image }) => image),
    [null, 'img-3'],
  )
  assert.deepEqual(
    swapped.cdroms.map(({ key }) => key),
    spec.cdroms.map(({ key }) => key),
  )
  assert.throws(() => changed(spec, { cdroms: [{}] }), { code: 'invalid-request' })
})

test('more memory than any host has is refused', () => {
  assert.throws(() => changed(machine(), { memoryMiB: 4 * 1024 * 1024 }), { code: 'no-capacity' })
})
