import assert from 'node:assert/strict'
import { all, allIsClean, protect } from './fake-protected.ts'
import { beginOptions } from './fake-operation.ts'
import { addVm, fakeWorld, host1, host2, locals, shared, vm1, type FakeWorld } from './fake-world.ts'
import { leaveOperation, moveOperation, unprotectOperation } from './protection-operations.ts'
import { sagaSuite, type SuiteTools, type TrialEnd } from './suite.ts'
import { handOverVmSaga } from './vm-hand-over.ts'
import { stopOperation } from './vm-operations.ts'
import { stopVmSaga } from './vm-stop.ts'
import { unprotectVmSaga } from './vm-unprotect.ts'

const faultyDeps = ['store', 'hosts', 'cluster'] as const

async function protectedWorld(tools: SuiteTools, isLocal: boolean): Promise<FakeWorld> {
  const world = await fakeWorld(tools)
  await addVm(world, { on: host1, datastore: isLocal ? locals[0] : shared })
  await tools.clock.run(protect(world, host2), 600_000)
  return world
}

/** One guest runs where the record says, and nothing is left of the copy that is out. */
async function check(world: FakeWorld, end: TrialEnd, isOn: 'host-1' | 'host-2'): Promise<void> {
  await world.agents.advance()
  const { run } = await all(world)
  await allIsClean(world)
  assert.equal(run.phase, 'running')
  assert.deepEqual(world.agents.runningOn(vm1), [run.host])
  if (end.state === 'done') assert.deepEqual([run.host, run.protection], [isOn, null])
}

sagaSuite({
  definition: unprotectVmSaga,
  faultyDeps,
  world: async (tools: SuiteTools) => {
    const world = await protectedWorld(tools, true)
    return {
      ...(await beginOptions(() => unprotectOperation(world.deps, vm1))),
      deps: world.deps,
      check: async (end) => {
        await check(world, end, 'host-1')
        assert.equal((await all(world)).vm.protection?.isWanted, end.state !== 'done')
      },
    }
  },
})

sagaSuite({
  definition: handOverVmSaga,
  faultyDeps,
  world: async (tools: SuiteTools) => {
    const world = await protectedWorld(tools, false)
    return {
      ...(await beginOptions(() => moveOperation(world.deps, vm1, {}, null))),
      deps: world.deps,
      check: (end) => check(world, end, 'host-2'),
    }
  },
})

sagaSuite({
  definition: { ...unprotectVmSaga, name: 'vm.leave-second/1' },
  faultyDeps,
  randomRuns: 20,
  world: async (tools: SuiteTools) => {
    const world = await protectedWorld(tools, true)
    return {
      ...(await beginOptions(() => leaveOperation(world.deps, vm1, host2))),
      deps: world.deps,
      check: async (end) => {
        await check(world, end, 'host-1')
        assert.equal((await all(world)).vm.protection?.isWanted, true, 'it is made elsewhere')
      },
    }
  },
})

sagaSuite({
  definition: { ...stopVmSaga, name: 'vm.stop-protected/1' },
  faultyDeps,
  randomRuns: 50,
  world: async (tools: SuiteTools) => {
    const world = await protectedWorld(tools, false)
    return {
      ...(await beginOptions(() => stopOperation(world.deps, vm1))),
      deps: world.deps,
      check: async (end) => {
        const { run, vm } = await all(world)
        assert.equal(vm.power, run.phase === 'running' ? 'on' : 'off')
        assert.equal(vm.protection?.isWanted, true, 'it is protected again when it runs again')
        if (end.state === 'done') assert.deepEqual([run.phase, world.agents.runningOn(vm1)], ['stopped', []])
        await allIsClean(world)
      },
    }
  },
})
