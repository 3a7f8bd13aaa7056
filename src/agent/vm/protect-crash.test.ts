/**
 * The life of a protected VM with an agent that is killed before each of the calls that it makes to the outside, one run for
 * each, and with pumps that are killed in each phase. Pumps and QEMUs live on without agents. However it goes, the guest
 * runs on exactly one host in the end, and the record names that host.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { HostId } from '../../base/ids.ts'
import { configurationOf } from '../../contracts/protection.ts'
import { anotherArbiter } from '../../sim/held-pair.ts'
import { AgentWorld, testVm, type SimulatedHost } from '../../sim/agent-world.ts'

type Story =
  | 'is ended'
  | 'is handed over'
  | 'loses the primary'
  | 'loses the second'
  | 'has another arbiter'
  | 'has another arbiter, the old one being gone'
type Side = 'a' | 'b'
/** The agent of a host that the story itself ends dies by that; one of a second has no part in a change of the arbiter. */
const cases: readonly (readonly [Story, Side])[] = [
  ['is ended', 'a'],
  ['is ended', 'b'],
  ['is handed over', 'a'],
  ['is handed over', 'b'],
  ['loses the primary', 'b'],
  ['loses the second', 'a'],
  ['has another arbiter', 'a'],
  ['has another arbiter, the old one being gone', 'a'],
]
const noSignal = (): AbortSignal => new AbortController().signal

/** Resolves when done, or never: an agent may die in it at any moment. `onProtected`: its beginning is over. */
async function tell(world: AgentWorld, story: Story, onProtected: () => void): Promise<void> {
  await world.a.keeper().then((keeper) => keeper.start(world.deployment()))
  const config = world.beginProtect()
  const endpoint = await (await world.b.keeper()).prepareSecond(world.secondRequest(config))
  await (await world.a.keeper()).protect(world.protectRequest(config, endpoint), () => undefined, noSignal())
  onProtected()
  await world.clock.sleep(200)
  const { generation } = world.manager.record(testVm)
  const keeper = await world.a.keeper()
  if (story === 'is ended') await keeper.unprotect({ generation, n: 1, how: 'end' })
  if (story === 'is handed over') await keeper.unprotect({ generation, n: 1, how: 'hand-over' })
  if (story === 'has another arbiter') await keeper.changeArbiter(anotherArbiter(world, 'asked'))
  if (story === 'has another arbiter, the old one being gone') {
    world.pairs.gone.add('host-3' as HostId)
    await keeper.changeArbiter(anotherArbiter(world, 'gone'))
  }
  if (story === 'loses the primary') world.a.crash()
  if (story === 'loses the second') world.b.crash()
}

/** What the manager's saga does with a protection that did not come about: it ends it, and what waits for it. */
async function unwind(world: AgentWorld): Promise<void> {
  const record = world.manager.record(testVm)
  if (record.phase === 'running' && record.protection?.phase === 'syncing') {
    const keeper = await world.a.keeper()
    await world.run(keeper.unprotect({ generation: record.generation, n: 1, how: 'end' }))
  }
  if (world.manager.record(testVm).protection == null) {
    await world.run((await world.b.keeper()).discardSecond(1)).catch(() => undefined)
  }
}

async function reboot(world: AgentWorld, host: SimulatedHost): Promise<void> {
  if (host.life.isOver || host.table === undefined) {
    host.kill()
    await world.run(host.boot())
  }
}

async function expectOne(world: AgentWorld, what: string): Promise<void> {
  assert.deepEqual(world.wire.violations, [], what)
  const record = world.manager.record(testVm)
  if (record.phase === 'stopped') {
    assert.deepEqual([record.cause, world.runsOn], ['never-started', []], what)
    return
  }
  const host = record.host === world.a.id ? world.a : world.b
  assert.deepEqual([record.phase, world.runsOn], ['running', [host.address]], what)
  const observed = [await (await world.a.keeper()).observe(), await (await world.b.keeper()).observe()]
  const phases = observed.map(({ protection }) => protection?.phase ?? null)
  const expected = record.protection == null ? [null, null] : ['protecting', 'following']
  assert.deepEqual(phases, expected, `${what}: the record says ${record.protection?.phase ?? 'alone'}`)
  if (record.protection == null) return
  const decides = { n: configurationOf(record.protection), arbiter: record.protection.arbiter }
  for (const { pumps, id } of [world.a, world.b]) {
    const { n, arbiter } = (await pumps.memory(testVm))!.config
    assert.deepEqual({ n, arbiter }, decides, `${what}: ${id} is bound by what the record says`)
  }
}

/** How many calls its agent had made when it was protected, and in the end. */
async function runWithDeath(story: Story, side: Side, dieAt?: number): Promise<{ protectedAt: number; calls: number }> {
  const world = new AgentWorld()
  const victim = world[side]
  let protectedAt = 0
  await world.run((side === 'a' ? world.b : world.a).boot())
  let isBooted = false
  void victim.boot(dieAt).then(() => (isBooted = true))
  await world.clock.advance(100)
  const { life } = victim
  if (isBooted) void tell(world, story, () => (protectedAt = life.calls)).catch(() => undefined)
  await world.clock.advance(4000)
  const { calls } = life
  await reboot(world, world.a)
  await reboot(world, world.b)
  await world.clock.advance(3000)
  await unwind(world)
  await world.clock.advance(3000)
  await expectOne(world, `${story}, killed at call ${dieAt ?? 'none'}`)
  return { protectedAt, calls }
}

for (const [story, side] of cases) {
  const whose = side === 'a' ? 'the primary' : 'the second'
  describe(`a protected VM that ${story}, with the agent of ${whose} killed at any call`, () => {
    test('one copy, by the record', async () => {
      const { protectedAt, calls } = await runWithDeath(story, side)
      // The beginning is the same in each story.
      const from = story === 'is ended' ? 1 : protectedAt
      assert.ok(calls - from > 3, `only ${calls - from} places to die at`)
      for (let dieAt = from; dieAt <= calls; dieAt++) await runWithDeath(story, side, dieAt)
    })
  })
}

describe('a pump that is killed while another arbiter is put in the place of the old one', () => {
  for (const side of ['a', 'b'] as const) {
    test(`the ${side === 'a' ? 'primary' : 'second'}'s, at any moment: one copy, by the record`, async () => {
      for (let atMs = 0; atMs <= 14; atMs++) {
        const world = await AgentWorld.boot()
        await world.startOnA()
        await world.protect()
        const change = (await world.a.keeper()).changeArbiter(anotherArbiter(world, 'asked'))
        change.catch(() => undefined)
        await world.clock.advance(atMs)
        world[side].pumps.process(testVm)?.kill()
        await world.clock.advance(10_000)
        await unwind(world)
        await world.clock.advance(5000)
        await expectOne(world, `killed after ${atMs} ms`)
      }
    })
  }
})

describe('a pump that is killed', () => {
  for (const side of ['a', 'b'] as const) {
    for (const atMs of [0, 20, 500, 990, 1040, 1100, 3000]) {
      for (const isAgentAway of [false, true]) {
        const what = `the ${side === 'a' ? 'primary' : 'second'}'s, ${atMs} ms after it began${isAgentAway ? ', with its agent' : ''}`
        test(`${what}: one copy, by the record`, async () => {
          const world = await AgentWorld.boot()
          await world.startOnA()
          const config = world.beginProtect()
          const endpoint = await world.prepareSecond(config)
          const request = world.protectRequest(config, endpoint)
          const job = (await world.a.keeper()).protect(request, () => undefined, noSignal())
          job.catch(() => undefined)
          await world.clock.advance(12 + atMs)
          world[side].pumps.process(testVm)?.kill()
          if (isAgentAway) world[side].kill()
          await world.clock.advance(10_000)
          await reboot(world, world[side])
          await world.clock.advance(5000)
          await unwind(world)
          await world.clock.advance(5000)
          await expectOne(world, what)
          assert.equal(world.manager.record(testVm).protection ?? null, null)
        })
      }
    }
  }
})
