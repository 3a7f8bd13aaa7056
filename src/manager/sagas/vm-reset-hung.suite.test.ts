import assert from 'node:assert/strict'
import { beginOptions } from './fake-operation.ts'
import { evidenceOf } from './evidence.ts'
import { addVm, fakeWorld, host1, shared } from './fake-world.ts'
import { sagaSuite, type SuiteTools } from './suite.ts'
import { resetHungOperation, resetHungVmSaga } from './vm-reset-hung.ts'

sagaSuite({
  definition: resetHungVmSaga,
  faultyDeps: ['store', 'hosts', 'cluster'],
  randomRuns: 100,
  world: async (tools: SuiteTools) => {
    const world = await fakeWorld(tools)
    const vm = await addVm(world, { on: host1, datastore: shared })
    const guest = world.agents.agent(host1).vm(vm.id)
    const hung = { do: 'reset', why: 'hang', boot: 'boot-0', detail: 'it said nothing' } as const
    return {
      ...(await beginOptions(() => resetHungOperation(world.deps, vm.id, hung))),
      deps: world.deps,
      check: async (end) => {
        assert.ok(guest.resets <= 1, `one hang was reset ${guest.resets} times`)
        const [kept, ...more] = (await evidenceOf(world.deps, vm.id)).map(({ value }) => value)
        assert.deepEqual(more, [], 'one reset leaves one piece of evidence')
        if (guest.resets === 1) assert.deepEqual([kept?.why, kept?.detail], ['hang', 'it said nothing'])
        if (end.state === 'done') assert.equal(guest.resets, 1)
      },
    }
  },
})
