/** Test code: a VM that is held in step on two hosts, and what must hold of its images at any time. */
import assert from 'node:assert/strict'
import type { HostId, TaskId } from '../../base/ids.ts'
import { silentLogger } from '../../base/log.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { VmRecord } from '../store/records.ts'
import type { Change } from '../store/store.ts'
import { SagaEngine } from './engine.ts'
import { vm1, type FakeWorld } from './fake-world.ts'
import { cleanFormer } from './former-copies.ts'
import { beginOperation } from './operation.ts'
import { protectOperation } from './protection-operations.ts'
import { protectVmSaga } from './vm-protect.ts'

/** The VM and its record, after it was checked that no image is lost or unknown. */
export async function all(world: FakeWorld): Promise<{ run: RunRecord; vm: VmRecord }> {
  const { store } = world.deps
  const [stored, record] = [await store.get('vm', vm1), await store.get('run', vm1)]
  assert.ok(stored !== undefined && record !== undefined)
  const [vm, run] = [stored.value, record.value.run]
  const disks = (await store.list('disk')).items.map(({ value }) => value)
  const known = disks.flatMap((disk) => [disk.datastore, ...(disk.alsoAt ?? [])].map((at) => `${at}/${disk.id}`))
  for (const file of world.agents.files) assert.ok(known.includes(file), `${file} is known of`)
  for (const { disk, datastore } of vm.spec.disks) {
    assert.ok(world.agents.files.has(`${datastore}/${disk}`), `the disk ${disk} is there`)
    assert.equal(disks.find(({ id }) => id === disk)?.datastore, datastore)
  }
  const own = [...vm.spec.disks, ...(vm.protection?.second?.copies ?? [])].map(({ disk }) => disk)
  const out = (vm.protection?.former ?? []).flatMap((copy) => copy.disks)
  assert.deepEqual(disks.map(({ id }) => id).sort(), [...new Set([...own, ...out])].sort(), 'every image has its use')
  assert.equal(vm.protection?.second?.n, run.protection?.n, 'the VM and its record name the same second')
  return { run, vm }
}

/** What was out of reach is cleaned up once it is in reach: then no image is left but those in use. */
export async function allIsClean(world: FakeWorld): Promise<void> {
  assert.equal(await cleanFormer(world.deps, vm1, 'task-999' as TaskId), 0)
  const { vm } = await all(world)
  assert.deepEqual(vm.protection?.former ?? [], [])
  assert.equal(world.agents.files.size, vm.spec.disks.length + (vm.protection?.second?.copies.length ?? 0))
}

/** Protects the VM of this world, whose manager is only there for that. */
export async function protect(world: FakeWorld, host: HostId | null): Promise<void> {
  const { store, clock, random } = world.deps
  const engine = new SagaEngine({ store, clock, random, logger: silentLogger })
  engine.register(protectVmSaga, world.deps)
  const task = await beginOperation(engine, { name: 'test' }, () =>
    protectOperation(world.deps, vm1, { host, settings: null }),
  )
  const { record } = await engine.wait(task, new AbortController().signal)
  assert.equal(record.state, 'done', record.problem?.detail)
  await engine.close()
  // A suite takes the newest task for its own.
  const stored = await store.get('task', task)
  const change: Change = { do: 'remove', kind: 'task', id: task, expected: stored?.revision ?? 0 }
  assert.ok((await store.commit({ changes: [change], events: [] })).ok)
}
