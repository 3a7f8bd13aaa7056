import assert from 'node:assert/strict'
import { test } from 'node:test'
import { silentLogger } from '../../base/log.ts'
import { SeededRandom } from '../../sim/seeded-random.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { MemoryStore } from '../store/memory/memory-store.ts'
import type { HostsPort } from './deps.ts'
import { SagaEngine } from './engine.ts'
import { addVm, fakeWorld, host1, host2, shared, vm1 } from './fake-world.ts'
import { beginOperation } from './operation.ts'
import { migrateVmSaga } from './vm-migrate.ts'
import { migrateOperation } from './vm-operations.ts'

test('a manager that has just begun waits for the hosts’ reports before it refuses a move', async () => {
  const clock = new VirtualClock()
  const [store, random] = [new MemoryStore(clock), new SeededRandom(1)]
  const world = await fakeWorld({ store, clock, random })
  await addVm(world, { on: host1, datastore: shared })
  let isHeard = false
  const hosts: HostsPort = {
    ...world.deps.hosts,
    agent: (host) => world.deps.hosts.agent(host),
    report: (host) => (isHeard ? world.deps.hosts.report(host) : undefined),
  }
  // What a manager sees that has had no report.
  const cluster: typeof world.deps.cluster = async () => {
    const view = await world.deps.cluster()
    return isHeard ? view : { ...view, hosts: view.hosts.map((host) => ({ ...host, state: 'unreachable' })) }
  }
  const engine = new SagaEngine({ store, clock, random, logger: silentLogger })
  engine.register(migrateVmSaga, { ...world.deps, hosts, cluster })
  const begin = () => migrateOperation(world.deps, vm1, {}, host2, null)
  const task = await clock.run(beginOperation(engine, { name: 'test' }, begin), 60_000)
  const ended = engine.wait(task, new AbortController().signal)
  await clock.advance(3000)
  assert.equal((await engine.view(task))?.record.state, 'running')
  isHeard = true
  const { record } = await clock.run(ended, 600_000)
  assert.equal(record.state, 'done', record.problem?.detail)
})
