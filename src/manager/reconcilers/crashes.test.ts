/**
 * Hosts crash at random moments of a migration, and boot again later or are confirmed off. However it goes, the VM never
 * runs twice (the fake agents check that at each start), no person is needed but for the word that a host is off, and in
 * the end it runs on one host with its disk.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { addVm, disk1, host1, host2, hostIds, locals, shared, vm1 } from '../sagas/fake-world.ts'
import { migrateOperation } from '../sagas/vm-operations.ts'
import type { MemoryStore } from '../store/memory/memory-store.ts'
import type { Records } from '../store/records.ts'
import { openFakeManager } from './crash-suite.ts'

async function runOf(store: MemoryStore): Promise<Records['run']['run']> {
  return (await store.get('run', vm1))!.value.run
}

/** Crashes and boots by this seed, then a quiet time in which everything is up. */
async function trial(seed: number, clock: VirtualClock, isLocal: boolean, allowPostCopy: boolean): Promise<void> {
  await using running = await openFakeManager(seed, clock)
  const { deps, world, random, store } = running
  await addVm(world, { on: host1, datastore: isLocal ? locals[0] : shared })
  await deps.begin('test', () =>
    migrateOperation(deps, vm1, { allowPostCopy }, isLocal ? host2 : null, isLocal ? locals[1] : null),
  )
  const crashes = 1 + random.int(3)
  for (let nth = 0; nth < crashes; nth++) {
    await clock.sleep(random.int(nth === 0 ? 500 : 8000))
    const agent = world.agents.agent(hostIds[random.int(3)]!)
    agent.crash()
    if (random.int(2) === 0) world.off.add(agent.id)
    await clock.sleep(random.int(60_000))
    await agent.boot()
    world.off.delete(agent.id)
  }
  const until = clock.monotonic() + 3_600_000
  for (;;) {
    await world.agents.advance()
    const run = await runOf(store)
    const vm = (await store.get('vm', vm1))!.value
    if (run.phase === 'running' && vm.operation === null) break
    assert.ok(clock.monotonic() < until, `not at rest: ${JSON.stringify({ run, operation: vm.operation })}`)
    await clock.sleep(1000)
  }
  const run = await runOf(store)
  const { spec } = (await store.get('vm', vm1))!.value
  assert.deepEqual(world.agents.runningOn(vm1), [run.host])
  assert.ok(world.agents.files.has(`${spec.disks[0]?.datastore}/${disk1}`), 'its disk is there')
  assert.equal((await store.get('disk', disk1))!.value.datastore, spec.disks[0]?.datastore)
}

for (const [name, isLocal, allowPostCopy] of [
  ['with shared storage', false, false],
  ['with the disks moving', true, false],
  ['with post-copy allowed', false, true],
] as const) {
  test(`a VM survives every crash of hosts while it moves, ${name}`, async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const clock = new VirtualClock()
      await clock.run(trial(seed, clock, isLocal, allowPostCopy), 4 * 3_600_000).catch((cause: unknown) => {
        throw new Error(`seed ${seed}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
      })
    }
  })
}
