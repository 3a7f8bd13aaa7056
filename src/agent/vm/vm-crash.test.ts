/**
 * An agent is killed before each of the calls that it makes to the outside, one run for each; then it is started again
 * and a judge settles what is open, as the manager's saga does. No run may ever have two copies, and each must end with
 * one copy, or with a record that says stopped.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { HoldfastError } from '../../base/errors.ts'
import { AgentWorld, testVm, type SimulatedHost } from '../../sim/agent-world.ts'

interface Fault {
  readonly side: 'a' | 'b'
  readonly dieAt: number
  /** Its QEMU dies with it. */
  readonly takesQemu: boolean
}

/** Starts on A and moves to B; resolves when done or when nothing more comes. */
async function scenario(world: AgentWorld, runWhen: 'complete' | 'released'): Promise<void> {
  const a = await world.a.keeper()
  await a.start(world.deployment())
  const generation = world.beginMove()
  const incoming = await (await world.b.keeper()).prepareIncoming(world.incomingRequest(generation, { runWhen }))
  const request = world.outgoingRequest(generation, incoming, { runWhen })
  const outcome = await a.migrateOut(request, () => undefined, new AbortController().signal)
  if (outcome.outcome === 'sent' && runWhen === 'released') await (await world.b.keeper()).releaseIncoming(generation)
}

async function runWithFault(
  runWhen: 'complete' | 'released',
  fault: Fault,
): Promise<{ died: boolean; world: AgentWorld }> {
  const world = new AgentWorld()
  const victim = world[fault.side]
  const other = fault.side === 'a' ? world.b : world.a
  await world.run(other.boot())
  let isBooted = false
  void victim.boot(fault.dieAt).then(() => (isBooted = true))
  await world.clock.advance(1000)
  if (isBooted) void scenario(world, runWhen).catch(() => undefined)
  await world.clock.advance(10_000)
  const died = victim.life.isOver
  victim.kill()
  if (fault.takesQemu) victim.hypervisor.crash()
  await world.clock.advance(2000)
  await world.run(victim.boot())
  await world.clock.advance(10_000)
  await judge(world)
  await world.clock.advance(10_000)
  return { died, world }
}

/** The manager's verdict over a move, from what the two hosts say. */
async function judge(world: AgentWorld): Promise<void> {
  for (let round = 0; round < 10; round++) {
    const record = world.manager.record(testVm)
    if (record.phase !== 'moving') return
    const source = await world.run((await world.a.keeper()).observe())
    const target = await world.run((await world.b.keeper()).discardIncoming(3)).catch((thrown: unknown) => {
      if (thrown instanceof HoldfastError) return { outcome: thrown.code }
      throw thrown
    })
    const settle = { generation: 3, movedDisks: [], targetDiscarded: target.outcome === 'discarded' }
    if (target.outcome === 'discarded' && source.process === 'sent') {
      await world.run((await world.a.keeper()).settle({ ...settle, verdict: 'resume' }))
    } else if (source.process === 'none' && target.outcome !== 'running') {
      world.manager.move(testVm, { event: 'lost', cause: 'lost-in-move' })
    } else if (source.process === 'sent' && target.outcome === 'gone') {
      world.manager.move(testVm, { event: 'lost', cause: 'lost-in-move' })
      await world.run((await world.a.keeper()).tellRecord(world.manager.record(testVm)))
    } else if (source.process === 'running') {
      // It never got to send, or took its guest back: the manager takes the move back.
      await world.run((await world.a.keeper()).settle({ ...settle, verdict: 'resume' }))
    }
    await world.clock.advance(3000)
  }
}

function expectOneOrStopped(world: AgentWorld, what: string): void {
  assert.deepEqual(world.wire.violations, [], what)
  const record = world.manager.record(testVm)
  const address = (host: SimulatedHost): string => host.address
  const byRecord = record.host === world.a.id ? address(world.a) : address(world.b)
  const expected = record.phase === 'running' ? [byRecord] : []
  assert.notEqual(record.phase, 'moving', what)
  assert.deepEqual(world.runsOn, expected, `${what}: the record says ${record.phase}`)
}

for (const runWhen of ['complete', 'released'] as const) {
  for (const side of ['a', 'b'] as const) {
    for (const takesQemu of [false, true]) {
      const what = `${side === 'a' ? "the source's" : "the target's"} agent${takesQemu ? ' and QEMU' : ''}`
      describe(`${what} killed at any call, ${runWhen}`, () => {
        test('one copy, or a stop', async () => {
          let runs = 0
          for (let dieAt = 1; ; dieAt++) {
            const { died, world } = await runWithFault(runWhen, { side, dieAt, takesQemu })
            expectOneOrStopped(world, `killed at call ${dieAt}`)
            runs++
            if (!died) break
          }
          assert.ok(runs > 10, `only ${runs} places to die at`)
        })
      })
    }
  }
}
