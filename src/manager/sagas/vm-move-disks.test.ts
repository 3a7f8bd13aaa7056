import assert from 'node:assert/strict'
import { test } from 'node:test'
import { silentLogger } from '../../base/log.ts'
import { SeededRandom } from '../../sim/seeded-random.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { MemoryStore } from '../store/memory/memory-store.ts'
import { SagaEngine } from './engine.ts'
import { addVm, disk1, fakeWorld, host1, locals, shared, vm1 } from './fake-world.ts'
import { beginOperation } from './operation.ts'
import { moveDisksSaga } from './vm-move-disks.ts'
import { moveDisksOperation } from './vm-operations.ts'

test('a cancel that comes after the switch, to an agent that has forgotten the move, deletes nothing that the guest uses', async () => {
  const clock = new VirtualClock()
  const [store, random] = [new MemoryStore(clock), new SeededRandom(1)]
  const world = await fakeWorld({ store, clock, random })
  await addVm(world, { on: host1, datastore: shared })
  const engine = new SagaEngine({ store, clock, random, logger: silentLogger })
  engine.register(moveDisksSaga, world.deps)
  world.agents.forgottenWork.add('move-disk')
  const task = await clock.run(
    beginOperation(engine, { name: 'test' }, () => moveDisksOperation(world.deps, vm1, locals[0])),
    60_000,
  )
  const { diskPlaces } = world.agents.agent(host1)
  for (let step = 0; step < 100_000 && !diskPlaces.has(disk1); step++) {
    await world.agents.advance()
    if (!diskPlaces.has(disk1)) await clock.advance(1)
  }
  assert.equal(diskPlaces.get(disk1), locals[0])
  await clock.run(engine.cancel(task), 60_000)
  const { record } = await clock.run(engine.wait(task, new AbortController().signal), 600_000)
  assert.equal(record.state, 'cancelled')
  assert.equal((await store.get('disk', disk1))!.value.datastore, locals[0])
  assert.equal((await store.get('vm', vm1))!.value.spec.disks[0]?.datastore, locals[0])
  assert.deepEqual([...world.agents.files], [`${locals[0]}/${disk1}`])
})
