import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { HoldfastError } from '../../base/errors.ts'
import type { TaskId } from '../../base/ids.ts'
import type { StopCause } from '../../contracts/run-record.ts'
import { AgentWorld, testVm } from '../../sim/agent-world.ts'

const noSignal = (): AbortSignal => new AbortController().signal
const settleWith = { movedDisks: [], targetDiscarded: false }

async function started(habits = {}): Promise<AgentWorld> {
  const world = await AgentWorld.boot(habits)
  await world.startOnA()
  return world
}

function expectStopped(world: AgentWorld, cause: StopCause): void {
  const record = world.manager.record(testVm)
  assert.deepEqual([record.phase, record.cause], ['stopped', cause])
  assert.deepEqual(world.runsOn, [])
}

describe('start', () => {
  test('vCPUs run only after the record has moved', async () => {
    const world = await AgentWorld.boot()
    world.manager.isReachable = false
    const starting = (await world.a.keeper()).start(world.deployment())
    starting.catch(() => undefined)
    await world.clock.advance(60_000)
    assert.deepEqual(world.runsOn, [])
    assert.equal((await (await world.a.keeper()).observe()).process, 'prelaunch')
    world.manager.isReachable = true
    const observation = await world.run(starting)
    assert.equal(observation.process, 'running')
    assert.equal(world.manager.record(testVm).phase, 'running')
    assert.deepEqual(world.runsOn, ['10.0.0.1'])
  })

  test('a lost answer is asked for again, and the start goes on', async () => {
    const world = await AgentWorld.boot()
    world.manager.loseAnswers = 1
    await world.startOnA()
    assert.equal(world.manager.record(testVm).generation, 2)
    assert.deepEqual(world.runsOn, ['10.0.0.1'])
  })

  test('a start decided on an older record is refused, and QEMU ends', async () => {
    const world = await AgentWorld.boot()
    const deployment = world.deployment()
    world.manager.move(testVm, { event: 'revoke' })
    await assert.rejects(world.run((await world.a.keeper()).start(deployment)), { code: 'stale-generation' })
    assert.equal(world.a.hypervisor.guest(testVm), undefined)
    assert.equal(world.a.places.prepared.size, 0)
  })

  test('two hosts that are told to start it: exactly one does', async () => {
    const world = await AgentWorld.boot()
    const deployment = world.deployment()
    const [a, b] = await Promise.all([world.a.keeper(), world.b.keeper()])
    const both = await world.run(Promise.allSettled([a.start(deployment), b.start(deployment)]))
    assert.equal(both.filter((one) => one.status === 'fulfilled').length, 1)
    assert.equal(world.runsOn.length, 1)
    assert.deepEqual(world.wire.violations, [])
  })

  test('the same start again is answered as the first time', async () => {
    const world = await AgentWorld.boot()
    const deployment = world.deployment()
    await world.run((await world.a.keeper()).start(deployment))
    const again = await world.run((await world.a.keeper()).start(deployment))
    assert.equal(again.process, 'running')
  })

  test('a QEMU that does not start leaves nothing, and the next start works', async () => {
    const world = await AgentWorld.boot()
    world.a.hypervisor.failNextStart = 'cannot set up guest memory'
    await assert.rejects(world.run((await world.a.keeper()).start(world.deployment())), { code: 'hypervisor-error' })
    await world.startOnA()
    assert.deepEqual(world.runsOn, ['10.0.0.1'])
  })
})

describe('the end of a guest', () => {
  test('off: QEMU is gone and the record is stopped when it resolves; again, the same answer', async () => {
    const world = await started()
    const request = { generation: 2, how: 'off' as const }
    await world.run((await world.a.keeper()).stop(request))
    expectStopped(world, 'asked')
    await world.run((await world.a.keeper()).stop(request))
  })

  test('the power button leads to a guest that shut down by itself', async () => {
    const world = await started()
    await world.run((await world.a.keeper()).stop({ generation: 2, how: 'acpi' }))
    await world.clock.advance(5000)
    expectStopped(world, 'guest-shutdown')
    assert.equal(world.a.hypervisor.guest(testVm), undefined)
  })

  test('a QEMU that is killed is told as crashed, even when the manager is away for long', async () => {
    const world = await started()
    world.manager.isReachable = false
    world.a.hypervisor.guest(testVm)?.kill()
    await world.clock.advance(60_000)
    world.manager.isReachable = true
    await world.clock.advance(10_000)
    expectStopped(world, 'crashed')
  })

  test('an internal error of QEMU ends it and is told as crashed', async () => {
    const world = await started()
    world.a.hypervisor.guest(testVm)?.fail()
    await world.clock.advance(1000)
    expectStopped(world, 'crashed')
    assert.match((await (await world.a.keeper()).observe()).problem ?? '', /internal error/)
  })

  test('a write without space pauses the guest, and it goes on when there is some', async () => {
    const world = await started()
    world.a.places.isFull = true
    world.a.hypervisor.guest(testVm)?.runOutOfSpace(1)
    await world.clock.advance(30_000)
    assert.deepEqual(world.runsOn, [])
    assert.equal((await (await world.a.keeper()).observe()).outOfSpace, true)
    world.a.places.isFull = false
    await world.clock.advance(5000)
    assert.deepEqual(world.runsOn, ['10.0.0.1'])
    assert.equal((await (await world.a.keeper()).observe()).outOfSpace, false)
  })

  test('a copy that the record does not permit is stopped at once', async () => {
    const world = await started()
    world.manager.move(testVm, { event: 'fenced' })
    await world.run((await world.a.keeper()).tellRecord(world.manager.record(testVm)))
    assert.deepEqual(world.runsOn, [])
    assert.match((await (await world.a.keeper()).observe()).problem ?? '', /does not permit/)
  })
})

describe('a VM that was deleted', () => {
  test('is forgotten when nothing of it is here, and an old message starts nothing', async () => {
    const world = await started()
    const table = world.a.table
    assert.ok(table)
    const deployment = world.deployment(1)
    await world.run(table.forget([testVm]))
    assert.deepEqual(world.runsOn, ['10.0.0.1'])
    await world.run((await world.a.keeper()).stop({ generation: 2, how: 'off' }))
    await world.run(table.forget([testVm]))
    assert.equal((await table.observe()).length, 1, 'the manager still knows it')
    world.manager.forget(testVm)
    world.manager.isReachable = false
    await world.run(table.forget([testVm]))
    assert.equal((await table.observe()).length, 1, 'nobody has said that it is no more')
    world.manager.isReachable = true
    const old = await world.a.keeper()
    await world.run(table.forget([testVm]))
    assert.deepEqual(await table.observe(), [])
    assert.deepEqual(await world.a.files.list('/data/vms'), [])
    await assert.rejects(world.run(old.start(deployment)), { code: 'cancelled' })
    await assert.rejects(world.run((await world.a.keeper()).start(deployment)), { code: 'wrong-state' })
    assert.deepEqual(world.runsOn, [])
    await world.clock.advance(5000)
    await world.run(table.forget([testVm]))
    assert.deepEqual(await world.a.files.list('/data/vms'), [])
  })
})

describe('an agent that ends', () => {
  test('does nothing more about a guest that it has let go of, and takes it for nothing', async () => {
    const world = await started()
    const keeper = await world.a.keeper()
    const told = keeper.tellRecord(world.manager.record(testVm))
    const ending = keeper[Symbol.asyncDispose]()
    const late = keeper.stop({ generation: 2, how: 'off' })
    const ends = await world.run(Promise.allSettled([ending, told, late]))
    assert.deepEqual(
      ends.map((end) => (end.status === 'rejected' ? (end.reason as HoldfastError).code : end.status)),
      ['fulfilled', 'cancelled', 'cancelled'],
    )
    await world.clock.advance(10_000)
    assert.deepEqual([world.runsOn, world.manager.record(testVm).phase], [['10.0.0.1'], 'running'])
    assert.equal(world.a.places.prepared.size, 1)
    assert.equal((await keeper.observe()).generation, 2)
  })
})

describe('an agent that starts again', () => {
  test('finds its guest, which ran on', async () => {
    const world = await started()
    world.a.kill()
    await world.clock.advance(10_000)
    assert.deepEqual(world.runsOn, ['10.0.0.1'])
    await world.run(world.a.boot())
    await world.clock.advance(1000)
    assert.equal((await (await world.a.keeper()).observe()).process, 'running')
  })

  test('tells of a guest that crashed meanwhile', async () => {
    const world = await started()
    world.a.kill()
    world.a.hypervisor.guest(testVm)?.kill()
    await world.run(world.a.boot())
    await world.clock.advance(1000)
    expectStopped(world, 'crashed')
  })

  test('after a store was restored, adopts what runs', async () => {
    const world = await started()
    world.manager.move(testVm, { event: 'restored', incarnation: 2 })
    await world.a.table?.refreshAll()
    await world.clock.advance(1000)
    const record = world.manager.record(testVm)
    assert.deepEqual([record.phase, record.host, record.incarnation], ['running', 'host-1', 2])
    assert.deepEqual(world.runsOn, ['10.0.0.1'])
  })
})

describe('a migration', () => {
  test('the target runs and moves the record, the source is released', async () => {
    const world = await started()
    const outcome = await world.move()
    assert.equal(outcome.outcome, 'sent')
    await world.clock.advance(1000)
    assert.deepEqual(world.runsOn, ['10.0.0.2'])
    const record = world.manager.record(testVm)
    assert.deepEqual([record.phase, record.host], ['running', 'host-2'])
    await world.run((await world.a.keeper()).settle({ generation: 3, verdict: 'release', ...settleWith }))
    assert.equal(world.a.hypervisor.guest(testVm), undefined)
    assert.deepEqual(world.wire.violations, [])
  })

  test('released: the target holds still until it is told', async () => {
    const world = await started()
    await world.move({ runWhen: 'released' })
    await world.clock.advance(60_000)
    assert.deepEqual(world.runsOn, [])
    await world.run((await world.b.keeper()).releaseIncoming(3))
    assert.deepEqual(world.runsOn, ['10.0.0.2'])
  })

  test('cancelled before the switch, the guest runs on at the source and the record comes back', async () => {
    const world = await started()
    const generation = world.beginMove()
    const incoming = await world.run((await world.b.keeper()).prepareIncoming(world.incomingRequest(generation)))
    const cancel = new AbortController()
    const request = world.outgoingRequest(generation, incoming)
    const outcome = (await world.a.keeper()).migrateOut(request, () => cancel.abort(), cancel.signal)
    assert.equal((await world.run(outcome)).outcome, 'not-sent')
    await world.clock.advance(1000)
    assert.deepEqual(world.runsOn, ['10.0.0.1'])
    const record = world.manager.record(testVm)
    assert.deepEqual([record.phase, record.host], ['running', 'host-1'])
    const discarded = await world.run((await world.b.keeper()).discardIncoming(generation))
    assert.equal(discarded.outcome, 'discarded')
  })

  test('a target that gave up before the stream came leaves the source free to go on, once the record is back', async () => {
    const world = await started()
    const generation = world.beginMove()
    const incoming = await world.run((await world.b.keeper()).prepareIncoming(world.incomingRequest(generation)))
    // The last bytes are on their way, and the network holds them up.
    const request = world.outgoingRequest(generation, incoming)
    const outcome = (await world.a.keeper()).migrateOut(
      request,
      (progress) => progress.fraction === 1 && world.wire.cut('10.0.0.1', '10.0.0.2'),
      noSignal(),
    )
    assert.equal((await world.run(outcome)).outcome, 'sent')
    assert.deepEqual(world.runsOn, [])
    const resume = { generation, verdict: 'resume' as const, movedDisks: [], targetDiscarded: false }
    await assert.rejects(world.run((await world.a.keeper()).settle(resume)), { code: 'wrong-state' })
    const discarded = await world.run((await world.b.keeper()).discardIncoming(generation))
    assert.equal(discarded.outcome, 'discarded')
    await world.run((await world.a.keeper()).settle({ ...resume, targetDiscarded: true }))
    assert.deepEqual(world.runsOn, ['10.0.0.1'])
    world.wire.heal()
    await world.clock.advance(10_000)
    assert.deepEqual(world.runsOn, ['10.0.0.1'])
    assert.deepEqual(world.wire.violations, [])
    await assert.rejects(world.run((await world.b.keeper()).prepareIncoming(world.incomingRequest(generation))))
  })

  test('a target that runs already answers so instead of giving up', async () => {
    const world = await started()
    await world.move()
    await world.clock.advance(1)
    const answer = await world.run((await world.b.keeper()).discardIncoming(3))
    assert.equal(answer.outcome, 'running')
    assert.deepEqual(world.runsOn, ['10.0.0.2'])
  })

  test('a target whose QEMU ended while its agent was away cannot say that nothing ran', async () => {
    const world = await started()
    const generation = world.beginMove()
    await world.run((await world.b.keeper()).prepareIncoming(world.incomingRequest(generation)))
    world.b.kill()
    world.b.hypervisor.guest(testVm)?.kill()
    await world.run(world.b.boot())
    await world.clock.advance(1000)
    const answer = await world.run((await world.b.keeper()).discardIncoming(generation))
    assert.equal(answer.outcome, 'gone')
  })

  test('a target whose QEMU ended before its agent eyes has durably discarded', async () => {
    const world = await started()
    const generation = world.beginMove()
    await world.run((await world.b.keeper()).prepareIncoming(world.incomingRequest(generation)))
    world.b.hypervisor.guest(testVm)?.kill()
    await world.clock.advance(1000)
    assert.equal((await (await world.b.keeper()).observe()).discarded, generation)
  })

  test('an agent of the target that comes back to a guest that arrived moves the record', async () => {
    const world = await started()
    const generation = world.beginMove()
    const incoming = await world.run((await world.b.keeper()).prepareIncoming(world.incomingRequest(generation)))
    world.b.kill()
    const request = world.outgoingRequest(generation, incoming)
    await world.run((await world.a.keeper()).migrateOut(request, () => undefined, noSignal()))
    await world.clock.advance(1000)
    assert.deepEqual(world.runsOn, ['10.0.0.2'])
    assert.equal(world.manager.record(testVm).phase, 'moving')
    await world.run(world.b.boot())
    await world.clock.advance(1000)
    assert.equal(world.manager.record(testVm).host, 'host-2')
  })

  test('an agent of the source that dies in the middle takes the guest back when it returns', async () => {
    const world = await started({ neverConverges: true })
    const generation = world.beginMove()
    const incoming = await world.run((await world.b.keeper()).prepareIncoming(world.incomingRequest(generation)))
    const request = world.outgoingRequest(generation, incoming)
    void (await world.a.keeper()).migrateOut(request, () => undefined, noSignal())
    await world.clock.advance(1000)
    world.a.kill()
    await world.run(world.a.boot())
    await world.clock.advance(2000)
    assert.equal(world.manager.record(testVm).phase, 'running')
    assert.deepEqual(world.runsOn, ['10.0.0.1'])
    const known = await world.run((await world.a.keeper()).migrateOut(request, () => undefined, noSignal()))
    assert.equal(known.outcome, 'not-sent')
  })

  test('post-copy begins only when the record says so, and the target runs at once', async () => {
    const world = await started({ neverConverges: true })
    const outcome = await world.move({ allowPostCopy: true, runWhen: 'released' })
    assert.equal(outcome.outcome, 'sent')
    await world.clock.advance(1000)
    assert.deepEqual(world.runsOn, ['10.0.0.2'])
    assert.equal(world.manager.record(testVm).host, 'host-2')
    assert.deepEqual(world.wire.violations, [])
  })

  test('a signal that comes late is refused once a newer task has signalled the guest, also by the next agent', async () => {
    const world = await started()
    const [older, newer] = ['task-9' as TaskId, 'task-10' as TaskId]
    const send = async (signal: 'pause' | 'resume' | 'reset', task: TaskId) =>
      world.run((await world.a.keeper()).signal({ generation: world.manager.record(testVm).generation, signal, task }))
    assert.equal((await send('pause', older)).process, 'paused')
    assert.equal((await send('resume', newer)).process, 'running')
    // Its answer was lost, and it is asked again: that is fine.
    assert.equal((await send('resume', newer)).process, 'running')
    await assert.rejects(send('pause', older), { code: 'stale-generation' })
    world.a.kill()
    await world.run(world.a.boot())
    await assert.rejects(send('reset', older), { code: 'stale-generation' })
    assert.deepEqual(world.runsOn, ['10.0.0.1'])
  })

  test('commands of an older generation are refused', async () => {
    const world = await started()
    await world.move()
    await world.clock.advance(1000)
    const keeper = await world.b.keeper()
    await assert.rejects(world.run(keeper.stop({ generation: 3, how: 'off' })), { code: 'stale-generation' })
    await assert.rejects(world.run(keeper.signal({ generation: 1, signal: 'pause' })), { code: 'stale-generation' })
  })
})
