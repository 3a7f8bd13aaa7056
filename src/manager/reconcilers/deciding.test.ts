/** Who decides about a protected VM is followed by another while both copies live: a manager's loops over fake hosts. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../../base/errors.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { superseded } from '../../contracts/protection-register.ts'
import { configurationOf } from '../../contracts/protection.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import { arbiterSilenceMs, steadyArbiterMs } from '../domain/deciding-plan.ts'
import { changeArbiterOf } from '../sagas/arbiters.ts'
import { all } from '../sagas/fake-protected.ts'
import { addVm, host1, host2, host3, shared, vm1 } from '../sagas/fake-world.ts'
import { protectOperation } from '../sagas/protection-operations.ts'
import { managersArbiter } from '../sagas/managers-arbiter.ts'
import { setMaintenance } from '../sagas/host-maintenance.ts'
import { openFakeManager, type Running } from './crash-suite.ts'

/** A VM on host-1, held in step on host-2, about which host-3 decides. */
async function story(tell: (running: Running) => Promise<void>): Promise<void> {
  const clock = new VirtualClock()
  const run = async (): Promise<void> => {
    await using running = await openFakeManager(1, clock)
    await addVm(running.world, { on: host1, datastore: shared })
    await running.deps.begin('test', () => protectOperation(running.deps, vm1, { host: host2, settings: null }))
    await until(running, ({ protection }) => protection?.phase === 'protected')
    assert.equal((await all(running.world)).run.protection?.arbiter, host3)
    await tell(running)
  }
  await clock.run(run(), 3_600_000)
}

async function until(
  { clock, world }: Running,
  is: (run: RunRecord) => boolean,
  withinMs = 300_000,
): Promise<RunRecord> {
  const end = clock.monotonic() + withinMs
  for (;;) {
    await world.agents.advance()
    const { run } = await all(world)
    if (is(run)) return run
    assert.ok(clock.monotonic() < end, JSON.stringify(run))
    await clock.sleep(500)
  }
}

async function messages({ store }: Running): Promise<string[]> {
  const events = await store.events({ revision: 0, sequence: 0 }, 1000)
  assert.ok(events !== 'relist')
  return events.filter(({ type }) => type.startsWith('vm.')).map(({ message }) => message)
}

test('the host that decides is confirmed off: the managers decide, and the takeover after that asks them', async () => {
  await story(async (running) => {
    const { world } = running
    world.agents.agent(host3).crash()
    world.off.add(host3)
    const run = await until(running, ({ protection }) => protection?.arbiter === 'managers', 20_000)
    assert.ok(run.protection && configurationOf(run.protection) > run.protection.n)
    const said = await messages(running)
    const words = 'the managers decide now who goes on with one alone, instead of host3'
    assert.ok(said.includes(words), said.join('\n'))
    world.agents.agent(host1).crash()
    await until(running, ({ host }) => host === host2)
    assert.deepEqual(world.agents.runningOn(vm1), [host2])
  })
})

test('a host that decides and is out of reach is waited for; when it stays away another decides without it', async () => {
  await story(async (running) => {
    const { world, clock } = running
    world.agents.agent(host3).crash()
    await clock.sleep(arbiterSilenceMs - 5000)
    assert.equal((await all(world)).run.protection?.arbiter, host3)
    await until(running, ({ protection }) => protection?.arbiter === 'managers')
    const said = await messages(running)
    assert.ok(!said.some((message) => message.includes('nobody else could be put')), said.join('\n'))
    await world.agents.agent(host3).boot()
    await clock.sleep(steadyArbiterMs / 2)
    assert.equal((await all(world)).run.protection?.arbiter, 'managers', 'who has just come back may go again')
    await until(running, ({ protection }) => protection?.arbiter === host3)
  })
})

test('a host that goes into maintenance is asked to step back', async () => {
  await story(async (running) => {
    await setMaintenance(running.deps, host3, 'entering')
    await until(running, ({ protection }) => protection?.arbiter === 'managers', 20_000)
  })
})

test('one that has lost its memory of the pair is followed by another, with nobody having failed', async () => {
  await story(async (running) => {
    running.world.agents.agent(host3).pairs.registers.clear()
    await until(running, ({ protection }) => protection?.arbiter === 'managers')
  })
})

test('numbers are never used twice: not by an attempt that failed, and not by the next pair', async () => {
  await story(async (running) => {
    const { deps, world } = running
    world.agents.agent(host3).crash()
    const change = { vm: vm1, n: 1, arbiter: 'managers' as const }
    await assert.rejects(changeArbiterOf(deps, { ...change, old: 'asked' }), { code: 'unreachable' })
    await changeArbiterOf(deps, { ...change, old: 'gone' })
    const { vm, run } = await all(world)
    assert.deepEqual([run.protection?.n, run.protection?.currentN, vm.protection?.lastN], [1, 3, 3])
    await assert.rejects(changeArbiterOf(deps, { ...change, n: 2, old: 'gone' }), { code: 'wrong-state' })
    world.agents.agent(host1).crash()
    await world.agents.agent(host3).boot()
    const next = await until(running, ({ host, protection }) => host === host2 && protection?.phase === 'protected')
    assert.equal(next.protection?.n, 4)
  })
})

test('with both hosts off and the record behind, the arbiter that was superseded says who can be asked', async () => {
  await story(async (running) => {
    const { world, store, clock } = running
    const { run } = await all(world)
    const config = { vm: vm1, n: 1, primary: host1, second: host2, arbiter: host3 }
    const next = { ...config, n: 2, arbiter: 'managers' as const }
    const stored = await store.get('vm', vm1)
    assert.ok(stored && run.protection)
    const managers = managersArbiter(store)
    await managers.arbiterOpen({ config: next, life: (await managers.arbiterLife()).life })
    const { registers } = world.agents.agent(host3).pairs
    registers.set(vm1, superseded(registers.get(vm1), 1, next).record!)
    for (const host of [host1, host2]) {
      world.agents.agent(host).crash()
      world.off.add(host)
    }
    const after = await until(running, ({ host }) => host === host3)
    assert.equal(after.phase, 'running')
    assert.deepEqual(world.agents.runningOn(vm1), [host3])
    await clock.sleep(1000)
    assert.equal((await managers.arbiterLook({ vm: vm1, n: 2, side: 'primary' })).is, 'won')
  })
})

test('where nobody can be put in the place of one that is off, people are told once why, and it is tried again', async () => {
  await story(async (running) => {
    const { world, clock } = running
    const primary = world.agents.agent(host1)
    const change = primary.changeArbiter.bind(primary)
    primary.changeArbiter = () => Promise.reject(new HoldfastError('wrong-state', 'the second does not answer'))
    world.agents.agent(host3).crash()
    world.off.add(host3)
    await clock.sleep(180_000)
    const words = 'host3 decides who goes on with one alone, and is off; nobody else could be put in its place yet'
    const said = (await messages(running)).filter((message) => message.startsWith(words))
    assert.equal(said.length, 1)
    primary.changeArbiter = change
    await until(running, ({ protection }) => protection?.arbiter === 'managers')
  })
})
