import assert from 'node:assert/strict'
import type { FolderId, PoolId, ProjectId, DatacenterId } from '../../base/ids.ts'
import type { CreateVm } from '../../contracts/vm-requests.ts'
import type { Change } from '../store/store.ts'
import { beginOptions } from './fake-operation.ts'
import { addVm, disk1, fakeWorld, host1, locals, shared, vm1, type FakeWorld } from './fake-world.ts'
import { importImageOperation, importImageSaga } from './image-import.ts'
import { sagaSuite, type SuiteTools, type TrialEnd } from './suite.ts'
import { createVmOperation, createVmSaga } from './vm-create.ts'
import { moveDisksSaga } from './vm-move-disks.ts'
import { moveDisksOperation } from './vm-operations.ts'

const faultyDeps = ['store', 'hosts', 'cluster'] as const
const home = { project: 'project-1' as ProjectId, pool: 'pool-1' as PoolId, folder: 'folder-1' as FolderId }

async function counts(world: FakeWorld): Promise<Record<string, number>> {
  const count = async (kind: 'vm' | 'run' | 'disk' | 'claim' | 'image') =>
    (await world.deps.store.list(kind)).items.length
  return {
    vm: await count('vm'),
    run: await count('run'),
    disk: await count('disk'),
    claim: await count('claim'),
    image: await count('image'),
    files: world.agents.files.size,
  }
}

function createSuite(request: CreateVm, made: Record<string, number>): void {
  sagaSuite({
    definition: createVmSaga,
    faultyDeps,
    world: async (tools: SuiteTools) => {
      const world = await fakeWorld(tools)
      const begin = await beginOptions(() => createVmOperation(world.deps, request, home))
      const none = { vm: 0, run: 0, disk: 0, claim: 0, image: 0, files: 0 }
      const check = async (end: TrialEnd): Promise<void> => {
        await world.agents.advance()
        assert.deepEqual(await counts(world), end.state === 'done' ? { ...none, ...made } : none)
        if (end.state !== 'done' || request.start !== true) return
        const { run } = (await world.deps.store.get('run', vm1))!.value
        const { power } = (await world.deps.store.get('vm', vm1))!.value
        assert.deepEqual(world.agents.runningOn(vm1), run.phase === 'running' ? [run.host] : [])
        assert.equal(power, run.phase === 'running' ? 'on' : 'off')
      }
      return { ...begin, deps: world.deps, check }
    },
  })
}

createSuite(
  { name: 'web', disks: [{ sizeBytes: 2 ** 20 }, { sizeBytes: 2 ** 20 }], nics: [{}] },
  { vm: 1, run: 1, disk: 2, claim: 3, files: 2 },
)
createSuite({ name: 'web', firmware: 'uefi', start: true }, { vm: 1, run: 1, disk: 1, claim: 3, files: 1 })

sagaSuite({
  definition: importImageSaga,
  faultyDeps,
  world: async (tools: SuiteTools) => {
    const world = await fakeWorld(tools)
    const wish = {
      name: 'debian',
      datacenter: 'dc-1' as DatacenterId,
      datastore: shared,
      host: host1,
      source: { kind: 'upload' as const, path: 'upload-1' },
      expectFormat: null,
      sha256: null,
    }
    const upload: Change = {
      do: 'create',
      kind: 'upload',
      value: { id: 'upload-1', v: 1, datastore: shared, host: host1, sizeBytes: 1, created: '' },
    }
    await world.deps.store.commit({ changes: [upload], events: [] })
    const check = async (end: TrialEnd): Promise<void> => {
      await world.agents.advance()
      const isDone = end.state === 'done'
      const { image, claim, files } = await counts(world)
      assert.deepEqual([image, claim, files], isDone ? [1, 1, 1] : [0, 0, 0])
      if (isDone) assert.equal((await world.deps.store.get('image', 'img-1'))!.value.state, 'ready')
      assert.equal((await world.deps.store.list('upload')).items.length, isDone ? 0 : 1)
    }
    return { ...(await beginOptions(() => importImageOperation(world.deps, wish))), deps: world.deps, check }
  },
})

for (const on of [host1, null]) {
  sagaSuite({
    definition: moveDisksSaga,
    faultyDeps,
    world: async (tools: SuiteTools) => {
      const world = await fakeWorld(tools)
      await addVm(world, { on, datastore: shared })
      const check = async (end: TrialEnd): Promise<void> => {
        await world.agents.advance()
        const vm = (await world.deps.store.get('vm', vm1))!.value
        const disk = (await world.deps.store.get('disk', disk1))!.value
        assert.equal(vm.spec.disks[0]?.datastore, disk.datastore)
        assert.ok(world.agents.files.has(`${disk.datastore}/${disk1}`))
        const guests = world.agents.agent(host1).diskPlaces.get(disk1) ?? shared
        if (on !== null) assert.equal(disk.datastore, guests, 'the file that the guest writes to')
        if (end.state === 'done') assert.equal(disk.datastore, locals[0])
        const known = [disk.datastore, ...(disk.alsoAt ?? [])].map((each) => `${each}/${disk1}`)
        for (const file of world.agents.files) assert.ok(known.includes(file), `${file} is known of`)
      }
      const begin = () => moveDisksOperation(world.deps, vm1, locals[0])
      return { ...(await beginOptions(begin)), deps: world.deps, check }
    },
  })
}
