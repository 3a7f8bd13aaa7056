/** Fencing that is not wanted any more, or never was: hosts that come back, and people who say otherwise. In virtual time. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { call, SimulatedCluster } from '../../src/sim/cluster/simulated-cluster.ts'
import { fenceAgent } from '../../src/sim/cluster/simulated-fences.ts'
import { eventsOf, healed, isElsewhere, runningOn, stage, type Stage } from './fencing-stage.ts'

test('a manager whose network is whole again after a cut fences none of the hosts that report again one by one', async () => {
  const switched: string[] = []
  for (const cutMs of [6000, 10_000]) {
    for (let seed = 1; seed <= 8; seed++) {
      const world = await SimulatedCluster.open({ seed, hosts: 4, hasFences: true })
      await world.clock.advance(12_000 + seed * 377)
      for (const { id } of world.hosts) world.network.cut(id, 'manager')
      await world.clock.advance(cutMs)
      for (const { id } of world.hosts) world.network.join(id)
      await world.clock.advance(30_000)
      const off = world.fences.done.filter((each) => each.startsWith('off'))
      if (off.length > 0) switched.push(`seed ${seed}, cut for ${cutMs} ms: ${off.join()}`)
    }
  }
  assert.deepEqual(switched, [])
})

test('a host that reports again while the first level hangs is not switched off by the second', async () => {
  const set = await stage()
  const { world, lost, vm } = set
  await setSpare(set)
  world.fences.faults.set(`${fenceAgent} ${lost.name}`, 'hang')
  world.network.cut(lost.id, 'manager')
  await world.clock.runUntil(() => world.fences.done.includes(`off ${lost.name}`), 30_000)
  await world.clock.advance(1000)
  world.network.join(lost.id)
  await world.clock.advance(40_000)
  assert.deepEqual(offs(set), [`off ${lost.name}`])
  assert.equal(world.truth.boots.get(vm.spec.uuid)?.size, 1)
  assert.deepEqual(await eventsOf(set, 'host.fence-failed'), [])
  assert.equal(await healed(set), 1)
})

test('a fencing that fails again and again ends when fencing is switched off', async () => {
  const set = await stage()
  const { world, lost } = set
  world.fences.faults.set(`${fenceAgent} ${lost.name}`, 'fail')
  world.network.cut(lost.id, 'manager')
  await world.clock.advance(20_000)
  await world.run(world.ask((manager) => manager.api.changeFencing({ params: {}, body: { automatic: false } }, call)))
  world.fences.faults.clear()
  await world.clock.advance(60_000)
  assert.deepEqual(runningOn(set), [lost.address])
  world.network.join(lost.id)
  assert.equal(await healed(set), 1)
})

test('a host that a person has confirmed off is not switched by the fencing that had begun before', async () => {
  const set = await stage()
  const { world, lost } = set
  world.fences.faults.set(`${fenceAgent} ${lost.name}`, 'fail')
  lost.crash()
  await world.clock.advance(30_000)
  await world.run(
    world.ask((manager) => manager.api.confirmHostOff({ params: { host: lost.id }, body: { iAmSure: true } }, call)),
  )
  await world.clock.runUntil(isElsewhere(set), 30_000)
  const before = switches(set)
  world.fences.faults.clear()
  await world.clock.advance(60_000)
  assert.equal(switches(set), before)
  assert.ok(!lost.isOn, 'somebody works on it')
  // A person may have it switched all the same: there is no other way to have it on again from afar.
  const body = { then: 'on' } as const
  await world.run(world.ask((manager) => manager.api.fenceHost({ params: { host: lost.id }, body }, call)))
  await world.clock.runUntil(() => lost.isOn, 30_000)
  assert.equal(await healed(set), 2)
})

test('a host that is lost again as soon as it is back is fenced as fast as before', async () => {
  const { world, lost } = await stage()
  for (let nth = 0; nth < 3; nth++) {
    const at = world.clock.monotonic()
    world.fences.done.length = 0
    lost.crash()
    await world.clock.runUntil(() => world.fences.done.includes(`off ${lost.name}`), 60_000)
    assert.ok(world.clock.monotonic() - at < 7000, `time ${nth}: ${world.clock.monotonic() - at} ms`)
    await world.clock.runUntil(() => lost.isOn, 60_000)
    await world.clock.advance(6000)
  }
})

test('of three hosts a second one that is lost within minutes is fenced too, once the first is back', async () => {
  const set = await stage()
  const { world, lost } = set
  lost.crash()
  await world.clock.runUntil(isElsewhere(set), 30_000)
  await world.clock.runUntil(() => lost.isOn, 30_000)
  await world.clock.advance(20_000)
  const [second] = runningOn(set)
  world.hosts.find(({ address }) => address === second)?.crash()
  await world.clock.runUntil(() => runningOn(set).some((each) => each !== second), 30_000)
  assert.equal(await healed(set), 3)
})

test('a wall clock that is put back makes no pause longer', async () => {
  const set = await stage()
  const { world, lost } = set
  world.fences.faults.set(`${fenceAgent} ${lost.name}`, 'fail')
  world.network.cut(lost.id, 'manager')
  await world.clock.runUntil(() => world.fences.done.includes(`off ${lost.name}`), 30_000)
  world.network.join(lost.id)
  await world.clock.advance(20_000)
  world.fences.faults.clear()
  world.manager.process?.jump(-3_600_000)
  lost.crash()
  await world.clock.runUntil(isElsewhere(set), 30_000)
  assert.equal(await healed(set), 2)
})

test('a device that lied is an alarm, whenever that comes out, until it is set anew or has really switched', async () => {
  const set = await stage()
  const { world, lost } = set
  const alarms = async () => {
    const { items } = await world.run(world.ask((manager) => manager.api.listAlarms({ params: {} }, call)))
    return items.filter(({ type, clearedAt }) => type === 'fence-failing' && clearedAt === null)
  }
  world.fences.faults.set(`${fenceAgent} ${lost.name}`, 'lie')
  world.network.cut(lost.id, 'manager')
  await world.clock.advance(20_000)
  world.network.join(lost.id)
  world.fences.faults.clear()
  await world.clock.advance(30_000)
  assert.equal((await eventsOf(set, 'host.fence-lied')).length, 1)
  assert.deepEqual(
    (await alarms()).map(({ severity, subject }) => [severity, subject.id]),
    [['critical', lost.id]],
  )
  // It answers, which it did when it lied, too.
  await world.run(world.ask((manager) => manager.api.testHostFence({ params: { host: lost.id }, body: {} }, call)))
  await world.clock.advance(5000)
  assert.equal((await alarms()).length, 1)
  const shown = await world.run(world.ask((manager) => manager.api.getHost({ params: { host: lost.id } }, call)))
  assert.equal(shown.fence?.state, 'failing')
  await world.run(set.client.enterMaintenance(lost.id))
  await world.clock.advance(20_000)
  await world.run(world.ask((manager) => manager.api.cycleHostFence({ params: { host: lost.id }, body: {} }, call)))
  await world.clock.advance(20_000)
  assert.deepEqual(await alarms(), [])
})

test('a host that leaves maintenance while its devices are tried is not switched off again', async () => {
  const set = await stage()
  const { world, lost } = set
  await setSpare(set)
  await world.run(set.client.enterMaintenance(lost.id))
  await world.clock.advance(20_000)
  world.fences.done.length = 0
  const task = await world.run(
    world.ask((manager) => manager.api.cycleHostFence({ params: { host: lost.id }, body: {} }, call)),
  )
  await world.clock.runUntil(() => world.fences.done.includes(`on ${lost.name}`), 30_000)
  await world.run(set.client.leaveMaintenance(lost.id))
  await world.clock.advance(30_000)
  assert.deepEqual(offs(set), [`off ${lost.name}`])
  const { problem } = await world.run(world.ask((manager) => manager.api.getTask({ params: { task: task.id } }, call)))
  assert.match(problem?.detail ?? '', /not in maintenance/)
  const shown = await world.run(world.ask((manager) => manager.api.getHost({ params: { host: lost.id } }, call)))
  assert.equal(shown.fence?.state, 'ok', 'no device has failed')
  assert.equal(await healed(set), 1)
})

test('a device that is added says nothing of the others: one that fails goes on failing, and keeps no other out', async () => {
  const set = await stage()
  const { world, lost } = set
  const shown = async () =>
    (await world.run(world.ask((manager) => manager.api.getHost({ params: { host: lost.id } }, call)))).fence
  world.fences.faults.set(`fence_spare ${lost.name}`, 'fail')
  await assert.rejects(setSpare(set), /the device cannot be used: level 2: fence_spare/)
  assert.equal((await shown())?.levels.length, 1)
  world.fences.faults.clear()
  world.fences.faults.set(`${fenceAgent} ${lost.name}`, 'fail')
  await setSpare(set)
  assert.equal((await shown())?.levels.length, 2)
  assert.match((await shown())?.problem ?? '', /^level 1: fence_sim/)
  assert.equal(await healed(set), 1)
})

/** A second level, whose faults are its own. */
async function setSpare({ world, lost }: Stage): Promise<void> {
  const body = { agent: 'fence_spare', options: { plug: lost.name }, secrets: { password: 'open sesame' }, level: 2 }
  await world.run(world.ask((manager) => manager.api.setHostFence({ params: { host: lost.id }, body }, call)))
}

function offs({ world, lost }: Stage): string[] {
  return world.fences.done.filter((each) => each === `off ${lost.name}`)
}

/** How often the host was switched off or on. */
function switches({ world, lost }: Stage): number {
  return world.fences.done.filter((each) => each === `off ${lost.name}` || each === `on ${lost.name}`).length
}
