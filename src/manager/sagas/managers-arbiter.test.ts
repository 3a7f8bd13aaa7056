import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../../base/errors.ts'
import type { ProtectionConfig } from '../../contracts/protection.ts'
import { SeededRandom } from '../../sim/seeded-random.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { MemoryStore } from '../store/memory/memory-store.ts'
import { addVm, fakeWorld, host1, host2, shared, vm1 } from './fake-world.ts'
import { managersArbiter } from './managers-arbiter.ts'

const config: ProtectionConfig = { vm: vm1, n: 1, primary: host1, second: host2, arbiter: 'managers' }
const codeIs = (code: string) => (thrown: unknown) => thrown instanceof HoldfastError && thrown.code === code

async function arbiter() {
  const clock = new VirtualClock()
  const store = new MemoryStore(clock)
  const world = await fakeWorld({ store, clock, random: new SeededRandom(1) })
  await clock.run(addVm(world, { on: null, datastore: shared }), 60_000)
  return { store, api: managersArbiter(store) }
}

test('the side that asks the managers first wins, for ever, whoever of them is asked', async () => {
  const { store, api } = await arbiter()
  assert.deepEqual(await api.arbiterClaim({ vm: vm1, n: 1, side: 'primary' }), { is: 'unknown' })
  const { life } = await api.arbiterLife()
  await api.arbiterOpen({ config, life })
  await api.arbiterOpen({ config, life })
  assert.deepEqual(await api.arbiterLook({ vm: vm1, n: 1, side: 'second' }), { is: 'open' })
  const other = managersArbiter(store)
  const asked = await Promise.all(
    (['second', 'primary'] as const).map(async (side) => ({
      side,
      answer: await (side === 'second' ? api : other).arbiterClaim({ vm: vm1, n: 1, side }),
    })),
  )
  assert.deepEqual(asked.map(({ answer }) => answer.is).sort(), ['lost', 'won'])
  for (const { side, answer } of asked) {
    assert.deepEqual(await managersArbiter(store).arbiterClaim({ vm: vm1, n: 1, side }), answer)
  }
})

test('managers whose store was restored remember nothing, and are not made to by a message that comes late', async () => {
  const { store, api } = await arbiter()
  const { life } = await api.arbiterLife()
  await api.arbiterOpen({ config, life })
  const cluster = (await store.list('cluster')).items[0]!
  const value = { ...cluster.value, incarnation: 2 }
  await store.commit({ changes: [{ do: 'update', kind: 'cluster', value, expected: cluster.revision }], events: [] })
  assert.deepEqual(await api.arbiterClaim({ vm: vm1, n: 1, side: 'primary' }), { is: 'unknown' })
  await assert.rejects(api.arbiterOpen({ config, life }), codeIs('refused'))
  const next = await api.arbiterLife()
  await api.arbiterOpen({ config: { ...config, n: 2 }, life: next.life })
  await assert.rejects(api.arbiterOpen({ config, life: next.life }), codeIs('refused'))
  assert.deepEqual(await api.arbiterClaim({ vm: vm1, n: 2, side: 'second' }), { is: 'won' })
})

test('nothing is kept of a VM that is no more', async () => {
  const { api } = await arbiter()
  const { life } = await api.arbiterLife()
  const gone = { ...config, vm: 'vm-99' as typeof vm1, primary: host2, second: host1 }
  await assert.rejects(api.arbiterOpen({ config: gone, life }), codeIs('not-found'))
})
