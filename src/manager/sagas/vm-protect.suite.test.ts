import assert from 'node:assert/strict'
import type { DatastoreId, HostId } from '../../base/ids.ts'
import { all, allIsClean } from './fake-protected.ts'
import { beginOptions } from './fake-operation.ts'
import { addVm, fakeWorld, host1, host2, locals, shared, vm1, type FakeWorld } from './fake-world.ts'
import { protectOperation } from './protection-operations.ts'
import { sagaSuite, type SuiteTools, type TrialEnd } from './suite.ts'
import { protectVmSaga } from './vm-protect.ts'

/** One guest runs, where the record says; every image is the VM's, its second's, or known of for the reconciler. */
async function check(world: FakeWorld, host: HostId | null, end: TrialEnd): Promise<void> {
  await world.agents.advance()
  const { run, vm } = await all(world)
  await allIsClean(world)
  assert.equal(run.phase, 'running')
  assert.deepEqual(world.agents.runningOn(vm1), [run.host])
  assert.equal(run.host, host1)
  assert.equal(vm.protection?.isWanted, end.state === 'done')
  assert.equal(run.protection?.phase, end.state === 'done' ? 'protected' : undefined)
  if (end.state !== 'done') return assert.equal(vm.protection?.second ?? null, null)
  assert.equal(run.protection?.second, host ?? run.protection?.second)
  assert.equal(vm.protection?.second?.n, run.protection?.n)
  assert.equal(vm.protection?.second?.host, run.protection?.second)
  const second = world.agents.agent(run.protection?.second ?? host2).vm(vm1)
  assert.equal(second.process, 'second')
}

function suite(datastore: DatastoreId, host: HostId | null): void {
  sagaSuite({
    definition: protectVmSaga,
    faultyDeps: ['store', 'hosts', 'cluster'],
    world: async (tools: SuiteTools) => {
      const world = await fakeWorld(tools)
      await addVm(world, { on: host1, datastore })
      const begin = () => protectOperation(world.deps, vm1, { host, settings: null })
      return { ...(await beginOptions(begin)), deps: world.deps, check: (end) => check(world, host, end) }
    },
  })
}

suite(shared, null)
suite(locals[0], host2)
