import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { HostId } from '../../base/ids.ts'
import { type AgentWorld, testVm } from '../../sim/agent-world.ts'
import { anotherArbiter, expectForgotten, expectRecord, held, here, observations, there } from '../../sim/held-pair.ts'

function decides(world: AgentWorld): unknown[] {
  const { protection } = world.manager.record(testVm)
  return [protection?.n, protection?.currentN, protection?.arbiter]
}

describe('another arbiter for a protected VM', () => {
  test('the record says so when it is done; asked again, it is answered as the first time', async () => {
    const world = await held()
    const request = anotherArbiter(world, 'asked')
    await world.run((await world.a.keeper()).changeArbiter(request))
    assert.deepEqual(decides(world), [1, 2, 'host-4'])
    await world.run((await world.a.keeper()).changeArbiter(request))
    assert.deepEqual(decides(world), [1, 2, 'host-4'])
    assert.deepEqual(await observations(world), ['running', 'protecting', 'second', 'following'])
    const older = { ...anotherArbiter(world, 'asked', 3), generation: request.generation }
    await assert.rejects(world.run((await world.a.keeper()).changeArbiter(older)), { code: 'stale-generation' })
  })

  test('the takeover asks the new one, though the old one is gone', async () => {
    const world = await held()
    world.pairs.gone.add('host-3' as HostId)
    await world.run((await world.a.keeper()).changeArbiter(anotherArbiter(world, 'gone')))
    world.a.crash()
    await world.clock.advance(5000)
    expectRecord(world, 'host-2', null)
    assert.deepEqual(world.runsOn, [there])
    await world.run(world.a.boot())
    await world.clock.advance(5000)
    assert.deepEqual(await observations(world), ['none', '-', 'running', '-'])
    await expectForgotten(world)
  })

  test('a side that was not told is sent on by the old one', async () => {
    const world = await held()
    const { config } = (await world.a.pumps.memory(testVm))!
    const next = { ...config, n: 2, arbiter: 'host-4' as HostId }
    assert.ok(world.pairs.open(next) && world.pairs.supersede(config, next)?.is === 'superseded')
    world.a.crash()
    await world.clock.advance(5000)
    expectRecord(world, 'host-2', null)
    assert.deepEqual(world.runsOn, [there])
  })

  test('where the old one does not step back nothing changes, and the VM is protected as before', async () => {
    const world = await held()
    world.pairs.gone.add('host-3' as HostId)
    const change = (await world.a.keeper()).changeArbiter(anotherArbiter(world, 'asked'))
    await assert.rejects(world.run(change), { code: 'wrong-state' })
    assert.deepEqual(decides(world), [1, undefined, 'host-3'])
    expectRecord(world, 'host-1', 'protected')
    assert.deepEqual(world.runsOn, [here])
  })

  test('of a VM that is not held in step from here it is refused', async () => {
    const world = await held()
    const request = { ...anotherArbiter(world, 'asked'), n: 7 }
    await assert.rejects(world.run((await world.a.keeper()).changeArbiter(request)), { code: 'wrong-state' })
    const second = (await world.b.keeper()).changeArbiter(anotherArbiter(world, 'asked'))
    await assert.rejects(world.run(second), { code: 'wrong-state' })
  })

  test('the pair ends by its new arbiter, and the numbers that it used are given up', async () => {
    const world = await held()
    await world.run((await world.a.keeper()).changeArbiter(anotherArbiter(world, 'asked')))
    const { generation } = world.manager.record(testVm)
    await world.run((await world.a.keeper()).unprotect({ generation, n: 1, how: 'end' }))
    expectRecord(world, 'host-1', null)
    await world.clock.advance(5000)
    await expectForgotten(world)
    const late = { ...world.secondRequest({ ...world.beginProtect(2), n: 2 }) }
    await assert.rejects(world.run((await world.b.keeper()).prepareSecond(late)), { code: 'stale-generation' })
  })
})
