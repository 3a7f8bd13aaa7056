/** Lost hosts and their fence devices, in virtual time: the real manager and agents, simulated power switches. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { call } from '../../src/sim/cluster/simulated-cluster.ts'
import { fenceAgent } from '../../src/sim/cluster/simulated-fences.ts'
import { eventsOf, healed, isElsewhere, runningOn, runsAgain, stage } from './fencing-stage.ts'

test('a host that crashes is fenced, its VM runs elsewhere within seconds, and the host is switched on again', async () => {
  const set = await stage()
  const { world, lost } = set
  const at = world.clock.monotonic()
  lost.crash()
  await world.clock.runUntil(isElsewhere(set), 30_000)
  assert.ok(world.clock.monotonic() - at < 7000, `it took ${world.clock.monotonic() - at} ms`)
  await world.clock.runUntil(() => lost.isOn, 10_000)
  await world.clock.advance(10_000)
  const states = await world.run(world.ask((manager) => manager.api.listHosts({ params: {} }, call)))
  assert.deepEqual(new Set(states.items.map(({ state }) => state)), new Set(['connected']))
  assert.equal((await eventsOf(set, 'host.fenced')).length, 1)
  assert.equal((await eventsOf(set, 'host.switched-on')).length, 1)
  assert.equal(await healed(set), 2)
})

test('a host that is frozen is really off before its VM runs elsewhere', async () => {
  const set = await stage()
  set.lost.freeze()
  await set.world.clock.runUntil(isElsewhere(set), 30_000)
  assert.deepEqual(set.lost.hypervisor.alive(), [])
  assert.equal(await healed(set), 2)
})

test('a manager that dies at any call of a fencing, and starts again, ends it', async () => {
  for (let calls = 0; calls < 100; calls += 2) {
    const set = await stage()
    const { world, lost } = set
    lost.crash()
    await world.clock.runUntil(() => world.fences.done.some((each) => each === `off ${lost.name}`), 20_000)
    const { process } = world.manager
    process?.life.endAfter(calls)
    await world.clock.advance(1500)
    process?.kill()
    await world.run(world.manager.start())
    await world.clock.runUntil(runsAgain(set), 60_000)
    assert.equal(await healed(set), 2, `after ${calls} calls`)
    assert.deepEqual(await eventsOf(set, 'host.fence-lied'), [], `after ${calls} calls`)
  }
})

test('a manager that begins waits its whole term before it goes on with what another had begun', async () => {
  const set = await stage()
  const { world, lost } = set
  world.fences.faults.set(`${fenceAgent} ${lost.name}`, 'fail')
  lost.freeze()
  await world.clock.runUntil(() => world.fences.done.length > 3, 20_000)
  world.manager.kill()
  // While nobody manages, the host comes back and the device is mended.
  lost.thaw()
  world.fences.faults.clear()
  await world.clock.advance(1000)
  world.fences.done.length = 0
  await world.run(world.manager.start())
  await world.clock.advance(30_000)
  assert.ok(!world.fences.done.some((each) => each.startsWith('off')), world.fences.done.join())
  assert.equal(await healed(set), 1)
})

test('two managers that both believe to lead fence a host once, and start its VM once', async () => {
  for (let calls = 0; calls < 60; calls += 6) {
    const set = await stage()
    const { world, lost } = set
    lost.crash()
    await world.clock.runUntil(() => world.fences.done.some((each) => each === `off ${lost.name}`), 20_000)
    const former = world.manager
    await world.clock.advance(calls * 10)
    former.process?.freeze()
    const next = world.newManager({ hasFences: true })
    await world.run(next.start())
    world.manager = next
    await world.clock.advance(8000)
    former.process?.thaw()
    await world.clock.runUntil(runsAgain(set), 60_000)
    await world.clock.advance(20_000)
    former.kill()
    // What either had begun is gone on with by who manages next.
    next.kill()
    await world.run(next.start())
    assert.equal((await eventsOf(set, 'host.fenced')).length, 1, `after ${calls * 10} ms`)
    assert.equal(await healed(set), 2, `after ${calls * 10} ms`)
  }
})

test('while the device fails nothing is started, people are told once, and it goes on when the device is mended', async () => {
  const set = await stage()
  const { world, lost } = set
  world.fences.faults.set(`${fenceAgent} ${lost.name}`, 'fail')
  lost.crash()
  await world.clock.advance(300_000)
  assert.deepEqual(runningOn(set), [])
  assert.equal((await eventsOf(set, 'host.fence-failed')).length, 1)
  assert.deepEqual(await eventsOf(set, 'host.fenced'), [])
  world.fences.faults.clear()
  await world.clock.runUntil(isElsewhere(set), 30_000)
  assert.equal(await healed(set), 2)
})

test('a device that says it did it, and did not, counts for nothing', async () => {
  const set = await stage()
  const { world, lost } = set
  world.fences.faults.set(`${fenceAgent} ${lost.name}`, 'ignore')
  world.network.cut(lost.id, 'manager')
  await world.clock.advance(60_000)
  assert.deepEqual(runningOn(set), [lost.address])
  assert.match((await eventsOf(set, 'host.fence-failed')).join(), /says that it is not off/)
  world.network.join(lost.id)
  assert.equal(await healed(set), 1)
})

test('where the first level hangs, the second does it', async () => {
  const set = await stage()
  const { world, lost } = set
  const body = { agent: 'fence_spare', options: { plug: lost.name }, secrets: { password: 'open sesame' }, level: 2 }
  await world.run(world.ask((manager) => manager.api.setHostFence({ params: { host: lost.id }, body }, call)))
  world.fences.faults.set(`${fenceAgent} ${lost.name}`, 'hang')
  lost.freeze()
  await world.clock.runUntil(isElsewhere(set), 60_000)
  assert.match((await eventsOf(set, 'host.fenced')).join(), /switched off by fence_spare/)
  assert.equal(await healed(set), 2)
})

test('every device of a level must do it: one of two power supplies is not enough', async () => {
  const set = await stage()
  const { world, lost } = set
  const body = { agent: 'fence_spare', options: { plug: lost.name }, secrets: { password: 'open sesame' }, level: 1 }
  await world.run(world.ask((manager) => manager.api.setHostFence({ params: { host: lost.id }, body }, call)))
  world.fences.faults.set(`fence_spare ${lost.name}`, 'fail')
  lost.crash()
  await world.clock.advance(60_000)
  assert.deepEqual(runningOn(set), [])
  world.fences.faults.clear()
  await world.clock.runUntil(isElsewhere(set), 60_000)
  assert.equal(await healed(set), 2)
})

test('a host that goes on reporting after its device said off is an alarm, and nothing is started', async () => {
  const set = await stage()
  const { world, lost } = set
  world.fences.faults.set(`${fenceAgent} ${lost.name}`, 'lie')
  const begun = await world.run(
    world.ask((manager) => manager.api.fenceHost({ params: { host: lost.id }, body: { force: true } }, call)),
  )
  await world.clock.advance(20_000)
  const task = await world.run(world.ask((manager) => manager.api.getTask({ params: { task: begun.id } }, call)))
  assert.equal(task.state, 'failed')
  assert.equal((await eventsOf(set, 'host.fence-lied')).length, 1)
  assert.deepEqual(runningOn(set), [lost.address])
  assert.equal(await healed(set), 1)
})

test('a manager that is cut off from every host fences none', async () => {
  const set = await stage()
  const { world } = set
  for (const { id } of world.hosts) world.network.cut(id, 'manager')
  await world.clock.advance(120_000)
  assert.ok(!world.fences.done.some((each) => each.startsWith('off')), world.fences.done.join())
  assert.equal((await eventsOf(set, 'host.fence-held')).length, 3)
  for (const { id } of world.hosts) world.network.join(id)
  assert.equal(await healed(set), 1)
})

test('where most hosts are silent at once, no more than half are switched off', async () => {
  const set = await stage({ hosts: 4 })
  const { world } = set
  for (const { id } of world.hosts.slice(0, 3)) world.network.cut(id, 'manager')
  await world.clock.advance(120_000)
  const off = new Set(world.fences.done.filter((each) => each.startsWith('off')))
  assert.ok(off.size >= 1 && off.size <= 2, [...off].join())
  for (const { id } of world.hosts) world.network.join(id)
  await healed(set)
})

test('a person may switch off a connected host only with force; what runs there starts elsewhere', async () => {
  const set = await stage()
  const { world, lost } = set
  const fence = (body: { force?: boolean }) =>
    world.run(world.ask((manager) => manager.api.fenceHost({ params: { host: lost.id }, body }, call)))
  await assert.rejects(fence({}), { code: 'wrong-state' })
  await fence({ force: true })
  await world.clock.runUntil(isElsewhere(set), 30_000)
  await world.clock.advance(10_000)
  assert.ok(!lost.isOn, 'it stays off')
  assert.equal(await healed(set), 2)
})

test('a host in maintenance is tried by off and on, and no other is', async () => {
  const set = await stage()
  const { world, client, lost } = set
  const cycle = () =>
    world.run(world.ask((manager) => manager.api.cycleHostFence({ params: { host: lost.id }, body: {} }, call)))
  await assert.rejects(cycle(), { code: 'wrong-state' })
  await world.run(client.enterMaintenance(lost.id))
  await world.clock.runUntil(isElsewhere(set), 120_000)
  const isEmpty = async () =>
    (await world.ask((manager) => manager.api.getHost({ params: { host: lost.id } }, call))).maintenance === 'on'
  while (!(await world.run(isEmpty()))) await world.clock.advance(500)
  world.fences.done.length = 0
  const begun = await cycle()
  await world.clock.advance(10_000)
  const task = await world.run(world.ask((manager) => manager.api.getTask({ params: { task: begun.id } }, call)))
  assert.equal(task.state, 'done', JSON.stringify(task.problem))
  assert.deepEqual(world.fences.done.filter((each) => each.endsWith(lost.name)).slice(0, 4), [
    `off ${lost.name}`,
    `status ${lost.name}`,
    `on ${lost.name}`,
    `status ${lost.name}`,
  ])
  assert.equal(await healed(set), 1)
})

test('a device that stops answering is found by its hourly test, and so is its mending', async () => {
  const set = await stage({ hosts: 2 })
  const { world, lost } = set
  world.fences.faults.set(`${fenceAgent} ${lost.name}`, 'fail')
  await world.clock.advance(3_700_000)
  assert.equal((await eventsOf(set, 'host.fence-test-failed')).length, 1)
  const shown = await world.run(world.ask((manager) => manager.api.getHost({ params: { host: lost.id } }, call)))
  assert.equal(shown.fence?.state, 'failing')
  assert.doesNotMatch(JSON.stringify(shown), /sesame/)
  world.fences.faults.clear()
  await world.clock.advance(400_000)
  assert.equal((await eventsOf(set, 'host.fence-ok')).length, 1)
  assert.equal(await healed(set), 1)
})
