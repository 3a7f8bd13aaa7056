/**
 * Hosts of a VM that is to be protected crash at random moments, and boot again later or are confirmed off. However it goes,
 * the guest never runs twice (the fake agents check that at each start), it is protected again in the end, and no image is
 * lost or forgotten. While one host alone crashes, it goes on without a restart.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../../base/errors.ts'
import type { HostId } from '../../base/ids.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { all } from '../sagas/fake-protected.ts'
import { addVm, host1, host2, host3, hostIds, locals, shared, vm1 } from '../sagas/fake-world.ts'
import { moveOperation, protectOperation } from '../sagas/protection-operations.ts'
import { settleByHand } from '../sagas/settling.ts'
import { openFakeManager, type Running } from './crash-suite.ts'

async function begun(running: Running, isLocal: boolean, host: HostId | null): Promise<void> {
  await addVm(running.world, { on: host1, datastore: isLocal ? locals[0] : shared })
  await running.deps.begin('test', () => protectOperation(running.deps, vm1, { host, settings: null }))
}

/** Waits until the VM runs protected and nothing works on it or is left over. */
async function atRest({ clock, world }: Running): Promise<Awaited<ReturnType<typeof all>>> {
  const until = clock.monotonic() + 3_600_000
  for (;;) {
    await world.agents.advance()
    const { run, vm } = await all(world)
    const isProtected = run.phase === 'running' && run.protection?.phase === 'protected'
    if (isProtected && vm.operation === null && vm.protection?.former.length === 0) return { run, vm }
    assert.ok(clock.monotonic() < until, `not at rest: ${JSON.stringify({ run, vm: vm.protection, of: vm.operation })}`)
    await clock.sleep(1000)
  }
}

async function trial(seed: number, clock: VirtualClock, isLocal: boolean): Promise<void> {
  await using running = await openFakeManager(seed, clock)
  const { world, random } = running
  await begun(running, isLocal, null)
  await atRest(running)
  for (let nth = 1 + random.int(4); nth > 0; nth--) {
    await clock.sleep(random.int(random.chance(0.5) ? 500 : 20_000))
    const agents = [0, ...(random.chance(0.3) ? [1] : [])].map(() => world.agents.agent(hostIds[random.int(3)]!))
    for (const agent of agents) {
      agent.crash()
      if (random.chance(0.5)) world.off.add(agent.id)
    }
    await clock.sleep(random.int(90_000))
    for (const agent of agents) {
      await agent.boot()
      world.off.delete(agent.id)
    }
  }
  const { run, vm } = await atRest(running)
  assert.deepEqual(world.agents.runningOn(vm1), [run.host])
  const images = vm.spec.disks.length + (vm.protection?.second?.copies.length ?? 0)
  assert.equal(world.agents.files.size, images, 'no image is left over')
}

for (const [name, isLocal] of [
  ['on shared storage', false],
  ['on local disks', true],
] as const) {
  test(`a VM that is to be protected survives every crash of hosts, ${name}`, async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const clock = new VirtualClock()
      await clock.run(trial(seed, clock, isLocal), 8 * 3_600_000).catch((cause: unknown) => {
        throw new Error(`seed ${seed}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
      })
    }
  })
}

async function messages({ store }: Running): Promise<string[]> {
  const events = await store.events({ revision: 0, sequence: 0 }, 1000)
  assert.ok(events !== 'relist')
  return events.filter(({ type }) => type.startsWith('vm.')).map(({ message }) => message)
}

test('after the loss of the primary its second goes on, and a third host becomes the second', async () => {
  const clock = new VirtualClock()
  const story = async (): Promise<void> => {
    await using running = await openFakeManager(1, clock)
    await begun(running, true, host2)
    await atRest(running)
    running.world.agents.agent(host1).crash()
    const until = clock.monotonic() + 60_000
    const runs = async () => (await running.store.get('run', vm1))!.value.run
    while ((await runs()).protection?.second !== host3) {
      assert.ok(clock.monotonic() < until)
      await running.world.agents.advance()
      await clock.sleep(500)
    }
    const { vm } = await all(running.world)
    assert.deepEqual(
      vm.protection?.former.map(({ host, side }) => [host, side]),
      [[host1, 'primary']],
      'what the lost host has is still known of',
    )
    await running.world.agents.agent(host1).boot()
    const { run } = await atRest(running)
    assert.deepEqual([run.host, run.protection?.second, run.protection?.n], [host2, host3, 2])
    const said = await messages(running)
    assert.ok(said.includes('one runs on host2 now: host1 failed; no connection was lost'), said.join('\n'))
    assert.ok(said.includes('one is protected: host3 goes on with it when host2 fails'), said.join('\n'))
  }
  await clock.run(story(), 3_600_000)
})

test('with both hosts off, the VM is down only when its arbiter has given it to one of them', async () => {
  const clock = new VirtualClock()
  const story = async (): Promise<void> => {
    await using running = await openFakeManager(1, clock)
    const { world, store } = running
    await begun(running, false, host2)
    await atRest(running)
    const runs = async () => (await store.get('run', vm1))!.value.run
    for (const host of [host1, host2, host3]) world.agents.agent(host).crash()
    for (const host of [host1, host2]) world.off.add(host)
    await clock.sleep(60_000)
    assert.equal((await runs()).phase, 'running', 'nobody can say')
    assert.ok((await messages(running)).some((message) => message.includes('nobody can say yet which copy of one')))
    await world.agents.agent(host3).boot()
    await clock.sleep(60_000)
    const run = await runs()
    assert.deepEqual([run.phase, run.host], ['running', host3], 'it starts again from the image that is the newest')
    assert.deepEqual(world.agents.runningOn(vm1), [host3])
  }
  await clock.run(story(), 3_600_000)
})

test('a person may give the newest copy up where nobody can say whose it is, and only there', async () => {
  const clock = new VirtualClock()
  const story = async (): Promise<void> => {
    await using running = await openFakeManager(1, clock)
    const { deps, world, store } = running
    await begun(running, false, host2)
    await atRest(running)
    const settle = (): Promise<void> => settleByHand(deps, vm1, 'ada')
    const refused = (what: RegExp) => (thrown: HoldfastError) =>
      what.test(`${thrown.message} ${String(thrown.details['mend'])}`)
    await assert.rejects(settle(), refused(/host1 may run one, or be about to It answers/))
    for (const host of [host1, host2, host3]) world.agents.agent(host).crash()
    world.off.add(host1)
    await assert.rejects(settle(), refused(/host2 may run one, or be about to .*confirm-off host2/))
    world.off.add(host2)
    await clock.sleep(20_000)
    await settle()
    assert.ok((await messages(running)).some((text) => text.startsWith('ada has settled that one is what host1 had')))
    await assert.rejects(settle(), refused(/nothing is to be settled/))
    for (const host of [host3, host2, host1]) {
      await world.agents.agent(host).boot()
      world.off.delete(host)
      await clock.sleep(20_000)
      const { run } = (await store.get('run', vm1))!.value
      assert.deepEqual(world.agents.runningOn(vm1), [run.host])
    }
    const { run, vm } = await atRest(running)
    assert.equal(run.host, host3, 'it was started where a host was')
    const images = vm.spec.disks.length + (vm.protection?.second?.copies.length ?? 0)
    assert.equal(world.agents.files.size, images, 'no image is left over')
  }
  await clock.run(story(), 3_600_000)
})

test('the newest copy is not given up while a host that may hold it cannot be asked to let it go', async () => {
  const clock = new VirtualClock()
  const story = async (): Promise<void> => {
    await using running = await openFakeManager(1, clock)
    const { deps, world, store } = running
    await begun(running, false, host2)
    await atRest(running)
    // Who decides is out of reach; the second's host is there, and says that it holds nothing.
    for (const host of [host1, host3]) world.agents.agent(host).crash()
    world.off.add(host1)
    world.agents.agent(host2).vm(vm1).process = 'none'
    const silent = { discardSecond: () => Promise.reject(new HoldfastError('unreachable', 'host2 does not answer')) }
    const agent = (id: HostId) => (id === host2 ? { ...deps.hosts.agent(id), ...silent } : deps.hosts.agent(id))
    const hosts = Object.assign(Object.create(deps.hosts) as typeof deps.hosts, { agent })
    await assert.rejects(settleByHand({ ...deps, hosts }, vm1, 'ada'), { code: 'unreachable' })
    assert.equal((await store.get('run', vm1))?.value.run.phase, 'running')
    await settleByHand(deps, vm1, 'ada')
    assert.equal((await store.get('run', vm1))?.value.run.phase, 'stopped')
  }
  await clock.run(story(), 3_600_000)
})

test('a move of a protected VM is a takeover by its second, and any other move is refused', async () => {
  const clock = new VirtualClock()
  const story = async (): Promise<void> => {
    await using running = await openFakeManager(1, clock)
    const { deps } = running
    await begun(running, false, host2)
    await atRest(running)
    await assert.rejects(
      deps.begin('test', () => moveOperation(deps, vm1, {}, host3)),
      /unprotect one first|is protected/,
    )
    await assert.rejects(
      deps.begin('test', () => moveOperation(deps, vm1, {}, host2, shared)),
      /is protected/,
    )
    await deps.begin('test', () => moveOperation(deps, vm1, {}, host2))
    const { run } = await atRest(running)
    assert.equal(run.host, host2)
    const said = await messages(running)
    assert.ok(said.includes('one runs on host2 now: host1 has handed it over; no connection was lost'), said.join('\n'))
  }
  await clock.run(story(), 3_600_000)
})
