import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TaskId } from '../../base/ids.ts'
import { SeededRandom } from '../../sim/seeded-random.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { addVm, fakeWorld, host1, shared, vm1 } from '../sagas/fake-world.ts'
import { MemoryStore } from '../store/memory/memory-store.ts'
import type { RunRecordStored } from '../store/records.ts'
import type { ReconcilerDeps } from './deps.ts'
import { VmPower } from './vm-power.ts'

test('a task of somebody else that holds a wanted VM is asked for once, and the next one again', async () => {
  const clock = new VirtualClock()
  const store = new MemoryStore(clock)
  const world = await fakeWorld({ store, clock, random: new SeededRandom(1) })
  await addVm(world, { on: host1, datastore: shared })
  const vm = (await store.get('vm', vm1))!.value
  const { run, ...rest } = (await store.get('run', vm1))!.value
  const down: RunRecordStored = { ...rest, run: { ...run, phase: 'stopped', host: null, cause: 'crashed' } }
  let operation: TaskId | null = null
  const lists: Record<string, () => readonly unknown[]> = {
    vm: () => [{ ...vm, power: 'on', policies: { ...vm.policies, restart: 'on-failure' }, operation }],
    run: () => [down],
  }
  const asked: string[] = []
  const get = store.get.bind(store)
  store.get = (kind, id) => {
    if (kind === 'task') asked.push(id)
    return get(kind, id)
  }
  const deps: ReconcilerDeps = {
    ...world.deps,
    inventory: { list: (kind) => (lists[kind]?.() ?? []) as never },
    begin: () => Promise.reject(new Error('it is held')),
    nudge: () => undefined,
  }
  const power = new VmPower(deps)
  for (const task of ['task-7', 'task-7', 'task-7', 'task-8', 'task-8', 'task-7']) {
    operation = task as TaskId
    await power.look()
  }
  assert.deepEqual(asked, ['task-7', 'task-8', 'task-7'])
})

test('people are told how often a VM was started again before it is left alone, and once', async () => {
  for (const [cause, often] of [
    ['crashed', 5],
    ['host-lost', 7],
  ] as const) {
    const clock = new VirtualClock()
    const store = new MemoryStore(clock)
    const world = await fakeWorld({ store, clock, random: new SeededRandom(1) })
    await addVm(world, { on: host1, datastore: shared })
    const { value: vm } = (await store.get('vm', vm1))!
    const { run, ...rest } = (await store.get('run', vm1))!.value
    const lists: Record<string, readonly unknown[]> = {
      vm: [{ ...vm, power: 'on', policies: { ...vm.policies, restart: 'on-failure' } }],
      run: [{ ...rest, run: { ...run, phase: 'stopped', host: null, cause } }],
    }
    let begun = 0
    // Of the tasks nothing is known afterwards, so each counts.
    const power = new VmPower({
      ...world.deps,
      inventory: { list: (kind) => (lists[kind] ?? []) as never },
      begin: () => Promise.resolve(`task-${++begun}` as TaskId),
      nudge: () => undefined,
    })
    for (let seconds = 0; seconds < 30 * 60; seconds++) {
      await power.look()
      await clock.advance(1000)
    }
    const events = await store.events({ revision: 0, sequence: 0 }, 1000)
    assert.ok(events !== 'relist')
    const told = events.filter(({ type }) => type === 'vm.restart-paused').map(({ message }) => message)
    assert.deepEqual(
      [begun, told],
      [often, [`one stopped ${often} times within an hour; it is not started again for a while`]],
    )
  }
})
