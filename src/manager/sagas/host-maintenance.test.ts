import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../../base/errors.ts'
import type { HostId, TaskId } from '../../base/ids.ts'
import { silentLogger } from '../../base/log.ts'
import { SeededRandom } from '../../sim/seeded-random.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { MemoryStore } from '../store/memory/memory-store.ts'
import { registerSagas } from './all.ts'
import type { OperationsPort } from './deps.ts'
import { SagaEngine } from './engine.ts'
import { setMaintenance } from './host-maintenance.ts'
import { all, protect } from './fake-protected.ts'
import { addVm, fakeWorld, host1, host2, host3, locals, shared, type FakeWorld } from './fake-world.ts'
import { beginOperation } from './operation.ts'
import type { TaskView } from './task-view.ts'
import { maintenanceOperation, migrateOperation } from './vm-operations.ts'

interface Bench {
  readonly world: FakeWorld
  readonly engine: SagaEngine
  readonly clock: VirtualClock
  readonly store: MemoryStore
}

async function bench(): Promise<Bench> {
  const clock = new VirtualClock()
  const [store, random] = [new MemoryStore(clock), new SeededRandom(1)]
  const world = await fakeWorld({ store, clock, random })
  const engine = new SagaEngine({ store, clock, random, logger: silentLogger })
  const operations: OperationsPort = {
    leaveHost: (vm, _host, by) =>
      beginOperation(engine, { name: by }, () => migrateOperation(world.deps, vm, {}, null, null)),
    ended: async (task, signal) => (await engine.wait(task, signal)).record,
    cancel: async (task) => {
      await engine.cancel(task)
    },
  }
  registerSagas(engine, { ...world.deps, operations })
  return { world, engine, clock, store }
}

const enter = async ({ engine, store }: Bench): Promise<TaskId> =>
  beginOperation(engine, { name: 'test' }, async () => maintenanceOperation((await store.get('host', host1))!))

const ended = ({ engine, clock }: Bench, task: TaskId): Promise<TaskView> =>
  clock.run(engine.wait(task, new AbortController().signal), 600_000)

async function hostsOf({ store }: Bench): Promise<(HostId | null)[]> {
  return (await store.list('run')).items.map(({ value }) => value.run.host)
}

test('every VM moves away, and the host is then kept empty', async () => {
  const made = await bench()
  for (const name of ['one', 'two', 'three']) await addVm(made.world, { on: host1, datastore: shared, name })
  const view = await ended(made, await enter(made))
  assert.equal(view.record.state, 'done', view.record.problem?.detail)
  assert.deepEqual(view.record.result, { moved: 3 })
  assert.ok((await hostsOf(made)).every((host) => host !== host1))
  assert.equal((await made.store.get('host', host1))!.value.maintenance, 'on')
})

test('what cannot move is named with its reason, and the host takes VMs again', async () => {
  const made = await bench()
  await addVm(made.world, { on: host1, datastore: shared, name: 'one' })
  await addVm(made.world, { on: host1, datastore: locals[0], name: 'tied' })
  const view = await ended(made, await enter(made))
  assert.equal(view.record.state, 'failed')
  assert.match(view.record.problem?.detail ?? '', /tied: .*local-1/)
  assert.equal((await hostsOf(made)).filter((host) => host === host1).length, 1)
  assert.equal((await made.store.get('host', host1))!.value.maintenance, 'off')
})

test('cancelled, it leaves each VM running where it is, and the host takes VMs again', async () => {
  const made = await bench()
  for (const name of ['one', 'two', 'three']) await addVm(made.world, { on: host1, datastore: shared, name })
  const task = await enter(made)
  await made.clock.advance(300)
  assert.ok((await made.engine.cancel(task)).ok)
  const view = await ended(made, task)
  assert.equal(view.record.state, 'cancelled')
  await made.clock.runUntil(() => made.engine.runningTasks.length === 0, 600_000)
  assert.equal((await made.store.get('host', host1))!.value.maintenance, 'off')
  for (const { value } of (await made.store.list('run')).items) {
    assert.equal(value.run.phase, 'running')
    assert.deepEqual(made.world.agents.runningOn(value.id), [value.run.host])
  }
})

test('a manager that dies in the middle goes on emptying the host', async () => {
  const made = await bench()
  for (const name of ['one', 'two', 'three']) await addVm(made.world, { on: host1, datastore: shared, name })
  const task = await enter(made)
  await made.clock.advance(150)
  await made.engine.close()
  const engine = new SagaEngine({ ...made, random: new SeededRandom(2), logger: silentLogger })
  const { world } = made
  registerSagas(engine, {
    ...world.deps,
    operations: {
      leaveHost: (vm, _host, by) =>
        beginOperation(engine, { name: by }, () => migrateOperation(world.deps, vm, {}, null, null)),
      ended: async (each, signal) => (await engine.wait(each, signal)).record,
      cancel: () => Promise.resolve(),
    },
  })
  await engine.recover()
  const view = await ended({ ...made, engine }, task)
  assert.equal(view.record.state, 'done', view.record.problem?.detail)
  assert.ok((await hostsOf(made)).every((host) => host !== host1))
})

test('a host that is taken out of maintenance while it is emptied stays out of it', async () => {
  const made = await bench()
  for (const name of ['one', 'two', 'three']) await addVm(made.world, { on: host1, datastore: shared, name })
  const task = await enter(made)
  await made.clock.advance(150)
  await setMaintenance(made.world.deps, host1, 'off')
  const view = await ended(made, task)
  assert.equal(view.record.state, 'failed')
  assert.equal(view.record.problem?.code, 'wrong-state')
  await made.clock.advance(60_000)
  assert.equal((await made.store.get('host', host1))!.value.maintenance, 'off')
})

test('of pairs for which the host decides another does before it counts as empty', async () => {
  const made = await bench()
  const { world, clock } = made
  await addVm(world, { on: host2, datastore: shared })
  await clock.run(protect(world, host3), 600_000)
  assert.equal((await all(world)).run.protection?.arbiter, host1)
  const view = await ended(made, await enter(made))
  assert.equal(view.record.state, 'done', view.record.problem?.detail)
  assert.equal((await all(world)).run.protection?.arbiter, 'managers')
})

test('a host that decides stays in use where nobody else can be put in its place, and says for which VM', async () => {
  const made = await bench()
  const { world, clock } = made
  await addVm(world, { on: host2, datastore: shared })
  await clock.run(protect(world, host3), 600_000)
  world.agents.agent(host2).changeArbiter = () => Promise.reject(new HoldfastError('wrong-state', 'not in step'))
  const view = await ended(made, await enter(made))
  assert.equal(view.record.state, 'failed')
  assert.match(view.record.problem?.detail ?? '', /one: this host decides who goes on with it alone: not in step/)
  assert.equal((await made.store.get('host', host1))!.value.maintenance, 'off')
})
