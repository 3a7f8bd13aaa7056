import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../../base/errors.ts'
import type { DatastoreId, DiskId } from '../../base/ids.ts'
import type { Files } from '../../base/files.ts'
import type { Machine } from '../../hypervisor/hypervisor.ts'
import { AgentWorld, testVm } from '../../sim/agent-world.ts'
import type { Datastores } from './datastores.ts'
import type { DiskWork } from './disk-work.ts'
import type { JobContext, JobResult } from './jobs.ts'
import { moveDisk } from './move-disk.ts'

const [from, to] = ['ds-1', 'ds-2'] as [DatastoreId, DatastoreId]
const disk = { key: 1, disk: 'disk-1' as DiskId, format: 'qcow2', sizeBytes: 1024 } as const

/** A VM with one disk that runs on host A. */
async function running() {
  const world = await AgentWorld.boot()
  const plain = world.deployment()
  const disks = [{ ...disk, datastore: from, bus: 'virtio' as const, slot: '03' }]
  await world.run((await world.a.keeper()).start({ ...plain, spec: { ...plain.spec, disks } }))
  const removed: string[] = []
  const made: string[] = []
  const deps = {
    disks: { createEmpty: async (): Promise<number> => made.push('empty') } as unknown as DiskWork,
    datastores: { diskPath: (datastore: string) => `/${datastore}/disk-1.qcow2` } as unknown as Datastores,
    files: { remove: async (path: string): Promise<number> => removed.push(path) } as unknown as Files,
  }
  const context: JobContext = {
    id: 'job',
    task: null,
    signal: new AbortController().signal,
    onProgress: () => undefined,
    onBytes: () => undefined,
  }
  const move = async (settleOnly = false): Promise<JobResult> => {
    const generation = world.manager.record(testVm).generation
    const work = { kind: 'move-disk' as const, vm: testVm, generation, moving: { ...disk, from, to }, settleOnly }
    return world.run(moveDisk({ ...deps, keeper: await world.a.keeper() }, work, context))
  }
  return { world, removed, made, move }
}

type Move = Machine['moveDisk']

/** The machine's next move of a disk goes as `change` makes it go. */
async function bend(world: AgentWorld, change: (original: Move) => Move): Promise<void> {
  const machine = (await world.a.keeper()).machine()
  machine.moveDisk = change(machine.moveDisk.bind(machine))
}

const lost = (): HoldfastError => new HoldfastError('unreachable', 'QEMU ended')

test('what fails after the switch fails no more: the guest may have written to the new file', async () => {
  const { world, removed, move } = await running()
  await bend(world, (original) => async (...args) => {
    await original(...args)
    throw lost()
  })
  assert.deepEqual(await move(), { path: '/ds-2/disk-1.qcow2', isMoved: true })
  assert.deepEqual(removed, [])
})

test('QEMU that dies after the switch leaves the disk where it went, also for an agent that is started again', async () => {
  const { world, removed, move } = await running()
  await bend(world, (original) => async (...args) => {
    await original(...args)
    world.a.hypervisor.crash()
    throw lost()
  })
  assert.deepEqual(await move(), { path: '/ds-2/disk-1.qcow2', isMoved: true })
  world.a.kill()
  await world.run(world.a.boot())
  assert.deepEqual(await move(true), { path: '/ds-2/disk-1.qcow2', isMoved: true })
  assert.deepEqual(removed, [])
})

test('what fails before the switch leaves the guest on the old file, and the new one goes', async () => {
  const { world, removed, move } = await running()
  await bend(world, () => () => Promise.reject(lost()))
  await assert.rejects(move(), { code: 'unreachable' })
  assert.deepEqual(removed, ['/ds-2/disk-1.qcow2'])
  assert.deepEqual((await move(true))['isMoved'], false)
})

test('an agent that died between the switch and its note finds out from QEMU, and lets the guest go on', async () => {
  const { world, made, move } = await running()
  const machine = (await world.a.keeper()).machine()
  const original = machine.moveDisk.bind(machine)
  const atSwitch = Promise.withResolvers<void>()
  await bend(world, () => async (key, path, onProgress, signal) => {
    await original(key, path, onProgress, signal, () => {
      atSwitch.resolve()
      return new Promise<void>(() => undefined)
    })
  })
  move().catch(() => undefined)
  await world.run(atSwitch.promise)
  assert.deepEqual(world.runsOn, [])
  world.a.kill()
  await world.run(world.a.boot())
  await world.clock.advance(1000)
  assert.deepEqual(world.runsOn, ['10.0.0.1'])
  assert.deepEqual(await move(), { path: '/ds-2/disk-1.qcow2', isMoved: true })
  assert.equal(made.length, 1)
})
