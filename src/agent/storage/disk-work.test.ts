import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DatastoreId, DiskId, TaskId, VmId } from '../../base/ids.ts'
import type { DiskImages, ImageInfo } from '../../hypervisor/images.ts'
import { MemoryFiles } from '../../sim/memory-files.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { Datastores } from './datastores.ts'
import { DiskWork } from './disk-work.ts'
import type { JobContext } from './jobs.ts'

const [here, there] = ['ds-1', 'ds-2'] as [DatastoreId, DatastoreId]
const disk = 'disk-7' as DiskId
const vm = 'vm-1' as VmId
const sizeBytes = 512
const moving = { disk, key: 1, from: here, to: there, format: 'qcow2', sizeBytes } as const
const taskOf = (number: number): TaskId => `task-${number}` as TaskId

/** The disk `disk-7` made on `ds-1` by task 1; an image holds what the disk that it was copied from held. */
async function diskThere() {
  const files = new MemoryFiles()
  const clock = new VirtualClock()
  const datastores = new Datastores({ files, clock, cluster: 'the-cluster', dataDirectory: '/data' })
  await datastores.configure([
    { datastore: here, name: 'here', path: '/here', isShared: false },
    { datastore: there, name: 'there', path: '/there', isShared: false },
  ])
  const info: ImageInfo = {
    ...{ format: 'qcow2', virtualBytes: sizeBytes, fileBytes: sizeBytes },
    ...{ backingFile: null, hasOutsideReference: false, isEncrypted: false },
  }
  const images: DiskImages = {
    info: async () => info,
    check: async () => undefined,
    create: (path) => files.replace(path, 'empty'),
    convert: async (from, to) => files.replace(to.path, await files.readText(from.path)),
    grow: async () => undefined,
  }
  const work = new DiskWork({ files, images, datastores, nvramTemplates: [] })
  const context = (number: number | null): JobContext => ({
    id: 'job',
    task: number === null ? null : taskOf(number),
    signal: new AbortController().signal,
    onProgress: () => undefined,
    onBytes: () => undefined,
  })
  const create = { kind: 'create-disk', disk, datastore: here, format: 'qcow2', sizeBytes, image: null, vm } as const
  const copy = (number: number | null, from = here, to = there) =>
    work.copy({ kind: 'copy-disk', disk, from, to, format: 'qcow2', vm }, context(number))
  const at = (datastore: 'here' | 'there') => files.readText(`/${datastore}/disks/disk-7.qcow2`)
  await work.create(create, context(1))
  return { files, work, copy, at, create: (number: number) => work.create(create, context(number)) }
}

test('a deletion that comes late does not remove the disk that has come back meanwhile', async () => {
  const { files, work, copy, at } = await diskThere()
  await copy(2)
  await work.remove(disk, here, taskOf(3))
  await copy(4, there, here)
  await work.remove(disk, there, taskOf(4))
  await assert.rejects(work.remove(disk, here, taskOf(3)), { code: 'stale-generation' })
  assert.equal(await at('here'), 'empty')
  // Who deletes the VM is newer than all of them, and nothing is left.
  await work.remove(disk, here, taskOf(5))
  assert.deepEqual([await files.list('/here/disks'), await files.list('/there/disks')], [[], []])
})

test('a deletion asked twice is fine, and so is one of the task that made the file', async () => {
  const { work, copy, at } = await diskThere()
  await copy(2)
  await work.remove(disk, there, taskOf(2))
  await work.remove(disk, there, taskOf(2))
  await assert.rejects(at('there'))
})

test('a copy that an older move has left does not pass for the one of today', async () => {
  const { files, copy, at } = await diskThere()
  await copy(2)
  await files.write('/here/disks/disk-7.qcow2', 'newer')
  await copy(6)
  assert.equal(await at('there'), 'newer')
  await files.write('/here/disks/disk-7.qcow2', 'newest')
  // The same work again, after a restart of the agent: it is done.
  await copy(6)
  assert.equal(await at('there'), 'newer')
  await assert.rejects(copy(2), { code: 'stale-generation' })
})

test('what a mirror was to fill does not pass for a copy, be it of the same task', async () => {
  const { files, work, copy, at } = await diskThere()
  await files.write('/here/disks/disk-7.qcow2', 'written by the guest')
  await work.createEmpty(vm, moving, taskOf(3))
  assert.equal(await at('there'), 'empty')
  await copy(3)
  assert.equal(await at('there'), 'written by the guest')
  await assert.rejects(work.createEmpty(vm, moving, taskOf(2)), { code: 'stale-generation' })
  assert.equal(await at('there'), 'written by the guest')
})

test('a file of which nothing is known is not taken for a copy; an attempt that ends removes it', async () => {
  const { files, work, copy, at } = await diskThere()
  await files.write('/there/disks/disk-7.qcow2', 'of an older Holdfast')
  await assert.rejects(copy(2), { code: 'conflict' })
  await work.remove(disk, there, taskOf(2))
  await copy(3)
  assert.equal(await at('there'), 'empty')
})

test('making a disk twice leaves what its guest has written', async () => {
  const { files, create, at } = await diskThere()
  await files.write('/here/disks/disk-7.qcow2', 'written by the guest')
  await create(1)
  assert.equal(await at('here'), 'written by the guest')
})

test('a crash at any step of a copy leaves no old file that passes for it', async () => {
  for (let steps = 0; ; steps += 1) {
    const { files, copy, at } = await diskThere()
    await copy(2)
    await files.replace('/here/disks/disk-7.qcow2', 'newer')
    const before = files.steps
    files.crashAfter(steps)
    await copy(6).catch(() => undefined)
    const isThrough = files.steps - before < steps
    files.boot()
    await copy(6)
    assert.equal(await at('there'), 'newer', `after ${steps} steps`)
    if (isThrough) break
  }
})
