import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeClock, nodeFiles, nodeProcesses, nodeRandom } from '../base/node/index.ts'
import type { Vm } from '../contracts/inventory.ts'
import type { ChangeVm } from '../contracts/vm-requests.ts'
import { MemoryStore } from '../manager/store/memory/memory-store.ts'
import { TestManager } from './testing/test-manager.ts'

const ports = { clock: nodeClock(), files: nodeFiles(), processes: nodeProcesses(), random: nodeRandom() }

test('the machine of a VM changes while it is stopped, the rest at any time', { timeout: 20_000 }, async () => {
  await using store = new MemoryStore(ports.clock)
  await using world = await TestManager.open(ports, store)
  await world.addHost(store, 'one')
  const { api, tasks } = world.manager
  const { id } = await world.addVm('web')
  const change = (body: ChangeVm): Promise<Vm> => api.changeVm({ params: { vm: id }, body }, world.context)
  for (const body of [{ vcpus: 2 }, { memoryMiB: 128 }, { kernel: null }, { cdroms: [] }]) {
    await assert.rejects(change(body), { code: 'wrong-state' }, JSON.stringify(body))
  }
  const running = await change({ name: 'site', description: 'ours', policies: { allowPostCopy: true } })
  assert.deepEqual([running.name, running.description, running.policies.allowPostCopy], ['site', 'ours', true])
  const stop = await api.stopVm({ params: { vm: id }, body: {} }, world.context)
  assert.equal((await tasks.get(stop.id, 20)).state, 'done')
  const { spec } = await change({ vcpus: 2, memoryMiB: 128 })
  assert.deepEqual([spec.vcpus, spec.memoryMiB], [2, 128])
})
