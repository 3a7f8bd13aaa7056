import assert from 'node:assert/strict'
import { beginOptions } from './fake-operation.ts'
import { addVm, fakeWorld, host1, shared, type FakeWorld } from './fake-world.ts'
import { sagaSuite, type SuiteTools, type TrialEnd } from './suite.ts'
import * as operations from './vm-operations.ts'
import { deleteVmSaga } from './vm-delete.ts'
import { shutdownVmSaga } from './vm-shutdown.ts'
import { signalSagas } from './vm-signal.ts'
import { startVmSaga } from './vm-start.ts'
import { stopVmSaga } from './vm-stop.ts'

const faultyDeps = ['store', 'hosts', 'cluster'] as const

/** The record, the intent and the guest agree. */
async function checkAgreement(world: FakeWorld, end: TrialEnd, wanted: 'on' | 'off'): Promise<void> {
  const vm = (await world.deps.store.list('vm')).items[0]!.value
  const { run } = (await world.deps.store.get('run', vm.id))!.value
  const running = world.agents.runningOn(vm.id)
  assert.equal(run.phase, running.length === 1 ? 'running' : 'stopped')
  if (run.phase === 'running') assert.deepEqual(running, [run.host])
  assert.equal(vm.power, run.phase === 'running' ? 'on' : 'off', `after ${end.state}`)
  if (end.state === 'done') assert.equal(vm.power, wanted)
}

sagaSuite({
  definition: startVmSaga,
  faultyDeps,
  world: async (tools: SuiteTools) => {
    const world = await fakeWorld(tools)
    const vm = await addVm(world, { on: null, datastore: shared })
    return {
      ...(await beginOptions(() => operations.startOperation(world.deps, vm.id, null))),
      deps: world.deps,
      check: (end) => checkAgreement(world, end, 'on'),
    }
  },
})

sagaSuite({
  definition: stopVmSaga,
  faultyDeps,
  world: async (tools: SuiteTools) => {
    const world = await fakeWorld(tools)
    const vm = await addVm(world, { on: host1, datastore: shared })
    return {
      ...(await beginOptions(() => operations.stopOperation(world.deps, vm.id))),
      deps: world.deps,
      check: (end) => checkAgreement(world, end, 'off'),
    }
  },
})

sagaSuite({
  definition: shutdownVmSaga,
  faultyDeps,
  randomRuns: 50,
  world: async (tools: SuiteTools) => {
    const world = await fakeWorld(tools)
    const vm = await addVm(world, { on: host1, datastore: shared })
    return {
      ...(await beginOptions(() => operations.shutdownOperation(world.deps, vm.id))),
      deps: world.deps,
      check: (end) => checkAgreement(world, end, 'off'),
    }
  },
})

sagaSuite({
  definition: signalSagas.pause,
  faultyDeps,
  randomRuns: 30,
  world: async (tools: SuiteTools) => {
    const world = await fakeWorld(tools)
    const vm = await addVm(world, { on: host1, datastore: shared })
    return {
      ...(await beginOptions(() => operations.signalOperation(world.deps, vm.id, 'pause'))),
      deps: world.deps,
      check: (end) => {
        if (end.state === 'done') assert.equal(world.agents.agent(host1).vm(vm.id).process, 'paused')
      },
    }
  },
})

sagaSuite({
  definition: deleteVmSaga,
  faultyDeps,
  world: async (tools: SuiteTools) => {
    const world = await fakeWorld(tools)
    const vm = await addVm(world, { on: null, datastore: shared })
    return {
      ...(await beginOptions(() => operations.deleteOperation(world.deps, vm.id))),
      deps: world.deps,
      check: async (end) => {
        const { store } = world.deps
        const left = await Promise.all(
          (['vm', 'run', 'disk', 'claim'] as const).map(async (kind) => (await store.list(kind)).items.length),
        )
        const isThere = end.state === 'done' ? 0 : 1
        assert.deepEqual([...left, world.agents.files.size], [isThere, isThere, isThere, isThere, isThere])
      },
    }
  },
})
