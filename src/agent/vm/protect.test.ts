import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type AgentWorld, testVm } from '../../sim/agent-world.ts'
import {
  expectForgotten,
  expectRecord,
  held,
  here,
  noSignal,
  observations,
  started,
  there,
} from '../../sim/held-pair.ts'

describe('a protection', () => {
  test('comes about: the record says so, and both hosts tell of it', async () => {
    const world = await started()
    const config = world.beginProtect()
    const request = world.protectRequest(config, await world.prepareSecond(config))
    const fractions: number[] = []
    const job = (await world.a.keeper()).protect(request, (p) => fractions.push(p.fraction), noSignal())
    assert.deepEqual(await world.run(job), { n: 1 })
    assert.ok(fractions.length > 5 && fractions.every((one, i) => one >= (fractions[i - 1] ?? 0)))
    expectRecord(world, 'host-1', 'protected')
    await world.clock.advance(5000)
    assert.deepEqual(await observations(world), ['running', 'protecting', 'second', 'following'])
    assert.deepEqual(world.runsOn, [here])
    const state = await world.a.files.readText(`/data/vms/${testVm}/state.json`)
    await world.clock.advance(5000)
    assert.equal(await world.a.files.readText(`/data/vms/${testVm}/state.json`), state, 'epochs cost the agent nothing')
  })

  test('is prepared once: the same again is answered with the same, and an agent that starts again remembers it', async () => {
    const world = await started()
    const config = world.beginProtect()
    const first = await world.prepareSecond(config)
    assert.deepEqual(await world.prepareSecond(config), first)
    world.b.kill()
    await world.run(world.b.boot())
    assert.deepEqual(await world.prepareSecond(config), first)
    assert.equal(world.b.hypervisor.alive().length, 1)
  })

  test('needs a record that names the hosts and the number', async () => {
    const world = await started()
    const config = world.beginProtect(3)
    const other = { ...config, n: 2 }
    await assert.rejects(world.prepareSecond(other), { code: 'wrong-state' })
    const endpoint = await world.prepareSecond(config)
    const request = world.protectRequest(other, endpoint)
    await assert.rejects(world.run((await world.a.keeper()).protect(request, () => undefined, noSignal())), {
      code: 'wrong-state',
    })
    assert.equal(world.a.pumps.process(testVm), undefined)
  })

  test('that does not come about leaves the guest alone, and the record says so', async () => {
    const world = await started()
    const config = world.beginProtect()
    const request = world.protectRequest(config, await world.prepareSecond(config))
    world.a.pumps.failNextStart = 'no write tracking here'
    const job = (await world.a.keeper()).protect(request, () => undefined, noSignal())
    await assert.rejects(world.run(job), { message: /no write tracking/ })
    await world.clock.advance(5000)
    expectRecord(world, 'host-1', null)
    assert.deepEqual(world.runsOn, [here])
    await world.run((await world.b.keeper()).tellRecord(world.manager.record(testVm)))
    assert.equal(world.b.hypervisor.guest(testVm), undefined, 'a second that is wanted no more is dropped')
    await expectForgotten(world)
  })

  test('that is cancelled while it comes about leaves the guest alone', async () => {
    const world = await started()
    const config = world.beginProtect()
    const request = world.protectRequest(config, await world.prepareSecond(config))
    const cancel = new AbortController()
    const job = (await world.a.keeper()).protect(request, (p) => p.fraction > 0.3 && cancel.abort(), cancel.signal)
    await assert.rejects(world.run(job))
    await world.clock.advance(5000)
    expectRecord(world, 'host-1', null)
    assert.deepEqual(world.runsOn, [here])
  })

  test('whose second dies while it comes about fails, and the guest runs on', async () => {
    const world = await started()
    const config = world.beginProtect()
    const request = world.protectRequest(config, await world.prepareSecond(config))
    const job = (await world.a.keeper()).protect(request, (p) => p.fraction > 0.5 && world.b.crash(), noSignal())
    await assert.rejects(world.run(job), { code: 'host-error', message: /does not answer/ })
    await world.clock.advance(5000)
    expectRecord(world, 'host-1', null)
    assert.deepEqual(world.runsOn, [here])
  })

  test('a second that does not stand leaves nothing, and its number is used up', async () => {
    const world = await started()
    const config = world.beginProtect()
    world.b.pumps.failNextStart = 'no room'
    await assert.rejects(world.prepareSecond(config), { message: 'no room' })
    assert.equal(world.b.hypervisor.guest(testVm), undefined)
    await assert.rejects(world.prepareSecond(config), { code: 'stale-generation' })
  })

  test('a second whose number was discarded before it was prepared is refused', async () => {
    const world = await started()
    const config = world.beginProtect()
    await world.run((await world.b.keeper()).discardSecond(1))
    world.b.kill()
    await world.run(world.b.boot())
    await assert.rejects(world.prepareSecond(config), { code: 'stale-generation' })
  })
})

describe('the end of a protection', () => {
  test('a second that dies leaves the primary alone', async () => {
    const world = await held()
    world.b.crash()
    await world.clock.advance(5000)
    expectRecord(world, 'host-1', null)
    assert.deepEqual(world.runsOn, [here])
    await world.run(world.b.boot())
    await world.clock.advance(5000)
    assert.deepEqual(await observations(world), ['running', '-', 'none', '-'])
    await expectForgotten(world)
  })

  test('a primary that dies is followed by the second, also while the manager is away', async () => {
    const world = await held()
    world.manager.isReachable = false
    world.a.crash()
    await world.clock.advance(30_000)
    assert.deepEqual(world.runsOn, [there])
    const { process, protection } = await (await world.b.keeper()).observe()
    assert.deepEqual([process, protection?.phase], ['running', 'running'])
    world.manager.isReachable = true
    await world.clock.advance(5000)
    expectRecord(world, 'host-2', null)
    await world.run(world.a.boot())
    await world.clock.advance(5000)
    assert.deepEqual(await observations(world), ['none', '-', 'running', '-'])
    await expectForgotten(world)
  })

  test('a second takes over although the manager was never told that it is protected', async () => {
    const world = await started()
    const config = world.beginProtect()
    const request = world.protectRequest(config, await world.prepareSecond(config))
    world.manager.isReachable = false
    const job = (await world.a.keeper()).protect(request, () => undefined, noSignal())
    job.catch(() => undefined)
    // The job asks for the record first.
    await world.clock.advance(100)
    world.manager.isReachable = true
    const again = (await world.a.keeper()).protect(request, (p) => p.fraction > 0.5 && cutManager(world), noSignal())
    again.catch(() => undefined)
    await world.clock.advance(3000)
    assert.equal(world.a.pumps.process(testVm)?.status.phase, 'protecting')
    world.a.crash()
    world.manager.isReachable = true
    await world.clock.advance(5000)
    expectRecord(world, 'host-2', null)
    assert.deepEqual(world.runsOn, [there])
  })

  test('a primary that was cut off for long comes back to a lost guest, and ends it', async () => {
    const world = await held()
    world.wire.cut(here, there)
    // The second asks the arbiter first.
    world.pairs.isArbiterReachable = false
    await world.clock.advance(2000)
    assert.deepEqual(world.runsOn, [], 'without an arbiter nobody goes on')
    const second = world.b.pumps.process(testVm)
    assert.ok(second)
    world.pairs.isArbiterReachable = true
    world.pairs.ask('claim', (await world.b.pumps.memory(testVm))!.config, 'second')
    await world.clock.advance(5000)
    expectRecord(world, 'host-2', null)
    assert.deepEqual(world.runsOn, [there])
    assert.deepEqual(await observations(world), ['none', '-', 'running', '-'])
    await expectForgotten(world)
  })

  test('a QEMU of the primary that dies is no crash of the VM: the second goes on', async () => {
    const world = await held()
    world.a.hypervisor.guest(testVm)?.kill()
    await world.clock.advance(5000)
    expectRecord(world, 'host-2', null)
    assert.deepEqual(world.runsOn, [there])
    await expectForgotten(world)
  })

  test('a QEMU of the primary that meets an internal error is ended, and the second goes on', async () => {
    const world = await held()
    world.a.hypervisor.guest(testVm)?.fail()
    await world.clock.advance(5000)
    expectRecord(world, 'host-2', null)
    assert.deepEqual(world.runsOn, [there])
  })

  test('unprotect: the record says so when it resolves, and again it is answered likewise', async () => {
    const world = await held()
    const request = { generation: world.manager.record(testVm).generation, n: 1, how: 'end' as const }
    await world.run((await world.a.keeper()).unprotect(request))
    expectRecord(world, 'host-1', null)
    await world.run((await world.a.keeper()).unprotect({ ...request, generation: request.generation + 1 }))
    await world.clock.advance(5000)
    assert.deepEqual(world.runsOn, [here])
    assert.deepEqual(await observations(world), ['running', '-', 'none', '-'])
    await expectForgotten(world)
  })

  test('unprotect without an arbiter is refused as unreachable, and all stays as it is', async () => {
    const world = await held()
    world.pairs.isArbiterReachable = false
    const request = { generation: world.manager.record(testVm).generation, n: 1, how: 'end' as const }
    await assert.rejects(world.run((await world.a.keeper()).unprotect(request)), { code: 'unreachable' })
    expectRecord(world, 'host-1', 'protected')
  })

  test('unprotect of a pair that never began makes the record say so, and a late job begins nothing', async () => {
    const world = await started()
    const config = world.beginProtect()
    const late = world.protectRequest(config, await world.prepareSecond(config))
    const { generation } = world.manager.record(testVm)
    await world.run((await world.a.keeper()).unprotect({ generation, n: 1, how: 'end' }))
    expectRecord(world, 'host-1', null)
    const job = (await world.a.keeper()).protect(late, () => undefined, noSignal())
    await assert.rejects(world.run(job), { code: 'stale-generation' })
  })

  test('a planned takeover: the second runs, and the first is empty', async () => {
    const world = await held()
    const request = { generation: world.manager.record(testVm).generation, n: 1, how: 'hand-over' as const }
    await world.run((await world.a.keeper()).unprotect(request))
    await world.clock.advance(5000)
    expectRecord(world, 'host-2', null)
    assert.deepEqual(await observations(world), ['none', '-', 'running', '-'])
    await expectForgotten(world)
  })

  test('a guest that shuts down is stopped once the pair has ended', async () => {
    const world = await held()
    world.a.hypervisor.guest(testVm)?.shutDown()
    await world.clock.advance(10_000)
    const record = world.manager.record(testVm)
    assert.deepEqual([record.phase, record.cause], ['stopped', 'guest-shutdown'])
    await world.run((await world.b.keeper()).tellRecord(record))
    await world.clock.advance(5000)
    assert.deepEqual(await observations(world), ['none', '-', 'none', '-'])
    await expectForgotten(world)
  })

  test('a guest that crashed before its pair began is told as crashed', async () => {
    const world = await started()
    world.beginProtect()
    world.a.hypervisor.guest(testVm)?.kill()
    await world.clock.advance(5000)
    const record = world.manager.record(testVm)
    assert.deepEqual([record.phase, record.cause], ['stopped', 'crashed'])
  })

  test('discardSecond ends what waits; where it runs already its observation says so', async () => {
    const world = await started()
    const config = world.beginProtect()
    await world.prepareSecond(config)
    assert.equal((await world.run((await world.b.keeper()).discardSecond(1))).process, 'none')
    assert.equal((await world.run((await world.b.keeper()).discardSecond(1))).process, 'none')
    await assert.rejects(world.prepareSecond(config), { code: 'stale-generation' })
    const other = await held()
    other.a.crash()
    await other.clock.advance(3000)
    assert.equal((await other.run((await other.b.keeper()).discardSecond(1))).process, 'running')
    assert.deepEqual(other.runsOn, [there])
  })

  test('discardSecond of one that protects leaves the primary alone', async () => {
    const world = await held()
    await world.run((await world.b.keeper()).discardSecond(1))
    await world.clock.advance(5000)
    expectRecord(world, 'host-1', null)
    assert.deepEqual(world.runsOn, [here])
  })

  test('a new pair after a takeover, the other way round', async () => {
    const world = await held()
    world.a.crash()
    await world.clock.advance(3000)
    await world.run(world.a.boot())
    await world.clock.advance(3000)
    const protection = { n: 2, second: world.a.id, arbiter: 'host-3' as never, phase: 'syncing' as const }
    world.manager.move(testVm, { event: 'protect', protection })
    const config = { vm: testVm, n: 2, primary: world.b.id, second: world.a.id, arbiter: 'host-3' as never }
    const endpoint = await world.prepareSecond(config, world.a)
    const job = (await world.b.keeper()).protect(world.protectRequest(config, endpoint), () => undefined, noSignal())
    await world.run(job)
    expectRecord(world, 'host-2', 'protected')
    assert.deepEqual(await observations(world), ['second', 'following', 'running', 'protecting'])
  })
})

function cutManager(world: AgentWorld): void {
  world.manager.isReachable = false
}
