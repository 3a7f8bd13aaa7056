import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { silentLogger } from '../../base/log.ts'
import type { TaskId } from '../../base/ids.ts'
import type { GuestObservation } from '../../contracts/monitoring.ts'
import { AgentWorld, testVm } from '../../sim/agent-world.ts'
import type { FakeGuest } from '../../sim/fake-guest.ts'
import { FakeSigns } from '../../sim/fake-signs.ts'
import { runMonitor } from '../guest/monitor-loop.ts'

const everyMs = 1000

/** A guest with an agent that runs on A, looked at every second by A's and B's agents. */
async function watched(): Promise<{ world: AgentWorld; guest: FakeGuest }> {
  const world = await AgentWorld.boot()
  world.monitored.set([{ vm: testVm, everyMs }])
  for (const host of [world.a, world.b]) {
    const deps = { clock: world.clock, log: silentLogger, signs: new FakeSigns(host.hypervisor, world.clock) }
    const keepers = async () => (await host.table?.keepers()) ?? []
    void runMonitor(deps, world.monitored, keepers, new AbortController().signal)
  }
  await world.startOnA()
  const guest = guestOf(world)
  guest.live({ hasAgent: true })
  return { world, guest }
}

function guestOf(world: AgentWorld): FakeGuest {
  const guest = world.a.hypervisor.guest(testVm)
  assert.ok(guest !== undefined)
  return guest
}

async function seen(world: AgentWorld, host = world.a): Promise<GuestObservation> {
  const { guest } = await world.run((await host.keeper()).observe())
  assert.ok(guest !== undefined, 'it is not watched')
  return guest
}

async function hang({ world, guest }: { world: AgentWorld; guest: FakeGuest }): Promise<void> {
  await world.clock.advance(3000)
  guest.live({ answers: false, isBusy: false })
}

const signal = async (world: AgentWorld, what: 'reset' | 'pause' | 'resume', task: number) =>
  world.run(
    (await world.a.keeper()).signal({
      ...{ generation: world.manager.record(testVm).generation, signal: what, task: `task-${task}` as TaskId },
    }),
  )

describe('what is seen of a guest', () => {
  test('a guest that hangs is silent and idle, and one that is busy is never idle', async () => {
    const set = await watched()
    await set.world.clock.advance(3000)
    assert.equal((await seen(set.world)).agent, 'answering')
    await hang(set)
    await set.world.clock.advance(40_000)
    const { agent, silentMs, idleMs } = await seen(set.world)
    assert.equal(agent, 'silent')
    assert.ok(silentMs > 25_000 && silentMs < 41_000, String(silentMs))
    assert.ok(idleMs > 25_000 && idleMs < 41_000, String(idleMs))
    set.guest.live({ isBusy: true })
    await set.world.clock.advance(20_000)
    assert.equal((await seen(set.world)).idleMs, 0)
    assert.ok((await seen(set.world)).silentMs > silentMs)
  })

  test('time in which a person made it stand still counts for nothing', async () => {
    const set = await watched()
    await hang(set)
    await set.world.clock.advance(20_000)
    await signal(set.world, 'pause', 1)
    await set.world.clock.advance(100_000)
    assert.equal((await seen(set.world)).silentMs, 0)
    await signal(set.world, 'resume', 2)
    await set.world.clock.advance(12_000)
    const { silentMs } = await seen(set.world)
    assert.ok(silentMs <= 12_000, String(silentMs))
  })

  test('time in which its storage does not answer, or it is out of space, counts for nothing', async () => {
    const set = await watched()
    await hang(set)
    set.world.a.places.answers = false
    await set.world.clock.advance(100_000)
    assert.deepEqual([(await seen(set.world)).silentMs, (await seen(set.world)).idleMs], [0, 0])
    set.world.a.places.answers = true
    set.world.a.places.isFull = true
    set.guest.runOutOfSpace(1)
    await set.world.clock.advance(100_000)
    assert.equal((await seen(set.world)).silentMs, 0)
  })

  test('a guest that is held in step on two hosts is not asked', async () => {
    const set = await watched()
    await set.world.clock.advance(3000)
    await set.world.protect()
    set.guest.live({ answers: false, isBusy: false })
    await set.world.clock.advance(60_000)
    assert.deepEqual([(await seen(set.world)).silentMs, (await seen(set.world)).idleMs], [0, 0])
  })

  test('a reset begins another boot, of which no agent has answered yet', async () => {
    const set = await watched()
    await hang(set)
    await set.world.clock.advance(20_000)
    const before = await seen(set.world)
    await signal(set.world, 'reset', 1)
    const after = await seen(set.world)
    assert.notEqual(after.boot, before.boot)
    assert.deepEqual([after.agent, after.silentMs], ['never', 0])
    assert.ok(after.upMs < before.upMs)
    // The same task again, as after a lost reply: nothing happens.
    await signal(set.world, 'reset', 1)
    assert.equal(set.guest.resets, 1)
    await set.world.clock.advance(3000)
    assert.equal((await seen(set.world)).agent, 'answering')
  })

  test('the next agent knows the boot and that the guest had an agent, and not after a reset', async () => {
    const set = await watched()
    await hang(set)
    await set.world.clock.advance(8000)
    const { boot } = await seen(set.world)
    set.world.a.kill()
    await set.world.run(set.world.a.boot())
    await set.world.clock.advance(20_000)
    assert.equal((await seen(set.world)).agent, 'silent')
    assert.equal((await seen(set.world)).boot, boot)
    await signal(set.world, 'reset', 1)
    set.guest.live({ answers: false })
    set.world.a.kill()
    await set.world.run(set.world.a.boot())
    await set.world.clock.advance(20_000)
    assert.equal((await seen(set.world)).agent, 'never')
    assert.notEqual((await seen(set.world)).boot, boot)
  })

  test('a boot that an agent resets while it dies is called otherwise by the next', async () => {
    const set = await watched()
    await set.world.clock.advance(3000)
    const { boot } = await seen(set.world)
    // Whether QEMU did it, nobody learns.
    set.guest.reset = () => {
      set.world.a.kill()
      throw new Error('the agent is dead')
    }
    await assert.rejects(signal(set.world, 'reset', 1))
    await set.world.run(set.world.a.boot())
    await set.world.clock.advance(1000)
    assert.notEqual((await seen(set.world)).boot, boot)
  })

  test('a guest that has moved is a new one to its host', async () => {
    const set = await watched()
    await hang(set)
    await set.world.clock.advance(20_000)
    assert.equal((await set.world.move()).outcome, 'sent')
    await set.world.clock.advance(10_000)
    assert.equal((await seen(set.world, set.world.b)).agent, 'never')
  })
})

describe('a guest that panics', () => {
  test('is ended as one that crashed where nobody monitors it', async () => {
    const world = await AgentWorld.boot()
    await world.startOnA()
    guestOf(world).panic()
    await world.clock.advance(1000)
    const record = world.manager.record(testVm)
    assert.deepEqual([record.phase, record.cause], ['stopped', 'crashed'])
    const { problem } = await (await world.a.keeper()).observe()
    assert.match(problem ?? '', /panicked/)
  })

  test('stands still where it is monitored, also for the next agent, and a reset lets it run again', async () => {
    const { world, guest } = await watched()
    guest.panic()
    await world.clock.advance(60_000)
    world.a.kill()
    await world.run(world.a.boot())
    await world.clock.advance(60_000)
    assert.equal(world.manager.record(testVm).phase, 'running')
    const observation = await (await world.a.keeper()).observe()
    assert.deepEqual([observation.process, observation.guest?.isPanicked], ['paused', true])
    await assert.rejects(signal(world, 'resume', 1), { code: 'wrong-state' })
    await assert.rejects(signal(world, 'pause', 1), { code: 'wrong-state' })
    await signal(world, 'reset', 1)
    assert.equal(guest.state, 'running')
    await world.clock.advance(3000)
    const after = await seen(world)
    assert.deepEqual([after.isPanicked, after.agent, guest.resets], [false, 'answering', 1])
  })

  test('is ended as one that crashed when it is monitored no more', async () => {
    const { world, guest } = await watched()
    guest.panic()
    await world.clock.advance(5000)
    await world.a.table?.lookAgain(world.monitored.set([]))
    await world.clock.advance(5000)
    assert.equal(world.manager.record(testVm).cause, 'crashed')
    assert.equal(guest.isAlive, false)
  })

  test('while it is held in step on two hosts is not ended: its pump lets go of it', async () => {
    const { world, guest } = await watched()
    await world.protect()
    guest.panic()
    await world.clock.advance(5000)
    assert.ok(guest.isAlive)
    assert.equal(guest.state, 'panicked')
  })
})
