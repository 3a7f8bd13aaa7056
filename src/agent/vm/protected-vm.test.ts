import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { testVm } from '../../sim/agent-world.ts'
import { expectRecord, held, here, noSignal, observations, there } from '../../sim/held-pair.ts'

describe('a protected VM', () => {
  test('pauses and goes on by its pump, and is not taken for one that ran out of space', async () => {
    const world = await held()
    const keeper = await world.a.keeper()
    const { generation } = world.manager.record(testVm)
    assert.equal((await world.run(keeper.signal({ generation, signal: 'pause' }))).process, 'paused')
    await world.clock.advance(5000)
    assert.deepEqual(world.runsOn, [])
    world.a.kill()
    await world.run(world.a.boot())
    await world.clock.advance(5000)
    assert.equal((await (await world.a.keeper()).observe()).outOfSpace, false)
    assert.equal(
      (await world.run((await world.a.keeper()).signal({ generation, signal: 'resume' }))).process,
      'running',
    )
    await world.clock.advance(1000)
    assert.deepEqual(world.runsOn, [here])
  })

  test('that is paused is paused on the second too', async () => {
    const world = await held()
    const { generation } = world.manager.record(testVm)
    await world.run((await world.a.keeper()).signal({ generation, signal: 'pause' }))
    await world.clock.advance(1000)
    world.a.crash()
    await world.clock.advance(5000)
    expectRecord(world, 'host-2', null)
    assert.equal((await (await world.b.keeper()).observe()).process, 'paused')
    const now = world.manager.record(testVm).generation
    await world.run((await world.b.keeper()).signal({ generation: now, signal: 'resume' }))
    assert.deepEqual(world.runsOn, [there])
  })

  test('that is paused stays so when both its pumps have died', async () => {
    const world = await held()
    const { generation } = world.manager.record(testVm)
    await world.run((await world.a.keeper()).signal({ generation, signal: 'pause' }))
    world.b.crash()
    world.a.pumps.process(testVm)?.kill()
    await world.clock.advance(20_000)
    expectRecord(world, 'host-1', null)
    assert.deepEqual(world.runsOn, [])
    assert.equal((await (await world.a.keeper()).observe()).process, 'paused')
  })

  test('is not stopped, moved or started elsewhere on this host before its protection has ended', async () => {
    const world = await held()
    const { generation } = world.manager.record(testVm)
    const [a, b] = [await world.a.keeper(), await world.b.keeper()]
    await assert.rejects(world.run(a.stop({ generation, how: 'off' })), { code: 'wrong-state' })
    const incoming = { host: there, port: 1, tlsName: '', nbdPort: null, exports: [] }
    const move = a.migrateOut(world.outgoingRequest(generation, incoming), () => undefined, noSignal())
    await assert.rejects(world.run(move), { code: 'wrong-state' })
    const to = { key: 1, datastore: 'ds-1' as never, path: '/x', format: 'raw' as const }
    await assert.rejects(world.run(a.moveDisk(generation, to, () => undefined, noSignal())), { code: 'wrong-state' })
    await assert.rejects(world.run(b.start(world.deployment())), { code: 'wrong-state' })
    await assert.rejects(world.run(b.prepareIncoming(world.incomingRequest(generation))), { code: 'wrong-state' })
    const release = { generation, verdict: 'release' as const, movedDisks: [], targetDiscarded: false }
    await assert.rejects(world.run(b.settle(release)), { code: 'wrong-state' })
    assert.deepEqual(await observations(world), ['running', 'protecting', 'second', 'following'])
  })

  test('that has no space pauses as a whole, and goes on when there is some', async () => {
    const world = await held()
    world.a.places.isFull = true
    world.a.hypervisor.guest(testVm)?.runOutOfSpace(1)
    await world.clock.advance(10_000)
    assert.deepEqual(world.runsOn, [])
    assert.equal((await (await world.a.keeper()).observe()).outOfSpace, true)
    world.a.places.isFull = false
    await world.clock.advance(10_000)
    assert.deepEqual(world.runsOn, [here])
    expectRecord(world, 'host-1', 'protected')
  })

  test('is adopted with its pair after a store was restored', async () => {
    const world = await held()
    world.manager.move(testVm, { event: 'restored', incarnation: 2 })
    await world.a.table?.refreshAll()
    await world.b.table?.refreshAll()
    await world.clock.advance(5000)
    expectRecord(world, 'host-1', 'protected')
    assert.deepEqual(await observations(world), ['running', 'protecting', 'second', 'following'])
  })

  test('that was taken over while the store was restored is adopted where it runs', async () => {
    const world = await held()
    world.manager.isReachable = false
    world.a.crash()
    await world.clock.advance(5000)
    world.manager.move(testVm, { event: 'restored', incarnation: 2 })
    world.manager.isReachable = true
    await world.clock.advance(10_000)
    expectRecord(world, 'host-2', null)
    assert.deepEqual(world.runsOn, [there])
  })
})
