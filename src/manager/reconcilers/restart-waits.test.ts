import assert from 'node:assert/strict'
import { test } from 'node:test'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { addVm, fakeWorld, host1, shared } from '../sagas/fake-world.ts'
import { aRun } from '../domain/cluster-fixture.ts'
import { SeededRandom } from '../../sim/seeded-random.ts'
import { MemoryStore } from '../store/memory/memory-store.ts'
import { RestartWaits } from './restart-waits.ts'
import { StateTimes } from './state-times.ts'

test('people are told once of each reason; new figures come into the record after a while; what is over goes', async () => {
  const clock = new VirtualClock()
  await clock.run(
    (async () => {
      const store = new MemoryStore(clock)
      const world = await fakeWorld({ store, clock, random: new SeededRandom(1) })
      const { id } = await addVm(world, { on: host1, datastore: shared })
      const waits = new RestartWaits({ store, clock })
      const vm = async () => (await store.get('vm', id))!.value
      const tell = async (code: string | null, why = ''): Promise<string | undefined> => {
        await waits.tell([await vm()], new Map(code === null ? [] : [[id, { code, why }]]))
        return (await vm()).restartWait?.why
      }
      assert.equal(await tell('no-host', '1 GiB is free'), '1 GiB is free')
      assert.equal(await tell('no-host', '2 GiB are free'), '1 GiB is free')
      await clock.sleep(30_000)
      assert.equal(await tell('no-host', '2 GiB are free'), '2 GiB are free')
      assert.equal(await tell('rule', 'apart'), 'apart')
      assert.equal(await tell(null), undefined)
      const events = await store.events({ revision: 0, sequence: 0 }, 100)
      assert.ok(events !== 'relist')
      const told = events.filter((event) => event.type === 'vm.restart-waits').map((event) => event.data['code'])
      assert.deepEqual(told, ['no-host', 'rule'])
    })(),
    3_600_000,
  )
})

test('how long a VM waits is known to a new manager, and failed attempts change nothing of it', () => {
  const clock = new VirtualClock()
  const ago = (ms: number): string => new Date(clock.now() - ms).toISOString()
  const lost = aRun({ cause: 'host-lost', since: ago(40_000) })
  const times = new StateTimes(clock)
  const since = times.of(lost, true)
  assert.equal(clock.monotonic() - since, 40_000)
  assert.equal(times.of({ ...lost, generation: 7, since: ago(0) }, true), since)
  const running = aRun({ phase: 'running', cause: null, since: ago(0) })
  assert.equal(times.of(running, false), clock.monotonic())
  assert.equal(
    new StateTimes(clock).of(aRun({ since: ago(-90_000) }), true),
    clock.monotonic(),
    'a clock that was ahead',
  )
})
