import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AgentWorld, testVm } from '../../sim/agent-world.ts'

test('a guest comes back to the host that still holds what it sent away, and an old release ends nothing of it', async () => {
  const world = await AgentWorld.boot()
  await world.startOnA()
  assert.equal((await world.move()).outcome, 'sent')
  await world.clock.advance(1000)
  assert.equal((await (await world.a.keeper()).observe()).process, 'sent')
  const before = world.manager.record(testVm).generation
  const { generation } = world.manager.move(testVm, { event: 'move', target: world.a.id, task: 'task-2' as never })
  const incoming = world.incomingRequest(generation, { source: world.b.id })
  const endpoint = await world.run((await world.a.keeper()).prepareIncoming(incoming))
  const release = { generation: before, verdict: 'release' as const, movedDisks: [], targetDiscarded: false }
  await assert.rejects(world.run((await world.a.keeper()).settle(release)), { code: 'stale-generation' })
  const request = world.outgoingRequest(generation, endpoint)
  const signal = new AbortController().signal
  const outcome = await world.run((await world.b.keeper()).migrateOut(request, () => undefined, signal))
  assert.equal(outcome.outcome, 'sent')
  await world.clock.advance(1000)
  await assert.rejects(world.run((await world.a.keeper()).settle(release)), { code: 'stale-generation' })
  assert.deepEqual(world.runsOn, ['10.0.0.1'])
  assert.deepEqual(world.wire.violations, [])
})
