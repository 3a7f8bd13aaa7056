/** VM monitoring in a simulated cluster: the real manager and the real agents over guests that hang and panic. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Event, Vm } from '../../src/contracts/inventory.ts'
import type { MonitoringWish } from '../../src/contracts/monitoring.ts'
import { Client } from '../../src/sim/cluster/client.ts'
import { call, SimulatedCluster } from '../../src/sim/cluster/simulated-cluster.ts'
import type { FakeGuest } from '../../src/sim/fake-guest.ts'

const minute = 60_000
const usual: MonitoringWish = { reset: 'on-panic-or-hang' }

interface Stage {
  readonly world: SimulatedCluster
  readonly vm: Vm
  readonly guest: FakeGuest
}

/** A VM whose guest has an agent that has answered, and is past the usual grace after its start. */
async function stage(monitoring: MonitoringWish = usual, waitMs = 3 * minute): Promise<Stage> {
  const world = await SimulatedCluster.open({ seed: 1 })
  const vm = await world.run(new Client(world).createRunning({ name: 'one', datastore: 'shared' }))
  const guest = world.host(vm.run.host!).guest(vm.id)!
  guest.live({ hasAgent: true })
  await world.run(policy(world, vm, monitoring))
  await world.clock.advance(waitMs)
  return { world, vm, guest }
}

const policy = (world: SimulatedCluster, vm: Vm, monitoring: MonitoringWish): Promise<Vm> =>
  world.ask((manager) => manager.api.changeVm({ params: { vm: vm.id }, body: { policies: { monitoring } } }, call))

async function eventsOf({ world }: Stage): Promise<Event[]> {
  const { items } = await world.run(world.ask((manager) => manager.api.listEvents({ params: {}, query: {} }, call)))
  return items.filter(({ type }) => type.startsWith('vm.reset-after') || type === 'vm.monitoring-gave-up')
}
const typesOf = async (set: Stage): Promise<string[]> => (await eventsOf(set)).map(({ type }) => type)

const evidenceOf = async ({ world, vm }: Stage) => {
  const query = { content: true }
  const asked = world.ask((manager) => manager.api.listEvidence({ params: { vm: vm.id }, query }, call))
  return (await world.run(asked)).items
}

const hang = (guest: FakeGuest): void => guest.live({ answers: false, isBusy: false, lastWords: 'soft lockup' })

test('a guest that hangs is reset once, with evidence from before, and only after its time', async () => {
  const set = await stage()
  hang(set.guest)
  await set.world.clock.advance(50_000)
  assert.equal(set.guest.resets, 0)
  await set.world.clock.advance(40_000)
  assert.equal(set.guest.resets, 1)
  await set.world.clock.advance(5 * minute)
  assert.equal(set.guest.resets, 1)
  const [event, ...more] = await eventsOf(set)
  assert.deepEqual([event?.type, more], ['vm.reset-after-hang', []])
  const [evidence] = await evidenceOf(set)
  assert.deepEqual([evidence?.why, evidence?.task], ['hang', event?.task])
  assert.equal(Buffer.from(evidence?.serial?.base64 ?? '', 'base64').toString(), 'soft lockup')
  assert.match(evidence?.detail ?? '', /silent for \d+ s/)
})

test('a guest that panics is reset at once and runs again; where a panic does not count it crashes as ever', async () => {
  const set = await stage({ reset: 'on-panic' })
  set.guest.panic()
  await set.world.clock.advance(5000)
  assert.deepEqual([set.guest.resets, set.guest.state], [1, 'running'])
  assert.deepEqual(await typesOf(set), ['vm.reset-after-panic'])
  await set.world.run(policy(set.world, set.vm, { reset: 'off' }))
  await set.world.clock.advance(5000)
  set.guest.panic()
  await set.world.clock.advance(20_000)
  assert.equal(set.guest.isAlive, false)
  assert.equal((await eventsOf(set)).length, 1)
})

test('a guest that is busy, one without an agent, and one that is paused are left alone', async () => {
  const set = await stage()
  set.guest.live({ answers: false, isBusy: true })
  await set.world.clock.advance(4 * minute)
  assert.equal(set.guest.resets, 0)
  const signal = (what: 'pauseVm' | 'resumeVm'): Promise<unknown> =>
    set.world.run(set.world.ask((manager) => manager.api[what]({ params: { vm: set.vm.id }, body: {} }, call)))
  await signal('pauseVm')
  set.guest.live({ isBusy: false })
  await set.world.clock.advance(4 * minute)
  assert.equal(set.guest.resets, 0)

  const other = await stage()
  other.guest.live({ hasAgent: false })
  other.guest.reset()
  hang(other.guest)
  await other.world.clock.advance(5 * minute)
  assert.deepEqual([other.guest.resets, await eventsOf(other)], [1, []])
})

test('it is given up after so many resets, said once, and taken up again when the window is over', async () => {
  const set = await stage({ ...usual, maxResets: 2, windowMs: 6 * minute, startupGraceMs: 0 })
  set.guest.panic()
  await set.world.clock.advance(minute)
  set.guest.panic()
  await set.world.clock.advance(minute)
  assert.equal(set.guest.resets, 2)
  set.guest.panic()
  await set.world.clock.advance(2 * minute)
  assert.deepEqual([set.guest.resets, set.guest.state], [2, 'panicked'])
  const [reset, gaveUp] = ['vm.reset-after-panic', 'vm.monitoring-gave-up']
  assert.deepEqual(await typesOf(set), [reset, reset, gaveUp])
  await set.world.clock.advance(3 * minute)
  assert.deepEqual([set.guest.resets, set.guest.state], [3, 'running'])
  assert.equal((await evidenceOf(set)).length, 3)
  set.guest.panic()
  await set.world.clock.advance(minute)
  const kept = await evidenceOf(set)
  assert.deepEqual([set.guest.resets, kept.length], [4, 3])
  const events = (await eventsOf(set)).filter(({ type }) => type === reset)
  assert.deepEqual(
    kept.map(({ task }) => task).reverse(),
    events.slice(-3).map(({ task }) => task),
  )
})

test('that it is given up is said once, also when the agent of its host is started again', async () => {
  const set = await stage({ ...usual, maxResets: 1, startupGraceMs: 0 })
  const said = ['vm.reset-after-panic', 'vm.monitoring-gave-up']
  for (let panics = 0; panics < 2; panics++) {
    set.guest.panic()
    await set.world.clock.advance(minute)
  }
  assert.deepEqual(await typesOf(set), said)
  for (let again = 0; again < 2; again++) {
    const host = set.world.host(set.vm.run.host!)
    host.killAgent()
    await set.world.run(host.boot())
    await set.world.clock.advance(30_000)
  }
  assert.deepEqual([await typesOf(set), set.guest.state], [said, 'panicked'])
})

test('whenever the manager dies, and whatever the network loses, one hang is one reset', async () => {
  for (const [at, calls] of [1, 2, 4, 7, 11].entries()) {
    const set = await stage({ ...usual, hangAfterMs: 10_000, startupGraceMs: 0 }, 20_000)
    hang(set.guest)
    const isBegun = async (): Promise<boolean> =>
      (await set.world.store.list('task')).items.some(({ value }) => value.saga === 'vm.reset-hung/1')
    while (!(await isBegun())) await set.world.clock.advance(1)
    set.world.network.badness = at % 2 === 0 ? 0 : 0.3
    set.world.manager.process?.life.endAfter(calls)
    await set.world.clock.advance(5000)
    set.world.manager.kill()
    await set.world.run(set.world.manager.start())
    await set.world.clock.advance(minute)
    set.world.network.heal()
    await set.world.clock.advance(minute)
    assert.equal(set.guest.resets, 1, `dead after ${calls} calls`)
    assert.deepEqual(await typesOf(set), ['vm.reset-after-hang'], `dead after ${calls} calls`)
    assert.equal((await evidenceOf(set)).length, 1)
  }
})
